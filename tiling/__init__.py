"""Tiles over large canvases: plans, windows, fusing and schedules. Knows numbers and tensors, never models."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from tiling.geometry import Size, Tile, Wrap
from tiling.plan import axis_starts, plan_cores, plan_tiles, spread_tiles, tile_size
from tiling.schedule import ScheduleKind, fixed_schedule, rolled_schedule

if TYPE_CHECKING:
    from tiling.fuse import Accumulator, bordered, canvas_size, cut, cut_batch, cut_from
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

_ON_TENSORS = {
    **dict.fromkeys(("Accumulator", "bordered", "canvas_size", "cut", "cut_batch", "cut_from"), "tiling.fuse"),
    **dict.fromkeys(("WindowKind", "axis_window", "make_window"), "tiling.window"),
}


def __getattr__(name: str) -> Any:
    """Import torch only when something that works on tensors is used."""
    if name in _ON_TENSORS:
        return getattr(import_module(_ON_TENSORS[name]), name)
    raise AttributeError(f"module 'tiling' has no attribute {name!r}")
