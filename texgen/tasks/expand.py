"""Expand a swatch: a small exemplar becomes a texture of any size."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from texgen import image as images
from texgen import models, presets, publish, recipe
from texgen.adapt import adapted
from texgen.attention import InjectionMode, choose_layers
from texgen.decode import decode_uint8
from texgen.detail import find_detail
from texgen.errors import OptionError, ResourceError
from texgen.exemplar import Exemplar, contrast, encode_exemplar
from texgen.guidance.settings import Guidance
from texgen.models import Backbone
from texgen.presets import DetailKind, StartKind
from texgen.sample import Step, noised, normal, sample, strength_timesteps
from texgen.spectrum import spectrum_matcher
from texgen.start import Start, noise_start, quilt_start
from texgen.tasks.request import Clock, Plan, Tileable, check_ranges, make_plan
from tiling import ScheduleKind, Tile, WindowKind, fixed_schedule, make_window, rolled_schedule

ModelLike = str | Path | Backbone | Callable[[], Backbone]
ImageLike = str | Path | Image.Image | np.ndarray | Tensor
OVERLAPPED_STEPS = 0


@dataclass(frozen=True, kw_only=True)
class Result:
    """An expanded texture.

    Attributes:
        image: The picture, 8 bits RGB.
        latents: The canvas it was decoded from, (1, C, h, w).
        coordinates: (3, h, w), int64: exemplar number, y and x in exemplar pixels each canvas cell came from in the
            quilted start; None without one.
        recipe: Everything needed to make it again; equal for equal runs.
        timings: Seconds per stage.
    """

    image: Image.Image
    latents: Tensor
    coordinates: Tensor | None
    recipe: dict[str, Any]
    timings: dict[str, float] = field(default_factory=dict)

    def save(self, path: str | Path, metadata: bool = True) -> None:
        """Write the picture by suffix, the recipe inside it, and a JSON sidecar (`out.png.json`) with timings.

        Raises:
            OptionError: A suffix or place that cannot be written.
            ResourceError: The disk is full.
        """
        path = Path(path)
        publish.check_target(path, self.image.height, self.image.width)
        publish.save_image(path, np.asarray(self.image), self.recipe if metadata else None)
        if metadata:
            publish.save_json(path.with_name(path.name + ".json"), {**self.recipe, "timings": self.timings})

    def save_map(self, path: str | Path) -> None:
        """Write `coordinates` as a float32 TIFF of three pages: exemplar number, y, x.

        Raises:
            OptionError: The canvas did not start from a quilt.
        """
        if self.coordinates is None:
            raise OptionError("a start of noise has no coordinate map; use start='quilt'.")
        publish.save_map(Path(path), self.coordinates.numpy())


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
    start: StartKind | None = None,
    strength: float | None = None,
    steps: int | None = None,
    iterations: int | None = None,
    lr: float | None = None,
    schedule: ScheduleKind | None = None,
    window: WindowKind | None = None,
    tile_overlap: int | None = None,
    tile_batch: int = 1,
    attn_scale: float = 1.0,
    start_time: int | None = None,
    adain: bool = False,
    inject: InjectionMode | Literal["none"] | None = None,
    layers: Sequence[int | str] | None = None,
    adapt: int | None = None,
    raise_contrast: bool | None = None,
    match_spectrum: bool | None = None,
    detail: DetailKind | None = None,
    device: str = "auto",
    dtype: str = "auto",
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
        start: `quilt` or `noise`.
        strength: Noise put on the start, 0 to 1; larger departs further from the quilt.
        steps: Scheduler steps at strength 1; ceil(strength * steps) are run.
        iterations: AD iterations per step and tile.
        lr: Adam's learning rate on the latents.
        schedule: `rolled` or `fixed`.
        window: `ones`, `hann` or `gaussian`.
        tile_overlap: Overlap of neighbouring tiles of the fixed schedule, in pixels.
        tile_batch: Tiles worked on at once.
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
        device: `auto`, `cpu`, `cuda`, ...
        dtype: `auto`, `float32`, `float16`, `bfloat16`.
        callback: Called with every `Step`, for progress and previews.

    Returns:
        The picture with its latents, coordinate map, recipe and timings.

    Raises:
        OptionError: Options that make no sense, found before any model call.
        InputError: A swatch that cannot be used.
        ModelError: A model that cannot be loaded.
        ResourceError: Out of memory.

    Example:
        >>> result = expand("swatch.png", size=(1024, 2048), seed=7)  # doctest: +SKIP
        >>> result.image.size  # doctest: +SKIP
        (2048, 1024)
    """
    clock = Clock()
    check_ranges(size, tileable, strength, steps, iterations, lr, tile_batch, attn_scale, seed, adapt)
    sources = [image, *exemplars]
    options = {"crop": crop, "rotate": rotate, "scale": exemplar_scale, "size": exemplar_size}
    prepared = [_prepared(source, options if i == 0 else {**options, "crop": None}) for i, source in enumerate(sources)]
    clock.lap("read")
    backbone = _loaded(model, device, dtype)
    chosen = presets.choose(
        preset, backbone.trained_on_pairs, start=start, strength=strength, steps=steps, iterations=iterations, lr=lr, schedule=schedule,
        window=window, inject=inject, adapt=adapt, raise_contrast=raise_contrast, match_spectrum=match_spectrum,
        detail=detail,
    )  # fmt: skip
    plan = make_plan(backbone, chosen, size, tileable, strength, seed, tile_batch, tile_overlap, Guidance(
        iterations=chosen.iterations, lr=chosen.lr, attn_scale=attn_scale, start_time=start_time, adain=adain,
        inject=None if chosen.inject == "none" else chosen.inject, layers=None if layers is None else tuple(layers),
    ))  # fmt: skip
    choose_layers(backbone.attention_layers, plan.guidance.layers)
    clock.lap("load")
    try:
        return _run(backbone, plan, sources, prepared, options, preset, tileable, callback, clock)
    except (RuntimeError, MemoryError) as error:
        if not _is_out_of_memory(error):
            raise
        raise ResourceError(
            f"out of memory with tile_batch={plan.tile_batch} at {plan.size_px}; use a smaller tile_batch, size or exemplar."
        ) from error


def _run(
    backbone: Backbone,
    plan: Plan,
    sources: Sequence[ImageLike],
    prepared: Sequence[Tensor],
    preparation: dict[str, Any],
    preset: str,
    tileable: str,
    callback: Callable[[Step], None] | None,
    clock: Clock,
) -> Result:
    """Encode, start, run, decode, recipe."""
    seeds = np.random.SeedSequence(plan.seed).generate_state(5).tolist()
    exemplar = encode_exemplar(backbone, prepared)
    clock.lap("encode")
    begun = noise_start()
    if plan.preset.start == "quilt":
        begun = quilt_start(exemplar, plan.canvas, plan.wrap, _generator(seeds[0]))
    clock.lap("start")
    timesteps = strength_timesteps(backbone.scheduler, plan.preset.steps, plan.preset.strength)
    level = contrast(exemplar.sources) if plan.preset.raise_contrast else None
    raised = exemplar if level is None else exemplar.raised(level)
    sampler = backbone
    if plan.preset.adapt and timesteps:
        sampler = adapted(
            backbone, raised.sources, steps=plan.preset.adapt, below=timesteps[0], generator=_generator(seeds[4])
        )
    clock.lap("adapt")
    if level is not None and begun.latents is not None:
        begun = begun._replace(latents=level.raised(begun.latents))
    latents, history = _sampled(sampler, plan, raised, begun, timesteps, seeds[1:4], callback)
    if level is not None:
        latents = level.lowered(latents)
    clock.lap("sample")
    detail = None
    if plan.preset.detail != "none":
        replacing = plan.preset.detail == "pixels"
        detail = find_detail(backbone, exemplar, latents, begun.coordinates, plan.wrap, replacing)
    clock.lap("detail")
    pixels = decode_uint8(backbone, latents, plan.wrap, plan.size_px, detail)
    clock.lap("decode")
    record = {
        "task": "expand",
        **recipe.environment(backbone),
        "seed": plan.seed,
        "size": list(plan.size_px),
        "tileable": tileable,
        "preset": preset,
        **asdict(plan.preset),
        "tile_overlap": [plan.tile[i] - plan.stride[i] for i in (0, 1)],
        "guidance": asdict(plan.guidance),
        "exemplars": [recipe.exemplar_entry(s, p) for s, p in zip(sources, prepared, strict=True)],
        "preparation": preparation,
        "tile": list(plan.tile),
        "tile_batch": plan.tile_batch,
        **history,
    }
    return Result(
        image=Image.fromarray(pixels), latents=latents, coordinates=begun.coordinates, recipe=record, timings=clock.laps
    )


def _sampled(
    backbone: Backbone,
    plan: Plan,
    exemplar: Exemplar,
    begun: Start,
    timesteps: Sequence[int],
    seeds: Sequence[int],
    callback: Callable[[Step], None] | None,
) -> tuple[Tensor, dict[str, Any]]:
    """The finished canvas, and what was done: steps, tile steps, AD iterations."""
    noise = normal((1, backbone.latent_channels, *plan.canvas), _generator(seeds[0]))
    latents = noise if begun.latents is None else begun.latents
    if timesteps and begun.latents is not None:
        latents = noised(backbone.scheduler, begun.latents, noise, timesteps[0])
    done = {"steps_run": len(timesteps), "tile_steps": 0, "ad_iterations": 0}
    matcher = None
    if plan.preset.match_spectrum:
        matcher = spectrum_matcher([source.latents for source in exemplar.sources], backbone.scheduler)
    steps = sample(
        backbone,
        latents,
        exemplar.crops,
        timesteps=timesteps,
        plans=_schedule(plan, len(timesteps), seeds[1]),
        window=make_window(plan.preset.window, plan.tile),
        guidance=plan.guidance,
        generator=_generator(seeds[2]),
        tile_batch=plan.tile_batch,
        match=None if matcher is None else partial(matcher, wrap=plan.wrap),
    )
    for step in steps:
        latents = step.latents
        done["tile_steps"] += step.tiles
        done["ad_iterations"] += step.tiles * step.iterations
        if callback is not None:
            callback(step)
    return latents, done


def _schedule(plan: Plan, steps: int, seed: int) -> Sequence[Sequence[Tile]]:
    if plan.preset.schedule == "fixed":
        return list(fixed_schedule(plan.canvas, plan.tile, plan.stride, plan.wrap, steps))
    return list(rolled_schedule(plan.canvas, plan.tile, plan.wrap, steps, seed, OVERLAPPED_STEPS))


def _is_out_of_memory(error: Exception) -> bool:
    """On a CPU torch raises a plain RuntimeError from its allocator."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or "can't allocate memory" in str(error)


def _loaded(model: ModelLike, device: str, dtype: str) -> Backbone:
    if isinstance(model, str | Path):
        return models.load(model, device, dtype)
    return model if isinstance(model, Backbone) else model()


def _prepared(source: ImageLike, options: dict[str, Any]) -> Tensor:
    name = Path(source).name if isinstance(source, str | Path) else "swatch"
    return images.prepare(images.read(source), name=name, **options)


def _generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)
