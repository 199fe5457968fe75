"""The verb `wang`: make a set of Wang tiles, which cover a plane without repeating it."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Unpack

import numpy as np

from texgen.errors import OptionError
from texgen.files import publish, targets
from texgen.files.encoding import Encoding
from texgen.files.image import ImageLike, read_picture
from texgen.files.pixels import Pixels
from texgen.files.row_writers import Tags
from texgen.job import Constraints, Kept
from texgen.materials.holes import filled_in
from texgen.runs.digests import package_version
from texgen.runs.resume import agreed_seed
from texgen.runs.torchrun import Team
from texgen.swatch.model import NAME
from texgen.tasks.checks import verb
from texgen.tasks.knobs import MOST_COLOURS, WangKnobs
from texgen.tasks.make import Request, make
from texgen.tasks.options import Options
from texgen.tasks.result import Result
from tiling import Tile

STRIP = 1 / 8
"""Width of the strip along an edge that all tiles with this edge share, as a fraction of the tile's side."""
PLANE = 16
"""Tiles per side of the sample plane."""
FIRST = "base-0"
"""Name of the first run of a set."""


class Edges(NamedTuple):
    """The colours of a tile's edges. Two tiles fit if the edges that meet have the same colour."""

    north: int
    east: int
    south: int
    west: int


@dataclass(frozen=True, kw_only=True)
class WangSet:
    """A set of Wang tiles.

    Attributes:
        tiles: One tile for each combination of edges, with its maps.
        edges: Edges of each tile.
        recipe: Recipe of the set.
        folder: Folder that holds the runs, if any.
    """

    tiles: Sequence[Result]
    edges: Sequence[Edges]
    recipe: dict[str, Any]
    folder: Path | None = None

    def plane(self, rows: int = PLANE, columns: int = PLANE, seed: int = 0) -> np.ndarray:
        """Tile numbers of a random plane with matching edges, (rows, columns), int64. The plane itself is tileable."""
        random = np.random.default_rng(seed)
        colours = [1 + max(getattr(edges, side) for edges in self.edges) for side in ("north", "west")]
        north, west = (random.integers(0, count, (rows, columns)).tolist() for count in colours)
        number = {edges: index for index, edges in enumerate(self.edges)}
        found = np.empty((rows, columns), np.int64)
        for y, x in np.ndindex(rows, columns):
            wanted = Edges(north[y][x], west[y][(x + 1) % columns], north[(y + 1) % rows][x], west[y][x])
            found[y, x] = number[wanted]
        return found

    def save(self, path: str | Path, metadata: bool = True, overwrite: bool = False) -> None:
        """Write the tiles like `Result.save`, as `wall_00.png` and so on; their edges as `wall_wang.json`; and a plane of 16x16 tiles as `wall_plane.png`.

        Raises:
            OptionError, ResourceError: As in `Result.save`.
        """
        path = Path(path)
        paths = tile_paths(path, len(self.tiles))
        side = self.tiles[0].pixels.shape[0]
        targets.check_target(plane_path(path), PLANE * side, PLANE * side, dtype=self.tiles[0].pixels.dtype)
        files, inputs = files_of(path, len(paths), self.tiles[0].maps, metadata), self.tiles[0].inputs
        targets.check_free(files, overwrite, inputs)
        for tile, where in zip(self.tiles, paths, strict=True):
            tile.save(where, metadata, overwrite=overwrite)
        numbers = self.plane()
        shown = [tile.pixels[0:side] for tile in self.tiles]
        plane = np.concatenate([np.concatenate([shown[n] for n in row], 1) for row in numbers])
        tags = Tags(recipe=publish.recipe_text(self.recipe if metadata else None))
        publish.save_image(plane_path(path), plane, tags)
        tiles = [{"file": where.name, **edges._asdict()} for where, edges in zip(paths, self.edges, strict=True)]
        publish.save_json(
            index_path(path),
            {
                "texgen": self.recipe["texgen"],
                "tiles": tiles,
                "plane": numbers.tolist(),
                **({"recipe": self.recipe} if metadata else {}),
            },
        )

    def discard(self) -> None:
        """Delete the folder that held the runs. Call this when everything is saved."""
        if self.folder is not None:
            shutil.rmtree(self.folder, ignore_errors=True)


def tile_paths(path: Path, count: int) -> list[Path]:
    """Files of the tiles of a set: for `wall.png`, `wall_00.png`, `wall_01.png`, ..."""
    return [path.with_name(f"{path.stem}_{number:02d}{path.suffix}") for number in range(count)]


def files_of(path: Path, count: int, maps: Mapping[str, Pixels], metadata: bool) -> list[Path]:
    """All files that a set is written to. Only the depth and channels of the `maps` matter here."""
    tiles = [file for tile in tile_paths(path, count) for file in targets.files_of(tile, maps, metadata)]
    return [*tiles, plane_path(path), index_path(path)]


def plane_path(path: Path) -> Path:
    """File of the sample plane."""
    return path.with_name(f"{path.stem}_plane{path.suffix}")


def index_path(path: Path) -> Path:
    """File that lists the edges of each tile."""
    return path.with_name(f"{path.stem}_wang.json")


@verb(WangKnobs)
def wang(image: ImageLike, size: int = 256, colours: tuple[int, int] = (2, 2), **options: Unpack[Options]) -> WangSet:
    """Make a complete set of Wang tiles of a swatch: one tile for each combination of the colours of its edges.

    First a tileable texture is made for every colour; all of them are the same around their corners. Each edge of a tile takes a strip, an eighth of
    the tile wide, from the texture of its colour. Then the inside of each tile is filled.

    Args:
        image: The swatch, as in `expand`.
        size: Side of a tile in pixels, at least 64.
        colours: Number of colours of the edges between rows, and between columns, each from 1 to 4. The set has as many tiles as the product of their squares: 16 for 2x2.
        options: See `texgen.Options`, without `tileable` and `model`. `checkpoint` holds a folder for each run.

    Raises:
        OptionError: Another model, `tileable`, or a number of colours out of range is given.
        InputError, ResourceError, KeyboardInterrupt: As in `expand`.

    Example:
        >>> wang("grass.png", 256, (2, 2), seed=7).save("grass_tile.png")  # doctest: +SKIP

    References:
        Cohen, Shade, Hiller, Deussen, "Wang Tiles for Image and Texture Generation", SIGGRAPH 2003, https://doi.org/10.1145/882262.882265.
    """
    if options.pop("model", NAME) != NAME or options.pop("tileable", "both") != "both":
        raise OptionError(
            "Wang tiles are made by the swatch model, and meet on all sides; leave model and tileable out."
        )
    if not all(1 <= each <= MOST_COLOURS for each in colours):
        raise OptionError(f"colours={colours!r} must be two numbers from 1 to {MOST_COLOURS}.")
    given, planned = options.pop("checkpoint", None), options.pop("planned", None)
    folder = None if given is None else Path(given)
    options["seed"] = seed = agreed_seed(options.get("seed"), None, Team())
    runs = _Runs(read_picture(image), size, dict(options), folder)
    north, east, south, west = strips = _strips(size)
    corners = (north | south) & (east | west)
    bases = [runs.made(FIRST, "both", colours=list(colours), planned=planned)]
    for number in range(1, max(colours)):
        bases.append(runs.made(f"base-{number}", "both", [(corners, bases[0])]))
    rows, columns = (range(count) for count in colours)
    edges = [Edges(*each) for each in itertools.product(rows, columns, rows, columns)]
    tiles = [
        runs.made(f"tile-{number}", "none", [(part, bases[c]) for part, c in zip(strips, edge, strict=True)])
        for number, edge in enumerate(edges)
    ]
    recipe = {
        "task": "wang",
        "texgen": package_version("texgen"),
        "colours": list(colours),
        "seed": seed,
        "size": size,
        "base": bases[0].recipe,
    }
    return WangSet(tiles=tiles, edges=edges, recipe=recipe, folder=folder)


@dataclass(frozen=True)
class _Runs:
    """The runs that make a set.

    Attributes:
        image, size: As in `wang`.
        options: Options of each run.
        folder: Folder that holds a folder for each run, if any.
    """

    image: ImageLike
    size: int
    options: dict[str, Any]
    folder: Path | None

    def made(
        self,
        name: str,
        tileable: str,
        given: Sequence[tuple[np.ndarray, Result]] = (),
        planned: Any = None,
        **notes: Any,
    ) -> Result:
        """Make a texture around given pixels: parts of other textures of its size, each with a mask (H, W), bool."""
        options = {**self.options, "tileable": tileable, "planned": planned}
        if self.folder is not None:
            self.folder.mkdir(exist_ok=True)
            options["checkpoint"] = self.folder / name
        constraints = Constraints()
        if given:
            constraints, options["maps"] = Constraints(kept=self._kept(given)), self._maps(given)
        notes = {"part": name, **notes}
        request = Request(task="wang", sources=[self.image], size=self.size, constraints=constraints, notes=notes)
        return make(request, **options)

    def _kept(self, given: Sequence[tuple[np.ndarray, Result]]) -> Kept:
        pixels = _composed([(part, result.pixels) for part, result in given])
        pixels = Encoding.of(pixels.dtype, pixels.shape[2]).seen(pixels)
        mask = np.logical_or.reduce([part for part, _ in given])
        return Kept(filled_in(pixels, mask), mask, Tile(0, 0, self.size, self.size))

    def _maps(self, given: Sequence[tuple[np.ndarray, Result]]) -> Mapping[str, Any]:
        """For each map, those of the swatches, and last that of the given pixels."""
        found = {}
        for name, images in (self.options.get("maps") or {}).items():
            own = list(images) if isinstance(images, list | tuple) else [images]
            found[name] = [*own, _composed([(part, result.maps[name]) for part, result in given])]
        return found


def _composed(parts: Sequence[tuple[np.ndarray, Pixels]]) -> np.ndarray:
    """Compose parts of pictures of the same size, (H, W, C); 0 elsewhere."""
    found = np.zeros(parts[0][1].shape, parts[0][1].dtype)
    for part, pixels in parts:
        found[part] = pixels[0 : len(part)][part]
    return found


def _strips(size: int) -> list[np.ndarray]:
    """Masks of the strips along the edges of a tile, (H, W), bool, in the order of `Edges`."""
    wide = round(size * STRIP)
    y, x = np.indices((size, size))
    return [y < wide, x >= size - wide, y >= size - wide, x < wide]
