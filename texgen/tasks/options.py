"""What every verb takes, and what may stand for a model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypedDict

if TYPE_CHECKING:
    from texgen.diffusion.guidance.attention import InjectionMode
    from texgen.diffusion.models import Backbone
    from texgen.diffusion.presets import DetailKind, LoopKind
    from texgen.files.image import ImageLike
    from texgen.materials.guides import GuideLike
    from texgen.materials.maps import MapLike, Maps
    from texgen.tasks.size import Tileable
    from tiling import ScheduleKind, WindowKind

    ModelLike = str | Path | Backbone | Callable[[], Backbone]


class Options(TypedDict, total=False):
    """Keyword arguments of all verbs; those left out take the values of the preset.

    Attributes:
        model: `swatch` (the default), `mini`, a diffusers folder, a `.safetensors` file, a hub id, a loaded `Backbone`, or a function that gives
            one, called when all options and images are checked.
        tileable: Axes along which the result repeats without a seam: `both`, `x`, `y`, `none`.
        preset: `draft`, `standard` or `best`; the options below that are None take its values.
        seed: Of all randomness; None draws one (it is in the recipe).
        exemplars: More swatches of the same texture.
        exemplar_weights: How much of each swatch, the first included, is wanted; equal by default.
        crop: (left, top, width, height) of the swatch to use, in pixels.
        rotate: Of the swatch, 0, 90, 180 or 270 degrees counterclockwise.
        exemplar_scale: Resize the swatch: larger gives larger features.
        exemplar_size: Resize the whole swatch to this many pixels a side, as published.
        flatten_light: Take slow changes of brightness out of the swatches, which repeats would show.
        start: Of the swatch model `quilt`, `blocks` (random pieces) or `noise`; of diffusion models `swatch` (what the swatch model makes of the
            same job), `noise`, `layout` (the layout itself, where there is one), or `scatter` (random pixels of the same label, in `paint`).
        loop: `sample` (Algorithm 2) or `optimize` (Algorithm 1); by default the second only where a Stable Diffusion model paints a
            canvas of one tile.
        strength: Noise put on the start, 0 to 1; larger departs further from it.
        steps: Scheduler steps at strength 1; ceil(strength * steps) are run.
        iterations: AD iterations per step and tile.
        lr: Adam's learning rate on the latents.
        schedule: `rolled` or `fixed`.
        window: `ones`, `hann` or `gaussian`.
        tile_overlap: Overlap of neighbouring tiles of the fixed schedule, in pixels.
        tile_batch: Tiles worked on at once; None plans it from `memory`.
        memory: GiB that tiles may take on the device; None takes what is free.
        attn_scale: Sharpness of the ideal attention.
        start_time: AD acts at timesteps below this only.
        adain: Match channel statistics of each tile to the exemplar's.
        inject: Exemplar keys and values in the noise prediction: `beside`, `replace` or `none`.
        match_spectrum: Give the canvas the swatch's mean and cross-spectrum after every step.
        layers: Attention layers of the loss by index or name; the last six by default.
        detail: What is carried over from matching cells of the swatch: `residual` (what the autoencoder loses),
            `pixels` (the swatch itself) or `none`.
        tune_decoder: Train a copy of the decoder on the swatch first, by so many iterations; 0 does not.
        device: `auto`, `cpu`, `cuda`, ...
        dtype: `auto`, `float32`, `float16`, `bfloat16`.
        with_map: Give the map of where all came from; of a diffusion model, refuse before any work a start that has none.
        bits: Of the pixels, 8 or 16.
        checkpoint: A folder, made here, that holds the unfinished run: what is done, the canvas, decoded rows.
        checkpoint_minutes: Between two savings of the canvas.
        resume: Go on with the run that `checkpoint` holds, to the same bytes; begin it where it holds none.
        maps: Companion maps of the swatch by their names, such as `{"normal": "n.png", "height": array}`, shown in register with its colours at
            their own depth; with several swatches a list each, in their order, and last that of a picture that is kept in part, if it is no swatch.
            Swatch model. One whose name begins with `normal` holds vectors, y upwards unless it ends in `dx`.
        map_guides: Names of maps by which patches are compared as well as by colour, so that bumps do not break where the colour is flat.
        guides: Pairs of maps that are to agree, (map of the swatch, map of the result) or with a weight after them: image analogies. The first is
            of the swatch's size, with several swatches a list of them; the second is stretched over the result. Swatch model.
        orientation: A map of the result by which the material is turned: of one channel, angles from 0 to 1 for 0 to 180 degrees counterclockwise; of
            more, a flow map, into whose vectors the swatch's upright is turned. Swatch model.
        symmetry: Of the material, for the swatch model: it may be shown turned (`rotate`), mirrored sideways (`mirror`) or both (`all`);
            `none` by default.
        callback: Called with every `Step` of a diffusion model or `State` of the swatch model, for progress and previews.
    """

    model: ModelLike
    tileable: Tileable
    preset: str
    seed: int | None
    exemplars: Sequence[ImageLike]
    exemplar_weights: Sequence[float] | None
    crop: Sequence[int] | None
    rotate: int
    exemplar_scale: float
    exemplar_size: int | None
    flatten_light: bool
    start: str | None
    loop: LoopKind | None
    strength: float | None
    steps: int | None
    iterations: int | None
    lr: float | None
    schedule: ScheduleKind | None
    window: WindowKind | None
    tile_overlap: int | None
    tile_batch: int | None
    memory: float | None
    attn_scale: float
    start_time: int | None
    adain: bool
    inject: InjectionMode | Literal["none"] | None
    layers: Sequence[int | str] | None
    match_spectrum: bool | None
    detail: DetailKind | None
    tune_decoder: int | None
    with_map: bool
    bits: int
    device: str
    dtype: str
    checkpoint: str | Path | None
    checkpoint_minutes: float
    resume: bool
    maps: Maps | None
    map_guides: Sequence[str]
    guides: Sequence[GuideLike]
    orientation: MapLike | None
    symmetry: str
    callback: Callable[[Any], None] | None
