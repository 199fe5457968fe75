"""Expand a swatch: a small exemplar becomes a texture of any size."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image
from torch import Tensor

from texgen import image as images
from texgen import models, presets, recipe
from texgen.attention import InjectionMode, choose_layers
from texgen.checkpoint import Unfinished, agreed_seed, check_folder
from texgen.errors import ResourceError
from texgen.guidance.settings import Guidance
from texgen.interrupt import StopSignals
from texgen.memory import is_out_of_memory
from texgen.models import Backbone
from texgen.presets import DetailKind, StartKind
from texgen.sample import Step
from texgen.tasks.request import Clock, Layout, Tileable, check_ranges, make_plan
from texgen.tasks.run import Result, Run
from texgen.team import join, own_device
from tiling import ScheduleKind, WindowKind

ModelLike = str | Path | Backbone | Callable[[], Backbone]
ImageLike = str | Path | Image.Image | np.ndarray | Tensor


def expand(
    image: ImageLike,
    size: int | tuple[int, int] = 1024,
    *,
    model: ModelLike = "mini",
    tileable: Tileable = "both",
    preset: str = "standard",
    seed: int | None = None,
    exemplars: Sequence[ImageLike] = (),
    crop: Sequence[int] | None = None,
    rotate: int = 0,
    exemplar_scale: float = 1.0,
    exemplar_size: int | None = None,
    flatten_light: bool = False,
    start: StartKind | None = None,
    strength: float | None = None,
    steps: int | None = None,
    iterations: int | None = None,
    lr: float | None = None,
    schedule: ScheduleKind | None = None,
    window: WindowKind | None = None,
    tile_overlap: int | None = None,
    tile_batch: int | None = None,
    memory: float | None = None,
    attn_scale: float = 1.0,
    start_time: int | None = None,
    adain: bool = False,
    inject: InjectionMode | Literal["none"] | None = None,
    layers: Sequence[int | str] | None = None,
    adapt: int | None = None,
    raise_contrast: bool | None = None,
    match_spectrum: bool | None = None,
    detail: DetailKind | None = None,
    layout: ImageLike | None = None,
    layout_weight: float = 2.0,
    content_weight: float = 0.0,
    bits: int = 8,
    device: str = "auto",
    dtype: str = "auto",
    checkpoint: str | Path | None = None,
    checkpoint_minutes: float = 1.0,
    resume: bool = False,
    callback: Callable[[Step], None] | None = None,
) -> Result:
    """Expand a swatch to a texture of `size`, with its detail at its own scale.

    Args:
        image: The swatch: a file, a Pillow image, an array (H, W, 3) or a tensor (3, H, W) in [0, 1].
        size: (height, width) in pixels, or one number for both; at least 128.
        model: `mini`, a diffusers folder, a `.safetensors` file, a hub id, a loaded `Backbone`, or a function that gives
            one, called when all options and images are checked.
        tileable: Axes along which the result repeats without a seam: `both`, `x`, `y`, `none`.
        preset: `draft`, `standard` or `best`; the options below that are None take its values.
        seed: Of all randomness; None draws one (it is in the recipe).
        exemplars: More swatches of the same texture.
        crop: (left, top, width, height) of the swatch to use, in pixels.
        rotate: Of the swatch, 0, 90, 180 or 270 degrees counterclockwise.
        exemplar_scale: Resize the swatch: larger gives larger features.
        exemplar_size: Resize the whole swatch to this many pixels a side, as published.
        flatten_light: Take slow changes of brightness out of the swatches, which repeats would show.
        start: `quilt`, `coarse` (a quilt whose large features are laid out first), `noise`, or `layout` (the layout itself).
        strength: Noise put on the start, 0 to 1; larger departs further from the quilt.
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
        adapt: Tune a copy of the UNet to the swatch first, by so many training steps on its own crops; 0 does not.
        raise_contrast: Sample a calm swatch's latents at unit power, so that the noise does not drown them.
        match_spectrum: Give the canvas the swatch's mean and cross-spectrum after every step.
        layers: Attention layers of the loss by index or name; the last six by default.
        detail: What is carried over from matching cells of the swatch: `residual` (what the autoencoder loses),
            `pixels` (the swatch itself) or `none`.
        layout: A rough picture of the result, of any size; see `texgen.layout`.
        layout_weight: How closely quilted blocks follow its low frequencies; larger costs seams.
        content_weight: How closely AD holds on to the queries of the layout; 0 leaves it out.
        device: `auto`, `cpu`, `cuda`, ...
        dtype: `auto`, `float32`, `float16`, `bfloat16`.
        bits: Of the pixels, 8 or 16.
        checkpoint: A folder, made here, that holds the unfinished run: what is done, the canvas, decoded rows.
        checkpoint_minutes: Between two savings of the canvas.
        resume: Go on with the run that `checkpoint` holds, to the same bytes; begin it where it holds none.
        callback: Called with every `Step`, for progress and previews.

    Returns:
        The picture with its latents, coordinate map, recipe and timings.

    Raises:
        OptionError: Options that make no sense, found before any model call.
        InputError: A swatch that cannot be used.
        ModelError: A model that cannot be loaded.
        ResourceError: Out of memory or disk.
        KeyboardInterrupt: Interrupted, with `checkpoint`: at the next batch of tiles, saved.

    Example:
        >>> result = expand("swatch.png", size=(1024, 2048), seed=7)  # doctest: +SKIP
        >>> result.image.size  # doctest: +SKIP
        (2048, 1024)
    """
    clock, team = Clock(), join()
    folder = None if checkpoint is None else Path(checkpoint)
    seed = agreed_seed(seed, folder if resume else None, team)
    check_ranges(
        size, tileable, strength, steps, iterations, lr, tile_batch, attn_scale, seed, adapt, bits, memory,
        checkpoint_minutes, layout_weight, content_weight,
    )  # fmt: skip
    check_folder(folder, resume, team)
    sources = [image, *exemplars]
    options = {
        "crop": crop,
        "rotate": rotate,
        "scale": exemplar_scale,
        "size": exemplar_size,
        "flatten_light": flatten_light,
    }
    prepared = [_prepared(source, options if i == 0 else {**options, "crop": None}) for i, source in enumerate(sources)]
    rough = None if layout is None else Layout(images.read(layout), layout_weight)
    clock.lap("read")
    backbone = _loaded(model, own_device(device), dtype)
    chosen = presets.choose(
        preset, backbone.trained_on_pairs, start=start, strength=strength, steps=steps, iterations=iterations, lr=lr, schedule=schedule,
        window=window, inject=inject, adapt=adapt, raise_contrast=raise_contrast, match_spectrum=match_spectrum,
        detail=detail,
    )  # fmt: skip
    plan = make_plan(backbone, chosen, size, tileable, strength, seed, tile_batch, memory, tile_overlap, Guidance(
        iterations=chosen.iterations, lr=chosen.lr, attn_scale=attn_scale, start_time=start_time, adain=adain,
        inject=None if chosen.inject == "none" else chosen.inject, layers=None if layers is None else tuple(layers),
        content_weight=content_weight,
    ), rough)  # fmt: skip
    choose_layers(backbone.attention_layers, plan.guidance.layers)
    job = {
        "task": "expand" if rough is None else "layout",
        **recipe.environment(backbone),
        "seed": plan.seed,
        "size": list(plan.size_px),
        "tileable": tileable,
        "preset": preset,
        **asdict(plan.preset),
        "tile_overlap": [plan.tile[i] - plan.stride[i] for i in (0, 1)],
        "guidance": asdict(plan.guidance),
        "exemplars": [recipe.exemplar_entry(s, p) for s, p in zip(sources, prepared, strict=True)],
        "preparation": options,
        "tile": list(plan.tile),
        "tile_batch": plan.tile_batch,
        "bits": bits,
    }
    if rough is not None:
        job |= {"layout": recipe.exemplar_entry(layout, rough.image), "layout_weight": layout_weight}
    unfinished = team.first(partial(Unfinished, folder, job, minutes=checkpoint_minutes), resume=resume)
    clock.lap("load")
    run = Run(backbone, plan, bits, unfinished, team, callback, clock)
    try:
        with StopSignals() if unfinished.kept else nullcontext(StopSignals()) as stop:
            return run.result(job, prepared, stop)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        raise ResourceError(
            f"out of memory with tile_batch={plan.tile_batch} at {plan.size_px}; use a smaller tile_batch, size or exemplar."
        ) from error


def _loaded(model: ModelLike, device: str, dtype: str) -> Backbone:
    if isinstance(model, str | Path):
        return models.load(model, device, dtype)
    return model if isinstance(model, Backbone) else model()


def _prepared(source: ImageLike, options: dict[str, Any]) -> Tensor:
    name = Path(source).name if isinstance(source, str | Path) else "swatch"
    return images.prepare(images.read(source), name=name, **options)
