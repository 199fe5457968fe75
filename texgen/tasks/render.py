"""Show more maps through a field that was saved."""

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
    """Maps that were shown through a field.

    Attributes:
        maps: By their names, (height, width, C) at their own depth; on disk as long as this object is held.
        recipe: Of the picture that the field was saved with, and of these maps.
        folder: Where the maps are.
        inputs: The files that they were made from, which `save` does not replace.
    """

    maps: Mapping[str, Pixels]
    recipe: dict[str, Any]
    folder: RunFolder
    inputs: frozenset[Path] = frozenset()

    def save(self, path: str | Path, overwrite: bool = False) -> None:
        """Write each map as `Result.save` would beside the picture `path`.

        Raises:
            OptionError: A place that cannot be written, or a file that exists and is not to be replaced.
            ResourceError: The disk is full.
        """
        targets.check_free(targets.files_of(Path(path), self.maps, False)[1:], overwrite, self.inputs)
        publish.save_maps(Path(path), self.maps, Tags(recipe=publish.recipe_text(self.recipe)))


@verb(field="file", maps="maps", out="file", overwrite="flag")
def render(field: str | Path, maps: Maps, out: str | Path | None = None, overwrite: bool = False) -> Rendered:
    """Maps of the swatches through a saved field: what they would have been in the first run, to the last bit.

    Args:
        field: What `--save-field` or `Result.save_field` wrote; or the JSON beside a picture, which names it.
        maps: Name to a map of the swatch, or to one a swatch in their order; prepared as the swatches were.
        out: The picture that they belong to: each map is written beside it, see `Result.save`. None writes nothing.
        overwrite: Whether to replace files that exist.

    Raises:
        InputError: No field, or a map that cannot be used.
        OptionError: No map, a place that cannot be written, or a file that exists.

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
    """The field itself, or the one that a recipe names, beside it."""
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
