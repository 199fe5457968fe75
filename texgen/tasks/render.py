"""The verb `render`: synthesise more maps with the saved field of an earlier run."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from texgen.errors import InputError, OptionError
from texgen.files import publish, targets
from texgen.files.inputs import note, noted
from texgen.files.pixels import Pixels
from texgen.files.row_writers import Tags
from texgen.materials.maps import KeptPicture, Maps, prepared_maps
from texgen.materials.orientation import Orientation
from texgen.materials.preparation import Preparation
from texgen.model import Clock, Workplace
from texgen.runs.interrupt import StopSignals
from texgen.runs.resume import RunFolder
from texgen.swatch.model import map_shown
from texgen.tasks.checks import verb


@dataclass(frozen=True)
class Rendered:
    """Maps rendered through a field.

    Attributes:
        maps: Maps by their names, (height, width, C) at their own depth, on disk as long as this object exists.
        recipe: Recipe of the picture that the field was saved with, and of these maps.
        folder: Folder that holds the maps.
        inputs: Files that the maps were made from; `save` never replaces them.
    """

    maps: Mapping[str, Pixels]
    recipe: dict[str, Any]
    folder: RunFolder
    inputs: frozenset[Path] = frozenset()

    def save(self, path: str | Path, overwrite: bool = False) -> None:
        """Write each map beside the picture `path`, as `Result.save` does.

        Raises:
            OptionError: A file cannot be written there, or exists and must not be replaced.
            ResourceError: The disk is full.
        """
        targets.check_free(targets.files_of(Path(path), self.maps, False)[1:], overwrite, self.inputs)
        publish.save_maps(Path(path), self.maps, Tags(recipe=publish.recipe_text(self.recipe)))


@verb(field="file", maps="maps", out="file", overwrite="flag")
def render(field: str | Path, maps: Maps, out: str | Path | None = None, overwrite: bool = False) -> Rendered:
    """Render maps of the swatches through a saved field. They equal those that the first run would have made, to the last bit.

    Args:
        field: The file written by `--save-field` or `Result.save_field`, or the JSON beside a picture, which names that file.
        maps: A map of the swatch by its name, or a list of one map per swatch in their order; prepared as the swatches were.
        out: The picture that they belong to; each map is written beside it, see `Result.save`. None writes nothing.
        overwrite: Whether to replace existing files.

    Raises:
        InputError: There is no field, or a map cannot be used.
        OptionError: No map is given, a file cannot be written there, or exists.

    Example:
        >>> render("wall_field.tif", {"height": "swatch_height.exr"}, "wall.png")  # doctest: +SKIP
    """
    if not maps:
        raise OptionError("there is no map to render; give at least one.")
    place = _field_of(Path(field))
    from texgen.swatch.field import Field  # numba is loaded here

    found, recipe = Field.load(place)
    preparation = dict(recipe["preparation"])
    sizes = [(int(height), int(width)) for height, width in preparation.pop("from")]
    kept = preparation.pop("picture", None)
    picture = None if kept is None else KeptPicture(tuple(kept[0]), kept[1])
    prepared = prepared_maps(maps, sizes, Preparation(**preparation), picture=picture)
    if (orientation := recipe.get("orientation")) is not None:
        prepared = Orientation(np.zeros((1, 1, 2), np.float32), orientation["directed"]).maps(prepared, len(sizes))
    if out is not None:
        targets.check_target(Path(out), *found.size)
        blanks = {each.name: each.images[0] for each in prepared}
        targets.check_maps(Path(out), *found.size, blanks)
        targets.check_free(targets.files_of(Path(out), blanks, False)[1:], overwrite, noted())
    work = Workplace(RunFolder(None, {}, resume=False), StopSignals(), Clock())
    shown = {each.name: map_shown(found, each, work) for each in prepared}
    recipe = {**recipe, "maps": {each.name: each.entry() for each in prepared}}
    rendered = Rendered(shown, recipe, work.folder, noted())
    if out is not None:
        rendered.save(out, overwrite)
    return rendered


def _field_of(path: Path) -> Path:
    """The file of a field: `path` itself, or if that is a recipe, the file beside it that it names."""
    if not path.exists():
        raise InputError(f"{path}: no such file.")
    note(path)
    if path.suffix.lower() != ".json":
        return path
    try:
        name = json.loads(path.read_text())["field"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: names no field; it is a recipe of a run with --save-field that does.") from error
    note(field := path.with_name(Path(name).name))
    return field
