"""Files that a run writes: their names, what earlier runs left there, and what may be replaced."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from texgen.cli.knobs import Outputs
from texgen.errors import OptionError
from texgen.exports.profiles import profiles_of
from texgen.files import targets
from texgen.files.encoding import Encoding
from texgen.files.header import read_recipe
from texgen.files.image import Picture
from texgen.files.pixels import Pixels
from texgen.materials.material import map_name
from texgen.runs.resume import differing, saved_names, tell_saving, unfinished_seed
from texgen.tasks import wang
from texgen.tasks.export import check_export, export
from texgen.tasks.preview import preview


class NothingToDo(Exception):
    """Raised if the output is already finished."""


@dataclass(frozen=True, kw_only=True)
class Place:
    """The output files of one texture.

    Attributes:
        picture: File of the texture; the other files are named after it.
        coordinates, field: Files of the coordinate map and the field; None if not wanted.
        outputs: The other output options.
        finished: With `--resume`, the recipe of the finished texture that is already there, if any.
        ours: Names of files that the run to be resumed has started to write.
        seed: Seed of the run to be resumed, or of the finished texture.
    """

    picture: Path
    coordinates: Path | None
    field: Path | None
    outputs: Outputs
    finished: Mapping[str, Any] | None = None
    ours: frozenset[str] = frozenset()
    seed: int | None = None

    @property
    def folder(self) -> Path:
        """Folder that holds the run while it is unfinished."""
        return self.picture.with_name(f".{self.picture.name}.texgen")

    @property
    def preview(self) -> Path | None:
        """File of the preview; None if not wanted."""
        return self.picture.with_name(f"{self.picture.stem}_preview.png") if self.outputs.preview else None

    @property
    def exports(self) -> dict[str, Path]:
        """The folder of each profile."""
        wanted = profiles_of(self.outputs.profile) if self.outputs.profile else {}
        return {name: self.picture.with_name(f"{self.picture.stem}_{name}") for name in wanted}

    def check(
        self, size: tuple[int, int], encoding: Encoding, maps: Mapping[str, Pixels], inputs: Sequence[Path]
    ) -> None:
        """Refuse, before any work, what cannot be written later.

        Args:
            size: (height, width) of the texture.
            encoding: Encoding of the texture.
            maps: Any pixels of each map; only their depth and channels matter.
            inputs: Files that the run reads.

        Raises:
            OptionError: A file cannot be written there, its format cannot hold the picture, or it exists and must not be replaced.
        """
        pyramid, name = self.outputs.pyramid, self.picture.stem
        targets.check_target(self.picture, *size, dtype=encoding.dtype, channels=encoding.channels, pyramid=pyramid)
        targets.check_maps(self.picture, *size, maps)
        for place in (self.coordinates, self.field):
            if place is not None:
                targets.check_target(place, *size, suffixes=targets.TIFF)
        targets.check_free(self._files(maps), self.outputs.overwrite or self.finished is not None, inputs, self.ours)
        kinds = {"color", *(kind for each in maps if (kind := map_name(f"{name}_{each}")[1]) is not None)}
        for profile, folder in self.exports.items():
            check_export(folder, profile, name, size, kinds, self._replaces or self.finished is not None, inputs)

    def check_finished(self, planned: dict[str, Any]) -> None:
        """Compare a planned recipe with that of the finished texture, if there is one.

        Raises:
            NothingToDo: They are the same.
            OptionError: They differ, and the texture must not be replaced.
        """
        if self.finished is None:
            return
        others = differing(self.finished, planned)
        if not others:
            raise NothingToDo
        if not self.outputs.overwrite:
            raise OptionError(
                f"{self.picture}: is finished, with other {', '.join(others)}; choose another name, or replace it with --overwrite."
            )

    def save(self, result: Any) -> None:
        """Write all wanted files of a result, or of a set.

        Raises:
            OptionError: A file has appeared there since the check.
            ResourceError: The disk is full.
        """
        outputs, overwrite = self.outputs, self._replaces
        if result.unfinished is not None:
            tell_saving(self.folder, self._files(result.maps))
        if self.field is not None:
            result.recipe["field"] = self.field.name
            result.save_field(self.field, overwrite)
        result.save(self.picture, metadata=not outputs.no_metadata, pyramid=outputs.pyramid, overwrite=overwrite)
        if self.coordinates is not None:
            result.save_map(self.coordinates, overwrite)
        if self.preview is not None:
            preview(result).save(self.preview, overwrite)
        for profile, folder in self.exports.items():
            export(result.material(self.picture.stem), folder, profile, overwrite=overwrite)

    def _files(self, maps: Mapping[str, Pixels]) -> list[Path]:
        """All files written except exports, which have folders of their own. Only the depth and channels of the `maps` matter."""
        beside = [each for each in (self.coordinates, self.field, self.preview) if each is not None]
        return [*targets.files_of(self.picture, maps, not self.outputs.no_metadata), *beside]

    @property
    def _replaces(self) -> bool:
        return self.outputs.overwrite or bool(self.ours)


@dataclass(frozen=True, kw_only=True)
class SetPlace(Place):
    """The output files of a set of Wang tiles, all named after `picture`.

    Attributes:
        count: Number of tiles.
    """

    count: int

    def check(
        self, size: tuple[int, int], encoding: Encoding, maps: Mapping[str, Pixels], inputs: Sequence[Path]
    ) -> None:
        kind: dict[str, Any] = {"dtype": encoding.dtype, "channels": encoding.channels}
        for tile in wang.tile_paths(self.picture, self.count):
            targets.check_target(tile, *size, **kind)
            targets.check_maps(tile, *size, maps)
        height, width = (wang.PLANE * side for side in size)
        targets.check_target(wang.plane_path(self.picture), height, width, **kind)
        targets.check_free(self._files(maps), self.outputs.overwrite or self.finished is not None, inputs, self.ours)

    def save(self, result: Any) -> None:
        tell_saving(self.folder, self._files(result.tiles[0].maps))
        result.save(self.picture, metadata=not self.outputs.no_metadata, overwrite=self._replaces)

    def _files(self, maps: Mapping[str, Pixels]) -> list[Path]:
        return wang.files_of(self.picture, self.count, maps, not self.outputs.no_metadata)


def places_of(outputs: Outputs, resume: bool, tiles: int) -> list[Place]:
    """The output files of every variation, or of one set of `tiles` Wang tiles if that is not 0; with `resume`, also what earlier runs left there."""
    found: list[Place] = []
    if tiles:
        whole = SetPlace(picture=outputs.out, coordinates=None, field=None, outputs=outputs, count=tiles)
        index = wang.index_path(outputs.out)
        recipe = ((read_recipe(index) if resume and index.is_file() else None) or {}).get("recipe")
        finished = recipe.get("base") if isinstance(recipe, dict) else None
        return [_continued(whole, whole.folder / wang.FIRST, finished) if resume else whole]
    for number in range(1, outputs.variations + 1):
        picture, coordinates, field = (
            path if path is None or outputs.variations == 1 else path.with_name(f"{path.stem}-{number}{path.suffix}")
            for path in (outputs.out, outputs.save_map, outputs.save_field)
        )
        assert picture is not None
        place = Place(picture=picture, coordinates=coordinates, field=field, outputs=outputs)
        recipe = read_recipe(picture) if resume and picture.is_file() else None
        found.append(_continued(place, place.folder, recipe) if resume else place)
    return found


def _continued(place: Place, folder: Path, finished: Any) -> Place:
    """Add to a place what earlier runs left: the unfinished run in `folder`, or else the recipe of a finished texture."""
    seed = unfinished_seed(folder)
    if seed is not None:
        return replace(place, seed=seed, ours=saved_names(place.folder))
    if isinstance(finished, dict) and isinstance(finished.get("seed"), int):
        return replace(place, seed=finished["seed"], finished=finished)
    return place


def output_file(out: Path, picture: Picture, depth: str | None) -> Path:
    """The output file: `out` itself, or if that is a folder, a file in it named after the picture, in a format that holds the depth."""
    if not out.is_dir():
        return out
    suffix = ".exr" if (depth or picture.encoding.depth) in ("half", "float") else ".png"
    return out / f"{Path(picture.name).stem}{suffix}"
