"""Tiles over large canvases: plans, windows, fusing and schedules. Knows numbers and tensors, never models."""

from tiling.fuse import Accumulator, bordered, canvas_size, cut, cut_batch, cut_from
from tiling.geometry import Size, Tile, Wrap
from tiling.plan import axis_starts, plan_cores, plan_tiles, spread_tiles, tile_size
from tiling.schedule import ScheduleKind, fixed_schedule, rolled_schedule
from tiling.window import WindowKind, axis_window, make_window

__all__ = [
    "Accumulator",
    "ScheduleKind",
    "Size",
    "Tile",
    "WindowKind",
    "Wrap",
    "axis_starts",
    "axis_window",
    "bordered",
    "canvas_size",
    "cut",
    "cut_batch",
    "cut_from",
    "fixed_schedule",
    "make_window",
    "plan_cores",
    "plan_tiles",
    "rolled_schedule",
    "spread_tiles",
    "tile_size",
]
