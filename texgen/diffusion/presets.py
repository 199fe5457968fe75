"""Presets of the diffusion model, and the settings of the published method."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from texgen.diffusion.attention import InjectionMode
from texgen.errors import OptionError
from tiling import ScheduleKind, WindowKind

StartKind = Literal["noise", "swatch", "layout", "scatter"]
LoopKind = Literal["sample", "optimize"]
DetailKind = Literal["residual", "pixels", "none"]


@dataclass(frozen=True, kw_only=True)
class Preset:
    """Settings of a preset.

    Attributes:
        loop: `sample` denoises with AD after every step (Algorithm 2); `optimize` moves the start itself along the gradient of the
            AD loss while the timestep falls (Algorithm 1).
        start: `swatch` is the swatch model's result for the same job; `noise` is the published start; `layout` is the given layout
            itself; `scatter` draws pixels of each label at random.
        strength: How much noise is added to the start: 0 keeps it, 1 is the published method. `start="noise"` needs 1.
        steps: Scheduler steps for strength 1; ceil(strength * steps) are run.
        iterations: AD iterations (M) per step and tile.
        lr: Adam's learning rate on the latents.
        schedule: `rolled` uses tiles without overlap, whose grid shifts at random at every step; `fixed` is MultiDiffusion's.
        window: Weights of overlapping tiles.
        tile_overlap: Overlap of neighbouring tiles of the fixed schedule, as a fraction of the tile.
        inject: Use the exemplar's keys and values in the noise prediction, `beside` its own or in their place (`replace`); or None.
        match_spectrum: Give the canvas the exemplar's mean and cross-spectrum after every step, see `texgen.diffusion.sampling.spectrum`.
        detail: What is transferred from the exemplar to the decoded result where latent pixels match: `residual` (what the
            autoencoder loses), `pixels` (the exemplar itself, which removes a weak network's grain but also its small
            changes), or `none`.
        tune_decoder: Iterations for which a copy of the decoder is trained on the exemplar.
        tuning: Recipe of this training: texgen's, which is for local decoders, or the published one, see
            `texgen.diffusion.decoding.tune`.
    """

    loop: LoopKind = "sample"
    start: StartKind = "swatch"
    strength: float = 0.0
    steps: int = 50
    iterations: int = 3
    lr: float = 0.05
    schedule: ScheduleKind = "rolled"
    window: WindowKind = "hann"
    tile_overlap: float = 0.25
    inject: InjectionMode | Literal["none"] | None = None
    match_spectrum: bool = False
    detail: DetailKind = "none"
    tune_decoder: int = 0
    tuning: Literal["own", "published"] = "own"


_PUBLISHED: dict[str, Any] = {"schedule": "fixed", "window": "ones", "tile_overlap": 7 / 8, "tuning": "published"}
PRESETS: dict[str, Preset] = {
    "draft": Preset(iterations=0),
    "standard": Preset(strength=0.6, iterations=2),
    "best": Preset(start="noise", strength=1.0, schedule="fixed"),
    "published": Preset(start="noise", strength=1.0, **_PUBLISHED),
}
"""Presets of all tasks except those below. `published` is the published expansion: noise, 50 steps, M = 3, tiles with weight 1 at strides
of an eighth of their side, exemplar resized to `texgen.diffusion.knobs.PUBLISHED_SIDE`; no injection, matching or detail transfer."""

PAINT_PRESETS: dict[str, Preset] = {
    "draft": Preset(iterations=0),
    "standard": Preset(start="scatter", strength=0.6, iterations=2),
    "best": Preset(start="scatter", strength=0.8, schedule="fixed"),
    "published": Preset(start="scatter", strength=1.0, loop="optimize", **_PUBLISHED),
}
"""Presets for painting along a label map; on a canvas of one tile Algorithm 1 replaces Algorithm 2."""

_TRANSFER = Preset(loop="optimize", start="layout", strength=1.0)
TRANSFER_PRESETS: dict[str, Preset] = {
    "draft": _TRANSFER,
    "standard": _TRANSFER,
    "best": replace(_TRANSFER, schedule="fixed"),
    "published": replace(_TRANSFER, **_PUBLISHED),
}
"""Presets of `transfer`: Algorithm 1, started from the content itself."""
TRANSFER_CONTENT, TRANSFER_CONTENT_XL = {"style": 0.25, "appearance": 0.2}, 0.2
"""Weights of the content loss (lambda) of `transfer` by mode; on Stable Diffusion XL both modes use the second value."""

_TEXT = Preset(start="noise", strength=1.0, iterations=2, lr=0.015, schedule="fixed")
TEXT_PRESETS: dict[str, Preset] = {
    "draft": replace(_TEXT, iterations=1),
    "standard": _TEXT,
    "best": replace(_TEXT, iterations=3),
    "published": replace(_TEXT, **_PUBLISHED),
}
"""Presets of `text`: Algorithm 2 with the settings published for Stable Diffusion XL, used for all models since no others were published."""

OPTIMIZE_STEPS = {"draft": 100, "standard": 200, "best": 300, "published": 200}
"""Steps of Algorithm 1, as published: 100 to 300, most for textures that are not stationary."""
NAMES = tuple(PRESETS)


def choose(name: str, table: Mapping[str, Preset] = PRESETS, **overrides: Any) -> Preset:
    """A preset with the given options replaced; options that are None keep the preset's value.

    Args:
        name: One of `NAMES`.
        table: Presets of the task.

    Raises:
        OptionError: Unknown name.
    """
    if name not in NAMES:
        raise OptionError(f"preset={name!r} is not known; choose one of {', '.join(NAMES)}.")
    return replace(table[name], **{key: value for key, value in overrides.items() if value is not None})
