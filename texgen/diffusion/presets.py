"""The one table of presets, and the numbers of the published method."""

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
    """How a texture is expanded.

    Attributes:
        loop: `sample` denoises with AD after every step (Algorithm 2); `optimize` moves the start itself against the AD loss
            while the timestep falls (Algorithm 1).
        start: `swatch` is what the swatch model makes of the same job; `noise` is the published start; `layout` is a given layout itself; `scatter` draws pixels of each label at random.
        strength: How much noise goes on the start: 0 keeps it, 1 is the published method. A start of noise needs 1.
        steps: Scheduler steps for strength 1; ceil(strength * steps) are run.
        iterations: AD iterations (M) per step and tile.
        lr: Adam's learning rate on the latents.
        schedule: `rolled` moves a grid without overlap at random every step; `fixed` is MultiDiffusion's.
        window: Weights of overlapping tiles.
        tile_overlap: Overlap of neighbouring tiles of the fixed schedule, as a part of the tile.
        inject: Exemplar keys and values in the noise prediction: `beside` its own, `replace`, or None.
        match_spectrum: Give the canvas the exemplar's mean and cross-spectrum after every step, see `texgen.diffusion.sampling.spectrum`.
        detail: What of the exemplar is carried over the decoded result, where latent pixels match: `residual` (what the
            autoencoder loses), `pixels` (the exemplar itself: a weak network's grain goes, and so do its small
            changes), or `none`.
        tune_decoder: Iterations that a copy of the decoder is trained on the exemplar.
        tuning: By which recipe: texgen's, which is for decoders that look at the surroundings of a pixel alone, or the published one, see `texgen.diffusion.decoding.tune`.
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
"""Of all verbs but those below. `published` is the published expansion: noise, 50 steps, M = 3, tiles an eighth of their side apart with
weights 1, of an exemplar of `texgen.diffusion.knobs.PUBLISHED_SIDE`; nothing is injected, matched or carried over."""

PAINT_PRESETS: dict[str, Preset] = {
    "draft": Preset(iterations=0),
    "standard": Preset(start="scatter", strength=0.6, iterations=2),
    "best": Preset(start="scatter", strength=0.8, schedule="fixed"),
    "published": Preset(start="scatter", strength=1.0, loop="optimize", **_PUBLISHED),
}
"""Along a label map; on a canvas of one tile Algorithm 1 instead of 2."""

_TRANSFER = Preset(loop="optimize", start="layout", strength=1.0)
TRANSFER_PRESETS: dict[str, Preset] = {
    "draft": _TRANSFER,
    "standard": _TRANSFER,
    "best": replace(_TRANSFER, schedule="fixed"),
    "published": replace(_TRANSFER, **_PUBLISHED),
}
"""Of `transfer`: Algorithm 1 from the content itself."""
TRANSFER_CONTENT, TRANSFER_CONTENT_XL = {"style": 0.25, "appearance": 0.2}, 0.2
"""Weights of its content loss (lambda) by mode; and on Stable Diffusion XL, in both."""

_TEXT = Preset(start="noise", strength=1.0, iterations=2, lr=0.015, schedule="fixed")
TEXT_PRESETS: dict[str, Preset] = {
    "draft": replace(_TEXT, iterations=1),
    "standard": _TEXT,
    "best": replace(_TEXT, iterations=3),
    "published": replace(_TEXT, **_PUBLISHED),
}
"""Of `text`: Algorithm 2 with the numbers published for Stable Diffusion XL, whatever the model; for others there are none."""

OPTIMIZE_STEPS = {"draft": 100, "standard": 200, "best": 300, "published": 200}
"""Of Algorithm 1, as published: 100 to 300, the most for textures that are not stationary."""
NAMES = tuple(PRESETS)


def choose(name: str, table: Mapping[str, Preset] = PRESETS, **overrides: Any) -> Preset:
    """A preset with the given options replaced; options that are None keep the preset's value.

    Args:
        name: One of `NAMES`.
        table: Of the task.

    Raises:
        OptionError: Unknown name.
    """
    if name not in NAMES:
        raise OptionError(f"preset={name!r} is not known; choose one of {', '.join(NAMES)}.")
    return replace(table[name], **{key: value for key, value in overrides.items() if value is not None})
