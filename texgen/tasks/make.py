"""The path that every verb takes: check options, prepare swatches, run a model on them."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from texgen.diffusion.knobs import LOADED_WITH, PUBLISHED
from texgen.diffusion.knobs import Knobs as DiffusionKnobs
from texgen.errors import OptionError, OptionTypeError
from texgen.files import image as images
from texgen.files.image import ImageLike, Picture, read_picture
from texgen.files.inputs import noted
from texgen.job import Canvas, Constraints, Control, Job
from texgen.knobs import check_range, picked, rows, unknown
from texgen.materials.guides import prepared_guides
from texgen.materials.maps import KeptPicture, Map, prepared_maps
from texgen.materials.orientation import Orientation
from texgen.materials.preparation import prepared, result_encoding, with_alpha
from texgen.model import Clock, Model, Workplace, followed
from texgen.runs.interrupt import StopSignals
from texgen.runs.resume import RunFolder, agreed_seed, check_room, check_run_folder
from texgen.runs.torchrun import Team, own_device
from texgen.swatch.knobs import Knobs as SwatchKnobs
from texgen.swatch.model import NAME, SwatchModel
from texgen.tasks.checks import check_place, shares_of
from texgen.tasks.knobs import Common
from texgen.tasks.recipe import recipe_of
from texgen.tasks.result import Result
from texgen.tasks.size import WRAPS, size_of
from tiling import Size

if TYPE_CHECKING:
    from texgen.diffusion.denoising import DenoisingModel
    from texgen.diffusion.knobs import ControlLike
    from texgen.tasks.knobs import ModelLike
    from texgen.tasks.options import Options


@dataclass(frozen=True, kw_only=True)
class Request:
    """What a verb asks for, apart from the options that all verbs share.

    Attributes:
        task: Name of the verb.
        sources: Swatches, in their order; the option `exemplars` may add more.
        size: Size of the result, as the user gave it.
        maps: Label of every pixel of each source, (H, W), uint8, `NONE` for pixels that must not be used; None if there are no labels.
        constraints: Constraints on the contents of the canvas.
        base: Picture whose encoding the result takes; the first source by default.
        notes: The verb's own entries of the recipe.
    """

    task: str
    sources: Sequence[ImageLike]
    size: Any
    maps: Sequence[np.ndarray] | None = None
    constraints: Constraints = field(default_factory=Constraints)
    base: Picture | None = None
    notes: dict[str, Any] = field(default_factory=dict)


def make(request: Request, **options: Any) -> Result:
    """Carry out a request. The keyword arguments are described in `Options`.

    Raises:
        OptionError, InputError, ModelError, ResourceError, KeyboardInterrupt: As in `texgen.expand`.
    """
    clock, size, given = Clock(), size_of(request.size), request.constraints
    clock.begin("read")
    common, knobs = divided(options, request.task)
    if given.target is not None and common.exemplar_weights is not None:
        raise OptionError("exemplar_weights do not go with labels: the target says how much there is of each swatch.")
    knobs.check(size, given)
    size_m = common.width_m(size.width)
    folder = None if common.checkpoint is None else Path(common.checkpoint)
    seed = agreed_seed(common.seed, folder if common.resume else None, common.team)
    check_run_folder(folder, common.resume, common.team)
    pictures = [read_picture(source) for source in (*request.sources, *common.exemplars)]
    job = _job(request, size, common, knobs, seed, pictures)
    check_room(folder, *size, job.encoding.channels * job.encoding.dtype.itemsize)
    clock.begin("load")
    run = _model(common, knobs).begin(job, common.team)
    entry = recipe_of(request.task, common, run, job, pictures, request.notes) | (
        {} if size_m is None else {"size_m": size_m}
    )
    if common.planned is not None:
        common.planned(entry)
    place = common.team.first(partial(RunFolder, folder, entry), resume=common.resume)
    with StopSignals() if place.kept else nullcontext(StopSignals()) as stop:
        texture = followed(run, Workplace(place, stop, clock), common.callback)
    return Result(
        pixels=texture.pixels,
        latents=texture.latents,
        coordinates=texture.coordinates,
        recipe={**entry, **texture.history},
        timings=clock.laps,
        unfinished=place,
        maps=texture.maps,
        field=texture.field,
        size_m=size_m,
        inputs=noted(),
    )


def _check_common(common: Common) -> None:
    """Refuse a model or team of the wrong type, and two options that both resize the swatch."""
    if not isinstance(common.team, Team):
        raise OptionTypeError(f"team={common.team!r} must be a texgen.runs.torchrun.Team.")
    if not (isinstance(common.model, str | Path) or callable(common.model) or hasattr(common.model, "encode")):
        raise OptionTypeError(f"model={common.model!r} must be a name, a loaded model or a function that gives one.")
    if common.exemplar_scale != 1 and (side := common.preparation.size) is not None:
        set_by = f"exemplar_size={side}" if common.exemplar_size is not None else f"preset={PUBLISHED!r} ({side} px)"
        raise OptionError(
            f"exemplar_scale={common.exemplar_scale:g} and {set_by} both resize the swatch; give one of them."
        )


def _job(
    request: Request,
    size: Size,
    common: Common,
    knobs: SwatchKnobs | DiffusionKnobs,
    seed: int,
    pictures: list[Picture],
) -> Job:
    """Prepare the swatches and maps, and put the job together."""
    given, weights, base = request.constraints, common.exemplar_weights, request.base or pictures[0]
    shares = None if weights is None else tuple(shares_of(weights, len(pictures)))
    encoding, sizes = result_encoding([base, *pictures], common.bit_depth), [each.size for each in pictures]
    if given.kept is not None:
        *pictures, base = with_alpha([*pictures, replace(base, pixels=given.kept.image)])
        given = replace(given, kept=replace(given.kept, image=base.pixels))
    exemplars = prepared(pictures, request.maps, common.preparation)
    maps: Sequence[Map] = []
    if isinstance(knobs, SwatchKnobs):
        kept = None if given.kept is None else KeptPicture(given.kept.image.shape[:2], given.kept.is_swatch)
        maps = prepared_maps(knobs.maps, sizes, common.preparation, knobs.map_guides, kept)
        guides = prepared_guides(knobs.guides, sizes, common.preparation)
        orientation = None if knobs.orientation is None else Orientation.of(knobs.orientation)
        given = replace(given, guides=[*given.guides, *guides], orientation=orientation)
    else:
        given = replace(given, controls=[_control(each) for each in knobs.controls])
    if given.place is not None:
        check_place(given.place, Size(*exemplars[0].pixels.shape[:2]), size)
    return Job(
        canvas=Canvas(size, WRAPS[common.tileable]),
        exemplars=exemplars,
        shares=shares,
        constraints=given,
        maps=maps,
        seed=seed,
        encoding=encoding,
        with_map=common.with_map,
    )


def _control(control: ControlLike) -> Control:
    picture, weight = control if isinstance(control, tuple) else (control, 1.0)
    check_range("weight of a control picture", weight, 0, 10)
    return Control(images.read_pixels(picture), float(weight))


def divided(options: dict[str, Any], verb: str) -> tuple[Common, SwatchKnobs | DiffusionKnobs]:
    """Split options into those of all models and those of the chosen model, and check both.

    Raises:
        OptionError: An option belongs to the other kind of model, or a value is not allowed.
        OptionTypeError: An option is unknown, or a value has the wrong type.
    """
    common = Common(**picked(options, Common))
    _check_common(common)
    kind, other = (SwatchKnobs, DiffusionKnobs) if common.model == NAME else (DiffusionKnobs, SwatchKnobs)
    if kind is SwatchKnobs and common.preset == PUBLISHED:
        raise OptionError(
            f"preset={PUBLISHED!r} is for {other.WHOSE}; use draft, standard or best, or choose another model."
        )
    foreign = picked(options, other)
    for name in sorted(options.keys() - picked(options, Common, kind).keys()):
        if name not in foreign:
            raise unknown(verb, name, [row.name for row in rows(Common, kind, other)])
        value = options[name]
        said = f"{name}={value!r}" if isinstance(value, str | int | float) else name
        raise OptionError(f"{said} is for {other.WHOSE}; leave it out, or choose another model.")
    return common, kind(**picked(options, kind))


def _model(common: Common, knobs: SwatchKnobs | DiffusionKnobs) -> Model:
    if isinstance(knobs, SwatchKnobs):
        return SwatchModel(common.preset, knobs)
    from texgen.diffusion.model import DiffusionModel

    return DiffusionModel(backbone_of(common.model, knobs), common.preset, knobs)


def backbone_of(model: ModelLike, knobs: DiffusionKnobs) -> DenoisingModel:
    """Load a diffusion model, or return it if it is loaded already.

    Raises:
        ModelError, OptionError: As in `texgen.load`; also if options add weights to a model that is loaded already.
    """
    from texgen.diffusion import models

    if isinstance(model, str | Path):
        names = ("dtype", "prediction_type", "native_size", *LOADED_WITH)
        return models.load(model, own_device(knobs.device), *(getattr(knobs, name) for name in names))
    for name in LOADED_WITH:
        if getattr(knobs, name):
            raise OptionError(f"{name} is for a model that is given by its name; give it to texgen.load.")
    return model() if callable(model) else model


def native_size(options: Options) -> Size:
    """Native size in pixels of the diffusion model in `options`. The model is loaded, with the weights that the options add, and stored in `options`."""
    given = cast(dict[str, Any], options)
    model = backbone_of(given["model"], DiffusionKnobs(**picked(given, DiffusionKnobs)))
    for name in LOADED_WITH:
        given.pop(name, None)
    given["model"] = model
    return model.native_tile.scaled(model.factor)
