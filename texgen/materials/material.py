"""A material: the maps of one surface, named by what they hold."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from texgen.errors import InputError
from texgen.files.header import read_recipe
from texgen.files.pixels import Pixels
from texgen.materials.maps import read_map

ALIASES = {
    "color": "color colour albedo basecolor base_color diffuse diff col bc",
    "normal": "normal normal_gl normalgl nor nor_gl nrm nm n",
    "normal_dx": "normal_dx normaldx nor_dx",
    "height": "height displacement disp bump h",
    "roughness": "roughness rough",
    "ao": "ao ambientocclusion ambient_occlusion occlusion",
    "metalness": "metalness metallic metal",
    "opacity": "opacity alpha",
    "emission": "emission emissive",
}
"""What each map may be called at the end of a file name."""
NAMES = tuple(ALIASES)
IMAGES = (".png", ".exr", ".tif", ".tiff", ".jpg", ".jpeg", ".webp", ".tga")
_BY_ALIAS = {alias: name for name, aliases in ALIASES.items() for alias in aliases.split()}


@dataclass(frozen=True, kw_only=True)
class Material:
    """Maps of one surface, all of one size.

    Attributes:
        name: Name of the material, used in file names.
        maps: Maps (height, width, channels) by name, one of `NAMES`, at their own depth. Integers in `color` and `emission` are
            sRGB-encoded; floats and all other maps are linear. `normal` has its y axis upwards (OpenGL), `normal_dx` downwards;
            0 and the largest integer stand for -1 and 1. In `height`, 1 is high.
        size_m: Width of the surface that the maps show, in metres; None if unknown.
        inputs: Files that the material was read or made from.
    """

    name: str
    maps: Mapping[str, Pixels]
    size_m: float | None = None
    inputs: frozenset[Path] = frozenset()

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        height, width, _ = next(iter(self.maps.values())).shape
        return height, width

    @property
    def density(self) -> float | None:
        """Pixels per metre; None if unknown."""
        return None if self.size_m is None else self.size[1] / self.size_m


def map_name(stem: str) -> tuple[str, str | None]:
    """Split a file name without suffix into the material's name and the name of the map, None if it names no map.

    Example:
        >>> map_name("wall_NormalGL"), map_name("wall_nor_gl_4k"), map_name("wall")
        (('wall', 'normal'), ('wall', 'normal'), ('wall', None))
    """
    plain = re.sub(r"[_-](\d+k|\d+x\d+)(?=[_-]|$)", "", stem, flags=re.IGNORECASE)
    parts = re.split(r"[_-]", plain)
    for count in (2, 1):
        alias = "_".join(parts[-count:]).lower()
        if len(parts) > count and alias in _BY_ALIAS:
            return plain[: -len(alias) - 1], _BY_ALIAS[alias]
    return plain, None


def read_material(path: str | Path, read: Callable[[Path, str], Pixels] = read_map) -> Material:
    """Read a material from files in one folder: `wall.png` (or `wall_color.png`), `wall_normal.png`, `wall_height.exr`, ...

    Args:
        path: One of its pictures, or a folder that holds one material.
        read: Function that reads a map, given its file and name; `open_map` reads rows on demand.

    Raises:
        InputError: Nothing is found, the folder holds more than one material, two files hold the same map, or maps differ in size.
    """
    if not isinstance(path, str | Path):
        raise InputError(
            f"{type(path).__name__}: is no material; give one of its pictures, or the folder that holds it."
        )
    path = Path(path)
    if not path.exists():
        raise InputError(f"{path}: no such file or folder.")
    folder = path if path.is_dir() else path.parent
    there = (file for file in folder.iterdir() if file.suffix.lower() in IMAGES and not file.name.startswith("."))
    named = {file: map_name(file.stem) for file in sorted(there) if not file.stem.endswith("_preview")}
    if path.is_dir():
        found = {name for name, kind in named.values() if kind is not None} or {name for name, _ in named.values()}
        if len(found) != 1:
            raise InputError(f"{path}: holds {len(found)} materials; give one picture of the material that is meant.")
        name = found.pop()
    else:
        name = named[path][0] if path in named else path.stem
    maps: dict[str, Pixels] = {}
    sizes: dict[str, tuple[int, ...]] = {}
    for file, (material, kind) in named.items():
        if material == name:
            what = kind or "color"
            if what in maps:
                raise InputError(f"{file}: a second file for the map {what} of {name}; leave one of them.")
            maps[what] = read(file, what)
            sizes[what] = maps[what].shape[:2]
    if not maps:
        raise InputError(f"{path}: no picture of a known format ({', '.join(IMAGES)}).")
    if len(set(sizes.values())) > 1:
        told = ", ".join(f"{kind} {width}x{height}" for kind, (height, width) in sizes.items())
        raise InputError(f"{name}: its maps are of several sizes ({told}); bring them to one.")
    files = [file for file, (material, _) in named.items() if material == name]
    return Material(name=name, maps=maps, size_m=_size_m(files), inputs=frozenset(map(Path.absolute, files)))


def _size_m(files: Sequence[Path]) -> float | None:
    """Width in metres from the recipe of one of the files, if any. The dpi is not used, as it is mostly a program's default."""
    told = ((read_recipe(file) or {}).get("size_m") for file in files)
    return next((float(value) for value in told if isinstance(value, int | float) and value > 0), None)
