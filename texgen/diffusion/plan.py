"""The plan of a job for a diffusion model: sizes, tiles and settings, decided without running a network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from texgen import job as records
from texgen.diffusion import presets
from texgen.diffusion.denoising import DenoisingModel
from texgen.diffusion.guidance.prompt import ControlPlane
from texgen.diffusion.guidance.settings import Guidance
from texgen.diffusion.kept_pixels import Kept, as_tensor, on_grid
from texgen.diffusion.knobs import Knobs
from texgen.diffusion.memory import Fit, fitted
from texgen.diffusion.presets import Preset
from texgen.errors import OptionError
from texgen.files.limits import GIB
from texgen.job import Constraints, Control, Job, Prompt
from tiling import Size, Tile, Wrap, plan_tiles, tile_size

PAINT_CONTENT, LAYOUT_CONTENT = 0.15, 0.25
"""Weights of the content loss as published: for controlled texture synthesis, and in the published sampler."""
MAPLESS = ("noise", "layout", "scatter")
"""Starts without a map of where in the swatch their pixels came from."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Everything that is decided before the model runs.

    Attributes:
        size_px: Size of the result in pixels.
        canvas, tile, stride: Sizes in latent pixels.
        layout: The layout or the content, (1, 3, H, W).
        prompt: The prompt, if any.
        control: Pictures for the ControlNets, of the canvas' size.
        target: Label of every pixel of the canvas, (H, W), uint8.
        kept: Pixels of the canvas that are given.
        recomputed: Whether blocks of the network are computed again in the backward pass, to save memory.
        deterministic: Whether a GPU sums in a fixed order.
        shares: Share of each exemplar on the canvas.
        label_count: Number of labels.
        keeps_swatch: Whether the given pixels are those of the first swatch itself.
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
    recomputed: bool = False
    deterministic: bool = True
    layout: Tensor | None = None
    prompt: Prompt | None = None
    control: ControlPlane | None = None
    target: Tensor | None = None
    kept: Kept | None = None
    shares: tuple[float, ...] | None = None
    label_count: int = 1
    keeps_swatch: bool = False

    @property
    def optimizes(self) -> bool:
        """Whether the latents are optimised (Algorithm 1) instead of denoised (Algorithm 2)."""
        return self.preset.loop == "optimize"

    @property
    def reads_phases(self) -> bool:
        """Whether any stage needs the exemplars' latents at all pixel phases."""
        return self.preset.detail != "none" or self.preset.match_spectrum or self.preset.tune_decoder > 0


def make_plan(model: DenoisingModel, preset_name: str, knobs: Knobs, job: Job) -> Plan:
    """Decide sizes, tiles and settings of a job.

    Raises:
        OptionError: Options contradict each other.
        ResourceError: One tile does not fit in memory.
    """
    (size_px, wrap), given, factor = (job.canvas.size, job.canvas.wrap), job.constraints, model.factor
    canvas = canvas_of(size_px, wrap, factor)
    canvas_px = canvas.scaled(factor)
    tile = tile_size(model.native_tile, canvas)
    preset = _preset(model, preset_name, knobs, job, canvas == tile)
    stride = _stride(preset, knobs.tile_overlap, tile, factor)
    fit = Fit(knobs.tile_batch or 1)
    if preset.strength > 0 or preset.loop == "optimize":
        budget = None if knobs.memory is None else knobs.memory * GIB
        fit = fitted(model, tile, canvas, len(plan_tiles(canvas, tile, stride, wrap)), budget, knobs.tile_batch)
    layout, target = given.layout or given.content, given.target
    kept = given.kept if given.place is None else _placed(job.exemplars[0].pixels, given.place)
    return Plan(
        size_px=size_px,
        canvas=canvas,
        tile=tile,
        stride=stride,
        wrap=wrap,
        preset=preset,
        guidance=Guidance(
            iterations=preset.iterations,
            lr=preset.lr,
            attn_scale=knobs.attn_scale,
            start_time=knobs.start_time,
            adain=given.prompt is not None if knobs.adain is None else knobs.adain,
            inject=None if preset.inject == "none" else preset.inject,
            layers=None if knobs.layers is None else tuple(knobs.layers),
            content_weight=_content_weight(model, given),
        ),
        seed=job.seed,
        tile_batch=fit.batch,
        recomputed=fit.recomputed,
        deterministic=knobs.deterministic,
        layout=None if layout is None else _on_canvas(as_tensor(layout.image), size_px, canvas_px),
        prompt=given.prompt,
        control=_control(given.controls, size_px, canvas_px),
        target=None if target is None else torch.from_numpy(target.on_canvas(size_px, canvas_px, wrap, job.seed)),
        kept=None if kept is None else on_grid(Kept.of(kept), size_px, canvas_px),
        shares=job.shares,
        label_count=1 if target is None else target.count,
        keeps_swatch=given.place is not None,
    )


def _preset(model: DenoisingModel, name: str, knobs: Knobs, job: Job, one_tile: bool) -> Preset:
    """The preset, changed by the user's knobs and by the job; checked."""
    given, overridden = job.constraints, presets.Preset.__dataclass_fields__.keys() - {"tile_overlap", "tuning"}
    preset = presets.choose(name, _table(given), **{field: getattr(knobs, field) for field in overridden})
    without_swatch = preset.loop == "optimize" or preset.start == "noise"
    if without_swatch and knobs.start is None and given.target is None:
        preset = replace(preset, start="layout" if given.layout or given.content else "noise")
    _check_start(preset.start, given)
    if preset.inject not in (None, "none") and not model.injects:
        raise OptionError(f"inject={preset.inject!r} is for models with a UNet; leave it out for {model.name}.")
    if preset.loop == "optimize" and (given.prompt or given.controls):
        what = "prompt" if given.prompt else "control pictures"
        raise OptionError(f"the {what} would do nothing with loop='optimize'; use 'sample', or leave them out.")
    if job.with_map and preset.start in MAPLESS:
        raise OptionError(f"a start of {preset.start} has no map of where latent pixels came from; use start='swatch'.")
    if given.target is not None and knobs.adain:
        raise OptionError("adain would give each tile the statistics of all materials; leave it out.")
    if preset.start == "noise":
        if knobs.strength not in (None, 1, 1.0):
            raise OptionError(f"strength={knobs.strength} needs start='swatch'; a start of noise is strength 1.")
        preset = replace(preset, strength=1.0)
    undecided = knobs.loop is None and not knobs.sampling
    if preset.start == "scatter" and preset.strength > 0 and one_tile and undecided:
        preset = replace(preset, loop="optimize")
    if preset.loop == "optimize":
        preset = replace(preset, steps=knobs.steps or presets.OPTIMIZE_STEPS[name])
        if knobs.sampling:
            raise OptionError(f"{knobs.sampling[0]} does nothing with loop='optimize'; leave it out, or use 'sample'.")
    mostly_kept = given.kept is not None and 2 * int(given.kept.mask.sum()) > job.canvas.size.area
    if mostly_kept and knobs.match_spectrum is None:
        preset = replace(preset, match_spectrum=False)  # most of the canvas is given and must not change
    return preset


def _table(given: Constraints) -> Mapping[str, Preset]:
    """The presets of the task that the constraints imply."""
    if given.content is not None:
        return presets.TRANSFER_PRESETS
    if given.prompt is not None:
        return presets.TEXT_PRESETS
    return presets.PRESETS if given.target is None else presets.PAINT_PRESETS


def _content_weight(model: DenoisingModel, given: Constraints) -> float:
    """Weight of the content loss: the user's, else as published with content, labels or a layout, else 0."""
    if given.content_weight is not None:
        return given.content_weight
    if given.content is not None:
        return presets.TRANSFER_CONTENT_XL if model.is_xl else presets.TRANSFER_CONTENT[given.content.mode]
    if given.target is not None:
        return PAINT_CONTENT
    return 0.0 if given.layout is None else LAYOUT_CONTENT


def _stride(preset: Preset, overlap_px: int | None, tile: Size, factor: int) -> Size:
    """Stride of the tiles in latent pixels."""
    if preset.schedule == "rolled":
        if overlap_px is not None:
            raise OptionError("tile_overlap is for schedule='fixed'; the rolled schedule has none.")
        return tile
    parts = [round(side * preset.tile_overlap) if overlap_px is None else overlap_px // factor for side in tile]
    if min(parts) < 0 or any(part >= side for part, side in zip(parts, tile, strict=True)):
        raise OptionError(f"tile_overlap={overlap_px} must be from 0 to less than the tile, {tile.scaled(factor)} px.")
    return Size(tile.height - parts[0], tile.width - parts[1])


def _check_start(start: str, given: Constraints) -> None:
    if start == "layout" and given.layout is None and given.content is None:
        raise OptionError("start='layout' needs a layout.")
    if start == "scatter" and given.target is None:
        raise OptionError("start='scatter' needs labels; it is for texgen.paint.")
    for constraint, what, allowed in (
        (given.layout, "layout", ("swatch", "layout")),
        (given.content, "content", ("layout", "noise")),
        (given.target, "target map", ("swatch", "scatter", "noise") if given.content is None else ("layout", "noise")),
        (given.kept or given.place, "kept pixels", ("swatch", "noise")),
    ):
        if constraint is not None and start not in allowed:
            raise OptionError(f"start={start!r} does not look at the {what}; use {' or '.join(map(repr, allowed))}.")


def _control(controls: Sequence[Control], size_px: Size, canvas_px: Size) -> ControlPlane | None:
    """Control pictures resized to the canvas."""
    if not controls:
        return None
    pictures = torch.cat([_on_canvas(as_tensor(each.image), size_px, canvas_px) for each in controls], 1)
    return ControlPlane(pictures, tuple(each.weight for each in controls))


def _placed(swatch: np.ndarray, place: tuple[int, int]) -> records.Kept:
    """The whole swatch, kept at (left, top) of the result."""
    (left, top), (height, width) = place, swatch.shape[:2]
    return records.Kept(swatch, np.ones((height, width), bool), Tile(top, left, top + height, left + width))


def _on_canvas(image: Tensor, size_px: Size, canvas_px: Size) -> Tensor:
    """A picture (1, 3, H, W) resized to the result, with its border repeated up to the end of the canvas."""
    resized = F.interpolate(image, tuple(size_px), mode="bicubic", antialias=True, align_corners=False).clamp(0, 1)
    missing = (0, canvas_px.width - size_px.width, 0, canvas_px.height - size_px.height)
    return F.pad(resized, missing, mode="replicate")


def canvas_of(size_px: Size, wrap: Wrap, factor: int) -> Size:
    """Size of the canvas in latent pixels. Axes that do not wrap are rounded up, and the result is cropped.

    Raises:
        OptionError: A side that wraps is not a multiple of `factor`; the message names the two nearest multiples.
    """
    for name, side, ring in (("height", size_px.height, wrap.y), ("width", size_px.width, wrap.x)):
        if ring and side % factor:
            low = side - side % factor
            raise OptionError(
                f"{name}={side} is no multiple of {factor}, which a tileable side must be; the nearest are {low} and {low + factor}."
            )
    return Size(-(-size_px.height // factor), -(-size_px.width // factor))
