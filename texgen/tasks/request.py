"""What was asked for, checked: ranges, sizes, tiles. No model is called here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from texgen import presets
from texgen.errors import OptionError
from texgen.guidance.settings import Guidance
from texgen.image import ImageLike
from texgen.keep import Kept, on_grid
from texgen.labels import Target
from texgen.memory import GIB, fitting_batch
from texgen.models import Backbone
from texgen.pixels import DTYPES
from texgen.presets import Preset
from texgen.tasks.checks import check_bits, check_place, check_range, check_tileable
from texgen.tasks.size import WRAPS, Tileable, size_of
from tiling import Size, Tile, Wrap, plan_tiles, tile_size

MIN_SIDE_PX = 128
MAPLESS = ("noise", "layout", "scatter")
"""Starts that have no map of where cells came from."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Everything decided before the first model call.

    Attributes:
        target: The label of every pixel of the canvas, (H, W), uint8.
        kept: Pixels of the canvas that are given.
        shares: Of the exemplars on the canvas.
        label_count: Number of labels.
        keeps_swatch: Whether what is given is the first swatch itself.
    """

    size_px: Size
    canvas: Size
    tile: Size
    stride: Size
    wrap: Wrap
    preset: Preset
    guidance: Guidance
    seed: int
    tile_batch: int
    layout: Layout | None = None
    target: Tensor | None = None
    kept: Kept | None = None
    shares: tuple[float, ...] | None = None
    label_count: int = 1
    keeps_swatch: bool = False


@dataclass(frozen=True)
class Layout:
    """A rough plan of the result.

    Attributes:
        image: (1, 3, H, W) in [0, 1], H and W those of the canvas in pixels.
        weight: Of its low frequencies in the choice of quilted blocks.
    """

    image: Tensor
    weight: float


@dataclass(frozen=True, kw_only=True)
class Request:
    """What a verb wants, beside the options that all have.

    Attributes:
        task: The verb.
        sources: Swatches, in their order; more of the same texture may come as an option.
        size: Of the result.
        layout: A rough plan of it.
        content_weight: How closely AD holds on to the layout, or to the painted start.
        maps: The label of every pixel of each source, (H, W), uint8, `NONE` for what is not to be used.
        target: What is wanted where, by label.
        kept: Pixels of the result that are given.
        place: (left, top) in pixels where the first prepared swatch is kept.
        notes: Entries of the recipe.
    """

    task: str
    sources: Sequence[ImageLike]
    size: Any
    layout: Layout | None = None
    content_weight: float = 0.0
    maps: Sequence[Tensor] | None = None
    target: Target | None = None
    kept: Kept | None = None
    place: tuple[int, int] | None = None
    notes: dict[str, Any] = field(default_factory=dict)

    @property
    def steered(self) -> bool:
        """Whether there is a layout, or pixels that are kept."""
        return not (self.layout is None and self.kept is None and self.place is None)


def check_ranges(
    request: Request, tileable: str, strength: float | None, steps: int | None, iterations: int | None, lr: float | None,
    tile_batch: int | None, attn_scale: float, seed: int | None, adapt: int | None, tune_decoder: int | None, bits: int,
    memory: float | None, checkpoint_minutes: float,
) -> None:  # fmt: skip
    """Ranges that need no model."""
    height, width = size_of(request.size)
    if min(height, width) < MIN_SIDE_PX:
        raise OptionError(f"size={width}x{height} is too small; at least {MIN_SIDE_PX} px a side.")
    check_tileable(tileable)
    limits = [
        ("strength", strength, 0, 1),
        ("steps", steps, 1, 1000),
        ("iterations", iterations, 0, 1000),
        ("lr", lr, 1e-6, 10),
        ("tile_batch", tile_batch, 1, 4096),
        ("attn_scale", attn_scale, 0.01, 100),
        ("seed", seed, 0, 2**63 - 1),
        ("adapt", adapt, 0, 100_000),
        ("memory", memory, 0.1, 1e6),
        ("tune_decoder", tune_decoder, 0, 100_000),
        ("layout_weight", None if request.layout is None else request.layout.weight, 0, 1000),
        ("content_weight", request.content_weight, 0, 1000),
        ("softness", None if request.target is None else request.target.softness, 0, 4096),
        ("checkpoint_minutes", checkpoint_minutes, 0, 1e6),
    ]
    check_bits(bits, list(DTYPES))
    for name, value, low, high in limits:
        check_range(name, value, low, high)


def make_plan(
    backbone: Backbone, preset: Preset, request: Request, swatch: Tensor, tileable: Tileable, strength: float | None,
    asked: Asked, seed: int, tile_batch: int | None, memory: float | None, tile_overlap: int | None, shares: Sequence[float] | None,
    guidance: Guidance,
) -> Plan:  # fmt: skip
    """Sizes, tiles and settings of a request; `swatch` is the first prepared one."""
    size_px, wrap, factor = size_of(request.size), WRAPS[tileable], backbone.factor
    canvas = canvas_of(size_px, wrap, factor)
    tile = tile_size(backbone.native_tile, canvas)
    _check_start(preset.start, request)
    if asked.a_map and preset.start in MAPLESS:
        raise OptionError(
            f"a start of {preset.start} has no map of where cells came from; use start='swatch', 'quilt' or 'coarse'."
        )
    if shares is not None and preset.start == "coarse":
        raise OptionError("exemplar_weights do not go with start='coarse'; use 'quilt'.")
    if request.target is not None and guidance.adain:
        raise OptionError("adain would give each tile the statistics of all materials; leave it out.")
    if preset.start == "noise":
        if strength not in (None, 1, 1.0):
            raise OptionError(f"strength={strength} needs start='quilt'; a start of noise is strength 1.")
        preset = replace(preset, strength=1.0)
    if (
        preset.start == "scatter"
        and preset.strength > 0
        and canvas == tile
        and not asked.sampling
        and asked.loop is None
    ):
        preset = replace(preset, loop="optimize", steps=asked.steps or presets.PAINT_STEPS)
    if preset.loop == "optimize" and asked.sampling:
        raise OptionError(f"{asked.sampling[0]} does nothing with loop='optimize'; leave it out, or use 'sample'.")
    if preset.loop == "optimize" and (request.kept is not None or request.place is not None):
        raise OptionError("loop='optimize' cannot keep pixels; use 'sample'.")
    kept = request.kept if request.place is None else _placed(swatch, request.place, size_px)
    mostly_kept = request.kept is not None and 2 * int(request.kept.mask.sum()) > size_px.area
    if mostly_kept and "match_spectrum" not in asked.sampling:
        preset = replace(preset, match_spectrum=False)  # most of the canvas is given, and not to be moved
    if tile_overlap is not None and preset.schedule != "fixed":
        raise OptionError("tile_overlap is for schedule='fixed'; the rolled schedule has none.")
    parts = [round(side * preset.tile_overlap) if tile_overlap is None else tile_overlap // factor for side in tile]
    if min(parts) < 0 or any(part >= side for part, side in zip(parts, tile, strict=True)):
        raise OptionError(
            f"tile_overlap={tile_overlap} must be from 0 to less than the tile, {tile.scaled(factor)} px."
        )
    if preset.schedule == "rolled":
        parts = [0, 0]
    stride = Size(tile.height - parts[0], tile.width - parts[1])
    if tile_batch is None and preset.strength == 0:
        tile_batch = 1
    elif tile_batch is None:
        tiles = len(plan_tiles(canvas, tile, stride, wrap))
        tile_batch = fitting_batch(backbone, tile, canvas, tiles, None if memory is None else memory * GIB)
    return Plan(
        size_px=size_px,
        canvas=canvas,
        tile=tile,
        stride=stride,
        wrap=wrap,
        preset=preset,
        guidance=guidance,
        seed=seed,
        tile_batch=tile_batch,
        layout=None
        if request.layout is None
        else replace(request.layout, image=_on_canvas(request.layout.image, size_px, canvas.scaled(factor))),
        target=None if request.target is None else request.target.on_canvas(size_px, canvas.scaled(factor), wrap, seed),
        kept=None if kept is None else on_grid(kept, size_px, canvas.scaled(factor)),
        shares=None if shares is None else tuple(shares),
        label_count=1 if request.target is None else request.target.count,
        keeps_swatch=request.place is not None,
    )


@dataclass(frozen=True)
class Asked:
    """Options that were given by name and decide between the loops.

    Attributes:
        steps: If given.
        loop: If given.
        sampling: Names of given options that only sampling looks at.
        a_map: Whether the map of the start will be wanted.
    """

    steps: int | None
    loop: str | None
    sampling: Sequence[str]
    a_map: bool


def _check_start(start: str, request: Request) -> None:
    if start == "layout" and request.layout is None:
        raise OptionError("start='layout' needs a layout.")
    if start == "scatter" and request.target is None:
        raise OptionError("start='scatter' needs labels; it is for texgen.paint.")
    for given, what, allowed in (
        (request.layout, "layout", ("quilt", "layout")),
        (request.target, "target map", ("quilt", "scatter", "noise")),
        (request.kept or request.place, "kept pixels", ("quilt", "noise")),
    ):
        if given is not None and start not in allowed:
            raise OptionError(f"start={start!r} does not look at the {what}; use {' or '.join(map(repr, allowed))}.")


def _placed(swatch: Tensor, place: tuple[int, int], size: Size) -> Kept:
    """The whole swatch at (left, top) of the result.

    Raises:
        OptionError: It does not fit there.
    """
    (left, top), (height, width) = place, swatch.shape[-2:]
    check_place(place, Size(height, width), size)
    return Kept(swatch, torch.ones(height, width, dtype=torch.bool), Tile(top, left, top + height, left + width))


def _on_canvas(image: Tensor, size_px: Size, canvas_px: Size) -> Tensor:
    """A layout of any size brought to the result's, its border repeated to the end of the canvas."""
    resized = F.interpolate(image, tuple(size_px), mode="bicubic", antialias=True, align_corners=False).clamp(0, 1)
    missing = (0, canvas_px.width - size_px.width, 0, canvas_px.height - size_px.height)
    return F.pad(resized, missing, mode="replicate")


def canvas_of(size_px: Size, wrap: Wrap, factor: int) -> Size:
    """The canvas in latent pixels: rounded up, to be cropped, on axes that do not wrap.

    Raises:
        OptionError: A side that wraps is no multiple of `factor`; the message names the two nearest that are.
    """
    for name, side, ring in (("height", size_px.height, wrap.y), ("width", size_px.width, wrap.x)):
        if ring and side % factor:
            low = side - side % factor
            raise OptionError(
                f"{name}={side} is no multiple of {factor}, which a tileable side must be; the nearest are {low} and {low + factor}."
            )
    return Size(-(-size_px.height // factor), -(-size_px.width // factor))
