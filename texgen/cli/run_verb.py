"""Make the outputs of a command: check and lock their files, then make and save one after the other."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from texgen.cli.flags import given, maps_of
from texgen.cli.invocation import DASH, command, inputs
from texgen.cli.knobs import Outputs
from texgen.cli.output_files import NothingToDo, Place, output_file, places_of
from texgen.cli.progress import reporter
from texgen.diffusion.knobs import LOADED_WITH
from texgen.diffusion.knobs import Knobs as DiffusionKnobs
from texgen.errors import OptionError
from texgen.files import targets
from texgen.files.encoding import Encoding
from texgen.files.image import Picture, read_picture
from texgen.files.lock import locked
from texgen.job import Constraints
from texgen.knobs import picked
from texgen.materials.maps import read_map
from texgen.materials.preparation import result_encoding
from texgen.runs.log import tell
from texgen.runs.resume import agreed_seed, check_run_folder
from texgen.runs.torchrun import Team, join
from texgen.swatch.model import NAME
from texgen.tasks.knobs import EVERY
from texgen.tasks.make import backbone_of, divided
from tiling import Size


def _parted(values: dict[str, Any]) -> tuple[Outputs, dict[str, Any]]:
    """Split the values of a command line into the output options, and those of the others that the user gave."""
    ours = picked(values, Outputs)
    return Outputs(**ours), given({name: value for name, value in values.items() if name not in ours})


def make_outputs(
    run: Callable[..., Any],
    size: tuple[int, int],
    pictures: Sequence[Picture],
    keeps: bool = False,
    tiles: int = 0,
    **values: Any,
) -> None:
    """Run a task for every output, in folders from which `--resume` can continue.

    Args:
        run: The task; it still takes the options of all verbs.
        size: Size of the result.
        pictures: Swatches; the first decides how the result is encoded.
        keeps: Whether pixels of the first picture stay as they are.
        tiles: Number of tiles of a set of Wang tiles; 0 for a single texture.
        values: Values of all options of the command line, given or not.
    """
    outputs, options = _parted(values)
    if outputs.out == DASH:
        return _to_stdout(run, size, pictures, values)
    team, model, resume = join(), values["model"], values["resume"]
    out = output_file(outputs.out, pictures[0], values["bit_depth"])
    read, encoding = _read(options), _encoding(options, pictures, out)
    if outputs.save_field and model != NAME:
        raise OptionError("--save-field is for the swatch model; leave it out.")
    places = places_of(replace(outputs, out=out), resume, tiles)
    seed = _agreed_seed(values["seed"], places, team)
    report = reporter(outputs.progress, outputs.quiet or team.rank > 0)
    if keeps and out.suffix.lower() in (".jpg", ".jpeg"):
        report.warn(f"{out.name}: a JPEG changes every pixel a little, those that are kept, too; use .png or .tif")
    if model != NAME:
        options = {name: value for name, value in options.items() if name not in LOADED_WITH}
        options["model"] = loader(values)
    _, knobs = divided(picked(options, *EVERY), "texgen")
    knobs.check(Size(*size), Constraints())
    blanks, sources = {name: maps[0] for name, maps in read.items()}, inputs()
    with ExitStack() as locks:
        for place in places:
            place.check(size, encoding, blanks, sources)
            if not tiles:  # the folder of a set holds one for each run
                check_run_folder(place.folder, resume, team)
            if team.rank == 0:
                locks.enter_context(locked(place.picture))
        for number, place in enumerate(places):
            own = {"seed": seed + number, "checkpoint": place.folder, "with_map": place.coordinates is not None}
            report.begin(place.picture, seed + number, place.folder)
            made = _made(partial(run, **options | own, team=team), place, team)
            report.end(place.picture, made)
    return None


def _made(run: Callable[..., Any], place: Place, team: Team) -> bool:
    """Make and save the output of a place; return False if it is finished already."""
    try:
        result = run(planned=place.check_finished)
    except NothingToDo:
        return False
    if team.rank == 0:
        tell("save")
        result.recipe["command"] = command({"out": place.picture, "seed": result.recipe["seed"]})
        place.save(result)
        result.discard()
    team.wait()
    return True


def _agreed_seed(seed: int | None, places: Sequence[Place], team: Team) -> int:
    """The seed of the first place: the given one, else the one that fits what an earlier run left, else a random one."""
    before = next((place.seed - number for number, place in enumerate(places) if place.seed is not None), None)
    seed = agreed_seed(before if seed is None else seed, None, team)
    if seed + len(places) > 2**63:
        raise OptionError(f"seed={seed} leaves no seeds for {len(places)} variations; at most {2**63 - len(places)}.")
    return seed


def _to_stdout(
    run: Callable[..., Any], size: tuple[int, int], pictures: Sequence[Picture], values: dict[str, Any]
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
    "variations", "save_map", "save_field", "preview", "profile", "pyramid", "device", "dtype", "checkpoint_minutes"
}  # fmt: skip
"""Options that a set of tiles does not take."""


def make_set(run: Callable[..., Any], swatch: Picture, size: int, count: int, **values: Any) -> None:
    """Make a set of `count` Wang tiles, and write it whole."""
    for name in given(values).keys() & ALONE:
        raise OptionError(f"--{name.replace('_', '-')} does not go with --wang; leave it out.")
    if values["out"] == DASH:
        raise OptionError("a set of tiles is several files; give a file name, which theirs begin with.")
    make_outputs(run, (size, size), [swatch], tiles=count, **values)


def _read(options: dict[str, Any]) -> dict[str, list[np.ndarray]]:
    """Read the maps that the options name and put them into the options, with the names of those that guide."""
    if "maps" not in options:
        return {}
    files, guides = maps_of(options["maps"])
    read = {name: [read_map(path, name) for path in paths] for name, paths in files.items()}
    options |= {"maps": read} | ({"map_guides": tuple(guides)} if guides else {})
    return read


def _encoding(options: dict[str, Any], pictures: Sequence[Picture], out: Path) -> Encoding:
    """The encoding of the result. This reads the other swatches named in the options, and sets a depth that the output format holds if none is given."""
    if "exemplars" in options:
        options["exemplars"] = [read_picture(each) for each in options["exemplars"]]
    if "bit_depth" not in options:
        options["bit_depth"] = targets.fitting_depth(out, pictures[0].encoding.depth)
    return result_encoding([*pictures, *options.get("exemplars", ())], options["bit_depth"])


def loader(values: dict[str, Any]) -> Callable[[], Any]:
    """A function that loads the diffusion model of a command line, once."""
    knobs = DiffusionKnobs(**picked(values, DiffusionKnobs) | {"start": None})  # it may be one of the swatch model's
    return partial(_loaded, values["model"], knobs)


_loaded = lru_cache(1)(backbone_of)
