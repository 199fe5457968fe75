"""The way of every verb: options checked, swatches prepared, model loaded, plan made, run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from texgen import image as images
from texgen import models, presets, recipe
from texgen.attention import InjectionMode, choose_layers
from texgen.checkpoint import Unfinished
from texgen.errors import InputError, OptionError, ResourceError
from texgen.guidance.settings import Guidance
from texgen.image import ImageLike
from texgen.interrupt import StopSignals
from texgen.keep import filled_in
from texgen.memory import is_out_of_memory
from texgen.models import Backbone
from texgen.presets import DetailKind, LoopKind
from texgen.regional import NONE, cell_labels
from texgen.run_folder import agreed_seed, check_folder
from texgen.tasks.checks import shares_of
from texgen.tasks.clock import Clock
from texgen.tasks.request import Asked, Plan, Request, check_ranges, make_plan
from texgen.tasks.result import Result
from texgen.tasks.run import Run
from texgen.tasks.size import Tileable
from texgen.team import join, own_device
from tiling import ScheduleKind, WindowKind

if TYPE_CHECKING:
    from texgen.tasks.options import ModelLike


def make(
    request: Request,
    *,
    model: ModelLike = "mini",
    tileable: Tileable = "both",
    preset: str = "standard",
    seed: int | None = None,
    exemplars: Sequence[ImageLike] = (),
    exemplar_weights: Sequence[float] | None = None,
    crop: Sequence[int] | None = None,
    rotate: int = 0,
    exemplar_scale: float = 1.0,
    exemplar_size: int | None = None,
    flatten_light: bool = False,
    start: str | None = None,
    loop: LoopKind | None = None,
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
    tune_decoder: int | None = None,
    with_map: bool = False,
    bits: int = 8,
    device: str = "auto",
    dtype: str = "auto",
    checkpoint: str | Path | None = None,
    checkpoint_minutes: float = 1.0,
    resume: bool = False,
    callback: Callable[[Any], None] | None = None,
) -> Result:
    """Carry out a request; the keyword arguments are those of `Options`, which says what they mean.

    Raises:
        OptionError, InputError, ModelError, ResourceError, KeyboardInterrupt: As `texgen.expand`.
    """
    clock, team = Clock(), join()
    folder = None if checkpoint is None else Path(checkpoint)
    seed = agreed_seed(seed, folder if resume else None, team)
    check_ranges(
        request, tileable, strength, steps, iterations, lr, tile_batch, attn_scale, seed, adapt, tune_decoder, bits,
        memory, checkpoint_minutes,
    )  # fmt: skip
    check_folder(folder, resume, team)
    sources = [*request.sources, *exemplars]
    shares = _shares(exemplar_weights, len(sources), request)
    preparation = {
        "crop": crop,
        "rotate": rotate,
        "scale": exemplar_scale,
        "size": exemplar_size,
        "flatten_light": flatten_light,
    }
    prepared, maps = _prepared(request, sources, preparation)
    clock.lap("read")
    backbone = _loaded(model, own_device(device), dtype)
    chosen = presets.choose(
        preset, backbone.trained_on_pairs, request.target is not None, request.steered, start=start, strength=strength, steps=steps, iterations=iterations, lr=lr, schedule=schedule,
        window=window, inject=inject, adapt=adapt, raise_contrast=raise_contrast, match_spectrum=match_spectrum,
        detail=detail, tune_decoder=tune_decoder, loop=loop,
    )  # fmt: skip
    named = {
        "strength": strength, "iterations": iterations, "inject": inject, "start_time": start_time,
        "match_spectrum": match_spectrum, "adain": adain or None,
    }  # fmt: skip
    asked = Asked(steps, loop, [name for name, value in named.items() if value is not None], with_map)
    plan = make_plan(
        backbone, chosen, request, prepared[0], tileable, strength, asked, seed, tile_batch, memory, tile_overlap, shares,
        Guidance(
            iterations=chosen.iterations, lr=chosen.lr, attn_scale=attn_scale, start_time=start_time, adain=adain,
            inject=None if chosen.inject == "none" else chosen.inject, layers=None if layers is None else tuple(layers),
            content_weight=request.content_weight,
        ),
    )  # fmt: skip
    choose_layers(backbone.attention_layers, plan.guidance.layers)
    if maps is not None:
        _check_labels(maps, plan, request, backbone.factor)
    if plan.preset.loop == "optimize" and team.size > 1:
        raise OptionError("loop='optimize' is for one process; use 'sample' under torchrun.")
    job = {
        "task": request.task,
        **recipe.environment(backbone),
        "seed": plan.seed,
        "size": list(plan.size_px),
        "tileable": tileable,
        "preset": preset,
        **asdict(plan.preset),
        "tile_overlap": [plan.tile[i] - plan.stride[i] for i in (0, 1)],
        "guidance": asdict(plan.guidance),
        "exemplars": [recipe.exemplar_entry(s, p) for s, p in zip(sources, prepared, strict=True)],
        "exemplar_weights": shares,
        "preparation": preparation,
        "tile": list(plan.tile),
        "tile_batch": plan.tile_batch,
        "bits": bits,
        **request.notes,
    }
    unfinished = team.first(partial(Unfinished, folder, job, minutes=checkpoint_minutes), resume=resume)
    clock.lap("load")
    run = Run(backbone, plan, bits, unfinished, team, callback, clock)
    try:
        with StopSignals() if unfinished.kept else nullcontext(StopSignals()) as stop:
            return run.result(job, prepared, maps, stop)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        raise ResourceError(
            f"out of memory with tile_batch={plan.tile_batch} at {plan.size_px}; use a smaller tile_batch, size or exemplar."
        ) from error


def _shares(weights: Sequence[float] | None, count: int, request: Request) -> list[float] | None:
    """Weights of the exemplars, summing to 1."""
    if weights is None:
        return None
    if request.target is not None:
        raise OptionError("exemplar_weights do not go with labels: the target says how much there is of each swatch.")
    return shares_of(weights, count)


def _prepared(
    request: Request, sources: Sequence[ImageLike], preparation: dict[str, Any]
) -> tuple[list[Tensor], list[Tensor] | None]:
    """Swatches as they are used, and the labels of their pixels where there are any; a hole is filled in smoothly."""
    prepared, maps = [], []
    labelled = request.maps or ()
    for index, source in enumerate(sources):
        options = preparation if index == 0 else {**preparation, "crop": None}
        name = Path(source).name if isinstance(source, str | Path) else "swatch"
        image = images.read(source)
        labels = labelled[index] if index < len(labelled) else torch.zeros(image.shape[-2:], dtype=torch.uint8)
        hole = labels == NONE
        image = filled_in(image, ~hole) if bool(hole.any()) else image
        prepared.append(images.prepare(image, name=name, **options))
        maps.append(images.prepare_map(labels, **{k: v for k, v in options.items() if k != "flatten_light"}))
    return prepared, None if request.maps is None else maps


def _check_labels(maps: Sequence[Tensor], plan: Plan, request: Request, factor: int) -> None:
    """Refuse labels that are wanted and of which the prepared swatches show not one cell."""
    wanted = {0} if plan.target is None else set(plan.target.unique().tolist())  # type: ignore[no-untyped-call]
    shown = {label for m in maps for label in cell_labels(m, factor, plan.label_count).unique().tolist()}  # type: ignore[no-untyped-call]
    if wanted - shown:
        lost = sorted(wanted - shown)[0]
        what = (
            f"label {request.notes['labels'][lost]}" if "labels" in request.notes else "what lies outside of the hole"
        )
        raise InputError(
            f"{what} is not to be seen in the swatch as it is used; at least {factor} px of it are needed: check crop and scale."
        )


def _loaded(model: ModelLike, device: str, dtype: str) -> Backbone:
    if isinstance(model, str | Path):
        return models.load(model, device, dtype)
    return model if isinstance(model, Backbone) else model()
