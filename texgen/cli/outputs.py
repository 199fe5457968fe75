"""Outputs of a verb on the command line: checked, locked, made one after the other, saved."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from texgen.cli.flags import given, maps_of
from texgen.cli.knobs import Outputs
from texgen.cli.progress import reporter
from texgen.errors import OptionError
from texgen.files import publish
from texgen.files.encoding import Encoding
from texgen.files.image import Picture, read_picture
from texgen.knobs import rows
from texgen.materials.maps import read_map
from texgen.materials.preparation import result_encoding
from texgen.runs.folder import agreed_seed, unfinished_seed
from texgen.runs.team import join, own_device
from texgen.swatch.model import NAME
from texgen.tasks.result import Result


def _parted(values: dict[str, Any]) -> tuple[Outputs, dict[str, Any]]:
    """The outputs among all values of a command line, and of the others those that were given."""
    names = {row.name for row in rows(Outputs)}
    ours = {name: value for name, value in values.items() if name in names}
    return Outputs(**ours), given({name: value for name, value in values.items() if name not in names})


def make_outputs(run: Callable[..., Result], size: tuple[int, int], pictures: Sequence[Picture], **values: Any) -> None:
    """Run a task for every output, in folders that can be continued.

    Args:
        run: The task, but for the options of all verbs.
        size: Of the result.
        pictures: What it is made of; the first says how the result is encoded.
        values: Of all options of the command line, given or not.
    """
    outputs, options = _parted(values)
    team, model, resume = join(), values["model"], values["resume"]
    targets = _targets(outputs.out, outputs.variations)
    places = [] if outputs.save_map is None else _targets(outputs.save_map, outputs.variations)
    fields = [] if outputs.save_field is None else _targets(outputs.save_field, outputs.variations)
    read, encoding = _read(options), _encoding(options, pictures, outputs.out)
    if fields and model != NAME:
        raise OptionError("--save-field is for the swatch model; leave it out.")
    seed = values["seed"]
    seed = agreed_seed(_resumed_seed(targets) if resume and seed is None else seed, None, team)
    report = reporter(outputs.progress if team.rank == 0 else "silent")
    if model != NAME:
        settings = [
            own_device(values["device"]),
            *(values[name] for name in ("dtype", "prediction_type", "native_size")),
        ]
        options["model"] = functools.cache(lambda: _loaded(model, *settings))
    if outputs.preview:
        from texgen.tasks.preview import preview, preview_path
    with ExitStack() as locks:
        for target in targets:
            publish.check_target(
                target, *size, dtype=encoding.dtype, channels=encoding.channels, pyramid=outputs.pyramid
            )
            if team.rank == 0:
                locks.enter_context(publish.locked(target))
            if outputs.preview:
                publish.check_place(preview_path(target), (".png",))
            publish.check_maps(target, *size, {name: values[0] for name, values in read.items()})
        for target in places + fields:
            publish.check_target(target, *size, suffixes=(".tif", ".tiff"))
        for number, target in enumerate(targets):
            report.begin(target, seed + number)
            options |= {"seed": seed + number, "checkpoint": _folder(target), "with_map": bool(places), "team": team}
            result = run(callback=report.step, **options)
            if team.rank == 0:
                if fields:
                    result.recipe["field"] = fields[number].name
                    result.save_field(fields[number])
                result.save(target, metadata=not outputs.no_metadata, pyramid=outputs.pyramid)
                if places:
                    result.save_map(places[number])
                if outputs.preview:
                    preview(result).save(preview_path(target), overwrite=True)
                result.discard()
            team.wait()
            report.end(target, result.timings)


ALONE = ("variations", "save_map", "save_field", "preview", "pyramid", "device", "dtype", "checkpoint_minutes")
"""What does not go with a set of tiles."""


def make_set(swatch: Picture, size: int, colours: tuple[int, int], **values: Any) -> None:
    """Make a set of Wang tiles, and write it whole."""
    from texgen.tasks.wang import PLANE, plane_path, tile_paths, wang

    for name in given(values).keys() & set(ALONE):
        raise OptionError(f"--{name.replace('_', '-')} does not go with --wang; leave it out.")
    outputs, options = _parted(values)
    read, out, resume = _read(options), outputs.out, values["resume"]
    encoding = _encoding(options, [swatch], out)
    kind: dict[str, Any] = {"dtype": encoding.dtype, "channels": encoding.channels}
    folder = _folder(out)
    fresh = values["seed"] is None
    seed = agreed_seed(values["seed"], folder / "base-0" if resume and fresh else None, join())
    report = reporter(outputs.progress)
    for target in tile_paths(out, (colours[0] * colours[1]) ** 2):
        publish.check_target(target, size, size, **kind)
        publish.check_maps(target, size, size, {name: values[0] for name, values in read.items()})
    publish.check_target(plane_path(out), PLANE * size, PLANE * size, **kind)
    with publish.locked(out):
        report.begin(out, seed)
        started = time.perf_counter()
        options |= {"seed": seed, "checkpoint": folder}
        made = wang(swatch, size, colours, callback=report.step, **options)
        made.save(out, metadata=not outputs.no_metadata)
        made.discard()
        report.end(out, {"all": time.perf_counter() - started})


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
        options["bit_depth"] = publish.fitting_depth(out, pictures[0].encoding.depth)
    return result_encoding([*pictures, *options.get("exemplars", ())], options["bit_depth"])


def _loaded(model: str, *settings: Any) -> Any:
    from texgen.diffusion import models

    return models.load(model, *settings)


def _targets(path: Path, count: int) -> list[Path]:
    """The path itself, or OUT-1 ... OUT-N."""
    if count == 1:
        return [path]
    return [path.with_name(f"{path.stem}-{number}{path.suffix}") for number in range(1, count + 1)]


def _resumed_seed(targets: list[Path]) -> int | None:
    """The first output's seed, from whichever unfinished one there is: an output that is done has no folder left."""
    seeds = [(number, unfinished_seed(_folder(target))) for number, target in enumerate(targets)]
    return next((seed - number for number, seed in seeds if seed is not None), None)


def _folder(target: Path) -> Path:
    """Where an unfinished run of this output is held."""
    return target.with_name(f".{target.name}.texgen")
