"""Where outputs go: what each format holds, how files beside a picture are named, and what must not be overwritten."""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from texgen.errors import OptionError
from texgen.files.encoding import DEPTHS as NAMES
from texgen.files.encoding import PRECISION
from texgen.files.lock import is_part
from texgen.files.pixels import Pixels

SUFFIXES = {".png": "PNG", ".tif": "TIFF", ".tiff": "TIFF", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP", ".exr": "EXR"}  # fmt: skip
TIFF = (".tif", ".tiff")
MAX_SIDE = {"JPEG": 65500, "WEBP": 16383}
DEPTHS = {
    "PNG": ("uint8", "uint16"),
    "TIFF": ("uint8", "uint16", "float16", "float32"),
    "JPEG": ("uint8",),
    "WEBP": ("uint8",),
    "EXR": ("float16", "float32"),
}
"""Dtypes that a channel of each format may have."""
LONGEST_NAME = 200
"""Most bytes of a picture's name: systems allow 255, and files beside the picture have longer names."""
MOST_CHANNELS = {"PNG": 4, "JPEG": 3, "WEBP": 3}


def check_target(
    path: Path,
    height: int,
    width: int,
    suffixes: Sequence[str] = tuple(SUFFIXES),
    dtype: npt.DTypeLike = np.uint8,
    channels: int = 3,
    pyramid: bool = False,
) -> None:
    """Refuse, before any work, a picture that could not be written later.

    Raises:
        OptionError: See `check_place`; or the format cannot hold the sides, the depth, alpha or a pyramid.
    """
    check_place(path, suffixes)
    kind = SUFFIXES[path.suffix.lower()]
    limit = MAX_SIDE.get(kind)
    if limit and max(height, width) > limit:
        raise OptionError(
            f"{path.name}: {kind} holds at most {limit} px a side, the result has {width}x{height}; use .tif."
        )
    depth = np.dtype(dtype)
    if depth.name not in DEPTHS[kind]:
        deep = [suffix for suffix in suffixes if depth.name in DEPTHS[SUFFIXES[suffix]]]
        raise OptionError(
            f"{path.name}: {kind} holds {' and '.join(DEPTHS[kind])} channels, not {depth.name}; use {', '.join(deep)}."
        )
    if channels in (2, 4) and kind == "JPEG":
        raise OptionError(f"{path.name}: a JPEG holds no transparency, which the swatch has; use .png, .webp or .tif.")
    if pyramid and kind != "TIFF":
        raise OptionError(f"{path.name}: only a TIFF can be a pyramid; use .tif.")


def fitting_depth(path: Path, own: str) -> str:
    """The depth nearest to a picture's own that the format of a file holds: the lowest that loses nothing, else the highest.

    Example:
        >>> fitting_depth(Path("wall.jpg"), "16"), fitting_depth(Path("wall.exr"), "8"), fitting_depth(Path("wall.png"), "half")
        ('8', 'half', '16')
    """
    held = DEPTHS.get(SUFFIXES.get(path.suffix.lower(), ""), ("uint8",))
    if NAMES[own].name in held:
        return own
    fitting = sorted((name for name, dtype in NAMES.items() if dtype.name in held), key=PRECISION.__getitem__)
    return next((name for name in fitting if PRECISION[name] >= PRECISION[own]), fitting[-1])


def check_place(path: Path, suffixes: Sequence[str]) -> None:
    """Refuse a path that cannot be written.

    Raises:
        OptionError: The suffix is unknown, the name is too long, the path is a folder, or its parent is missing or not writable.
    """
    if path.suffix.lower() not in suffixes:
        raise OptionError(f"{path}: the suffix must be one of {', '.join(suffixes)}.")
    if len(os.fsencode(path.name)) > LONGEST_NAME:
        raise OptionError(
            f"{path.name[:40]}...: the name is too long; at most {LONGEST_NAME} bytes, so that what lies beside it has room."
        )
    if path.is_dir():
        raise OptionError(f"{path}: is a folder; give a file name.")
    if not path.parent.is_dir():
        raise OptionError(f"{path.parent}: no such folder; make it first.")
    if not os.access(path.parent, os.W_OK):
        raise OptionError(f"{path.parent}: not writable.")


def check_new(path: Path, suffixes: Sequence[str], overwrite: bool, inputs: Iterable[Path] = ()) -> None:
    """Refuse a path that cannot be written, or that holds a file that may not be replaced.

    Raises:
        OptionError: See `check_place` and `check_free`.
    """
    check_place(path, suffixes)
    check_free([path], overwrite, inputs)


def map_path(path: Path, name: str, dtype: npt.DTypeLike, channels: int) -> Path:
    """Path of a map of a picture, such as `wall_normal.png` for `wall.png`: in the picture's own format if that holds the map, else in one that does.

    Example:
        >>> map_path(Path("wall.jpg"), "height", np.float32, 1).name
        'wall_height.exr'
    """
    depth = np.dtype(dtype).name
    fitting = [path.suffix.lower(), ".png", ".exr", ".tif"]
    for suffix in fitting:
        kind = SUFFIXES[suffix]
        if kind not in ("JPEG", "WEBP") and depth in DEPTHS[kind] and channels <= MOST_CHANNELS.get(kind, channels):
            break
    return path.with_name(f"{path.stem}_{name}{suffix}")


def check_maps(picture: Path, height: int, width: int, maps: Mapping[str, Pixels]) -> None:
    """Refuse, before any work, maps of a picture that could not be written later.

    Args:
        picture: The picture that the maps belong to.
        height, width: Size that the maps will have.
        maps: Pixels of each map, of which only depth and channels count.

    Raises:
        OptionError: See `check_target`.
    """
    for name, values in maps.items():
        where = map_path(picture, name, values.dtype, values.shape[2])
        check_target(where, height, width, dtype=values.dtype)


def sidecar_path(picture: Path) -> Path:
    """Path of the recipe of a picture.

    Example:
        >>> sidecar_path(Path("wall.png")).name
        'wall.png.json'
    """
    return picture.with_name(f"{picture.name}.json")


def files_of(picture: Path, maps: Mapping[str, Pixels], metadata: bool) -> list[Path]:
    """All files that a picture with maps is written to, the picture first; only depth and channels of the maps count."""
    beside = [map_path(picture, name, values.dtype, values.shape[2]) for name, values in maps.items()]
    return [picture, *beside, *([sidecar_path(picture)] if metadata else [])]


def check_free(
    files: Sequence[Path], overwrite: bool = False, inputs: Iterable[Path] = (), ours: Collection[str] = ()
) -> None:
    """Refuse, before any work, to overwrite existing files.

    Args:
        files: Files that will be written.
        overwrite: Whether existing files may be replaced. Folders, inputs, read-only files and JSON files not written by texgen never are.
        inputs: Files that the outputs are made from.
        ours: Names of files that this run wrote before it was interrupted; these may be replaced.

    Raises:
        OptionError: A file may not be replaced, two of the files are the same, or an input has the name of a temporary file.
    """
    places = [os.path.realpath(file.parent) + os.sep + file.name.casefold() for file in files]
    taken = set[str]()
    for place, file in zip(places, files, strict=True):
        if place in taken:
            raise OptionError(f"{file}: two outputs of this run would go to this file; give them different names.")
        taken.add(place)
    read = {_identity(path): path for path in inputs}
    read.pop(None, None)
    parts = [path for path in read.values() if path.name.startswith(".")]
    for file in files:
        for path in parts:
            if is_part(path, file):
                raise OptionError(f"{path}: has the name of what a broken run on {file.name} leaves; rename it.")
        if not os.path.lexists(file):
            continue
        if file.is_dir():
            raise OptionError(f"{file}: is a folder, where a file is to be written; choose another name.")
        if _identity(file) in read:
            raise OptionError(f"{file}: is an input of this run, which is never overwritten; choose another name.")
        if not (overwrite or file.name in ours):
            raise OptionError(
                f"{file}: exists already; choose another name, or replace it with --overwrite (in Python overwrite=True)."
            )
        if not file.exists():
            continue  # a broken link is itself replaced
        if file.suffix == ".json" and not is_recipe(file):
            raise OptionError(f"{file}: is not a recipe of texgen, so it is kept; choose another name.")
        if not file.stat().st_mode & 0o222:
            raise OptionError(f"{file}: is read-only; choose another name.")


def _identity(path: Path) -> tuple[int, int] | None:
    """Device and inode, the same for one file under two names; None if the file cannot be accessed."""
    try:
        about = path.stat()
    except (OSError, ValueError):
        return None
    return about.st_dev, about.st_ino


def is_recipe(path: Path) -> bool:
    """Whether a file is JSON written by texgen."""
    try:
        return as_recipe(path.read_text()) is not None
    except (OSError, ValueError):
        return False


def as_recipe(text: str | None) -> dict[str, Any] | None:
    """The content of a text if it is JSON written by texgen, else None."""
    try:
        content: Any = json.loads(text or "")
    except ValueError:
        return None
    return content if isinstance(content, dict) and "texgen" in content else None
