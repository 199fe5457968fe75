"""Outputs of a verb on the command line: checked, locked, made one after the other, saved."""

from __future__ import annotations

import functools
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from texgen.cli.flags import given, maps_of
from texgen.cli.invocation import DASH, command, inputs
from texgen.cli.knobs import Outputs
from texgen.cli.places import NothingToDo, output_file, places_of, set_place
from texgen.cli.progress import reporter
from texgen.diffusion.knobs import LOADED_WITH
from texgen.errors import OptionError
from texgen.files import publish, targets
from texgen.files.encoding import Encoding
from texgen.files.image import Picture, read_picture
from texgen.job import Constraints
from texgen.knobs import rows
from texgen.materials.maps import read_map
from texgen.materials.preparation import result_encoding
from texgen.runs.folder import agreed_seed, check_folder
from texgen.runs.stages import tell
from texgen.runs.team import join, own_device
from texgen.swatch.model import NAME
from texgen.tasks.knobs import EVERY
from texgen.tasks.make import divided
from texgen.tasks.result import Result
from tiling import Size


def _parted(values: dict[str, Any]) -> tuple[Outputs, dict[str, Any]]:
    """The outputs among all values of a command line, and of the others those that were given."""
    names = {row.name for row in rows(Outputs)}
    ours = {name: value for name, value in values.items() if name in names}
    return Outputs(**ours), given({name: value for name, value in values.items() if name not in names})


def make_outputs(
    run: Callable[..., Result], size: tuple[int, int], pictures: Sequence[Picture], keeps: bool = False, **values: Any
) -> None:
    """Run a task for every output, in folders that can be continued.

    Args:
        run: The task, but for the options of all verbs.
        size: Of the result.
        pictures: What it is made of; the first says how the result is encoded.
        keeps: Whether pixels of the first are to stay as they are.
        values: Of all options of the command line, given or not.
    """
    outputs, options = _parted(values)
    if outputs.out == DASH:
        return _to_stdout(run, size, pictures, values)
    team, model, resume, seed = join(), values["model"], values["resume"], values["seed"]
    out = output_file(outputs.out, pictures[0], values["bit_depth"])
    read, encoding = _read(options), _encoding(options, pictures, out)
    if outputs.save_field and model != NAME:
        raise OptionError("--save-field is for the swatch model; leave it out.")
    places = places_of(replace(outputs, out=out), resume)
    before = next((place.seed - number for number, place in enumerate(places) if place.seed is not None), None)
    seed = agreed_seed(before if seed is None else seed, None, team)
    if seed + outputs.variations > 2**63:
        raise OptionError(
            f"seed={seed} leaves no seeds for {outputs.variations} variations; at most {2**63 - outputs.variations}."
        )
    report = reporter(outputs.progress, outputs.quiet or team.rank > 0)
    if keeps and out.suffix.lower() in (".jpg", ".jpeg"):
        report.warn(f"{out.name}: a JPEG changes every pixel a little, those that are kept, too; use .png or .tif")
    if model != NAME:
        options = {name: value for name, value in options.items() if name not in LOADED_WITH}
        options["model"] = loader(values)
    named = {row.name for row in rows(*EVERY)}
    _, knobs = divided({name: value for name, value in options.items() if name in named}, "texgen")
    knobs.check(Size(*size), Constraints())
    blanks, sources = {name: maps[0] for name, maps in read.items()}, inputs()
    with ExitStack() as locks:
        for place in places:
            place.check(size, encoding, blanks, sources)
            check_folder(place.folder, resume, team)
            if team.rank == 0:
                locks.enter_context(publish.locked(place.picture))
        for number, place in enumerate(places):
            report.begin(place.picture, seed + number, place.folder)
            options |= {"seed": seed + number, "checkpoint": place.folder, "with_map": place.coordinates is not None}
            try:
                result = run(planned=place.check_finished, team=team, **options)
            except NothingToDo:
                report.end(place.picture, made=False)
                continue
            if team.rank == 0:
                tell("save")
                result.recipe["command"] = command({"out": place.picture, "seed": seed + number})
                place.save(result)
                result.discard()
            team.wait()
            report.end(place.picture)
    return None


def _to_stdout(
    run: Callable[..., Result], size: tuple[int, int], pictures: Sequence[Picture], values: dict[str, Any]
) -> None:
    """Make one output in a temporary folder, and write its bytes to standard output."""
    outputs, _ = _parted(values)
    if (
        replace(outputs, out=Path(), no_metadata=False, progress="auto", quiet=False, overwrite=False) != Outputs()
        or values["resume"]
    ):
        raise OptionError("-o - writes one picture and nothing beside it; leave the other outputs, and --resume, out.")
    with tempfile.TemporaryDirectory(prefix="texgen-") as folder:
        out = output_file(Path(folder), pictures[0], values["bit_depth"])
        make_outputs(run, size, pictures, **{**values, "out": out})
        sys.stdout.buffer.write(out.read_bytes())
        sys.stdout.buffer.flush()


ALONE = {
    "variations",
    "save_map",
    "save_field",
    "preview",
    "profile",
    "pyramid",
    "device",
    "dtype",
    "checkpoint_minutes",
}
"""What does not go with a set of tiles."""


def make_set(swatch: Picture, size: int, colours: tuple[int, int], **values: Any) -> None:
    """Make a set of Wang tiles, and write it whole."""
    from texgen.tasks.wang import PLANE, files_of, index_path, plane_path, tile_paths, wang

    for name in given(values).keys() & ALONE:
        raise OptionError(f"--{name.replace('_', '-')} does not go with --wang; leave it out.")
    outputs, options = _parted(values)
    if outputs.out == DASH:
        raise OptionError("a set of tiles is several files; give a file name, which theirs begin with.")
    out, read = output_file(outputs.out, swatch, values["bit_depth"]), _read(options)
    encoding, resume = _encoding(options, [swatch], out), values["resume"]
    kind: dict[str, Any] = {"dtype": encoding.dtype, "channels": encoding.channels}
    place = set_place(replace(outputs, out=out), index_path(out), "base-0", resume)
    seed = agreed_seed(place.seed if values["seed"] is None else values["seed"], None, join())
    report, maps = reporter(outputs.progress, outputs.quiet), {name: values[0] for name, values in read.items()}
    count = (colours[0] * colours[1]) ** 2
    for target in tile_paths(out, count):
        targets.check_target(target, size, size, **kind)
        targets.check_maps(target, size, size, maps)
    targets.check_target(plane_path(out), PLANE * size, PLANE * size, **kind)
    files = files_of(out, count, maps, not outputs.no_metadata)
    targets.check_free(files, outputs.overwrite or place.finished is not None, inputs())
    with publish.locked(out):
        report.begin(out, seed, place.folder)
        options |= {"seed": seed, "checkpoint": place.folder, "planned": place.check_finished}
        try:
            made = wang(swatch, size, colours, **options)
        except NothingToDo:
            return report.end(out, made=False)
        tell("save")
        made.recipe["command"] = command({"out": out, "seed": seed})
        made.save(out, metadata=not outputs.no_metadata, overwrite=outputs.overwrite)
        made.discard()
        return report.end(out)


def _read(options: dict[str, Any]) -> dict[str, list[np.ndarray]]:
    """Read the maps among the options, which take their place, with the names of those that guide."""
    if "maps" not in options:
        return {}
    files, guides = maps_of(options["maps"])
    read = {name: [read_map(path, name) for path in paths] for name, paths in files.items()}
    options |= {"maps": read} | ({"map_guides": tuple(guides)} if guides else {})
    return read


def _encoding(options: dict[str, Any], pictures: Sequence[Picture], out: Path) -> Encoding:
    """How the result is encoded; more swatches among the options are read, and a depth is chosen that the output's format holds."""
    if "exemplars" in options:
        options["exemplars"] = [read_picture(each) for each in options["exemplars"]]
    if "bit_depth" not in options:
        options["bit_depth"] = targets.fitting_depth(out, pictures[0].encoding.depth)
    return result_encoding([*pictures, *options.get("exemplars", ())], options["bit_depth"])


def loader(values: dict[str, Any]) -> Callable[[], Any]:
    """What loads the diffusion model of a command line, once."""
    names = ("dtype", "prediction_type", "native_size", *LOADED_WITH)
    return functools.partial(_loaded, values["model"], own_device(values["device"]), *map(values.get, names))


def native_size(values: dict[str, Any]) -> Size:
    """In pixels, of the diffusion model of a command line."""
    model = loader(values)()
    return Size(*model.native_tile.scaled(model.factor))


@functools.lru_cache(1)
def _loaded(model: str, *settings: Any) -> Any:
    from texgen.diffusion import models

    return models.load(model, *settings)
