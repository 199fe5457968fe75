"""The one table of presets, and the numbers of the published method."""

from __future__ import annotations

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


PRESETS: dict[str, Preset] = {
    "draft": Preset(iterations=0),
    "standard": Preset(strength=0.6, iterations=2),
    "best": Preset(start="noise", strength=1.0, schedule="fixed"),
    "published": Preset(start="noise", strength=1.0, schedule="fixed", window="ones", tile_overlap=7 / 8),
}
"""Of all verbs but `paint`. `published` is the published expansion: noise, 50 steps, M = 3, tiles an eighth of their side apart with
weights 1, of an exemplar of `texgen.diffusion.knobs.PUBLISHED_SIDE`; nothing is injected, matched or carried over."""

PAINT_PRESETS: dict[str, Preset] = {
    "draft": Preset(iterations=0),
    "standard": Preset(start="scatter", strength=0.6, iterations=2),
    "best": Preset(start="scatter", strength=0.8, schedule="fixed"),
    "published": Preset(
        start="scatter", strength=1.0, loop="optimize", schedule="fixed", window="ones", tile_overlap=7 / 8
    ),
}
"""Along a label map; on a canvas of one tile Algorithm 1 instead of 2."""

OPTIMIZE_STEPS = {"draft": 100, "standard": 200, "best": 300, "published": 200}
"""Of Algorithm 1, as published: 100 to 300, the most for textures that are not stationary."""
NAMES = tuple(PRESETS)


def choose(name: str, painting: bool = False, **overrides: Any) -> Preset:
    """A preset with the given options replaced; options that are None keep the preset's value.

    Args:
        name: One of `NAMES`.
        painting: Whether there are labels.

    Raises:
        OptionError: Unknown name.
    """
    if name not in NAMES:
        raise OptionError(f"preset={name!r} is not known; choose one of {', '.join(NAMES)}.")
    chosen = (PAINT_PRESETS if painting else PRESETS)[name]
    return replace(chosen, **{key: value for key, value in overrides.items() if value is not None})
