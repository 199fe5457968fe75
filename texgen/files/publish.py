"""Write outputs whole or not at all: temporary file beside the target, flush, rename."""

from __future__ import annotations

import csv
import glob
import io
import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tifffile

from texgen.errors import LockedError, OptionError, disk_errors
from texgen.files.encode import write_image
from texgen.files.encoding import DEPTHS as NAMES
from texgen.files.encoding import PRECISION
from texgen.files.pixels import Pixels

SUFFIXES = {
    ".png": "PNG",
    ".tif": "TIFF",
    ".tiff": "TIFF",
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".webp": "WEBP",
    ".exr": "EXR",
}
MAX_SIDE = {"JPEG": 65500, "WEBP": 16383}
DEPTHS = {
    "PNG": ("uint8", "uint16"),
    "TIFF": ("uint8", "uint16", "float16", "float32"),
    "JPEG": ("uint8",),
    "WEBP": ("uint8",),
    "EXR": ("float16", "float32"),
}
"""What a channel of each format holds."""
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
    """Refuse, before any work, what cannot be written later.

    Raises:
        OptionError: Unknown suffix, a folder, a missing parent folder, or sides, depth or levels the format cannot hold.
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
    """The depth nearest to a picture's own that the format of a file holds: the least that loses nothing, else the most there is.

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
    """Refuse a place where no file can be written.

    Raises:
        OptionError: Unknown suffix, a folder, a missing parent folder, or one that is not writable.
    """
    if path.suffix.lower() not in suffixes:
        raise OptionError(f"{path}: the suffix must be one of {', '.join(suffixes)}.")
    if path.is_dir():
        raise OptionError(f"{path}: is a folder; give a file name.")
    if not path.parent.is_dir():
        raise OptionError(f"{path.parent}: no such folder; make it first.")
    if not os.access(path.parent, os.W_OK):
        raise OptionError(f"{path.parent}: not writable.")


def map_path(path: Path, name: str, dtype: npt.DTypeLike, channels: int) -> Path:
    """Where a map of a picture goes: `wall.png` to `wall_normal.png`; in a format that holds it, the picture's own if that does.

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
    """Refuse, before any work, maps of a picture that cannot be written later.

    Args:
        picture: The picture that they belong to.
        height, width: Of the maps as they will be.
        maps: Any pixels of each map, of its depth and channels.

    Raises:
        OptionError: As `check_target`.
    """
    for name, values in maps.items():
        where = map_path(picture, name, values.dtype, values.shape[2])
        check_target(where, height, width, dtype=values.dtype)


def save_maps(picture: Path, maps: Mapping[str, Pixels], recipe: dict[str, Any] | None, pyramid: bool = False) -> None:
    """Write the maps (height, width, channels) of a picture beside it, see `map_path`; a pyramid where the picture can be one.

    Raises:
        ResourceError: As `save_image`.
    """
    for name, values in maps.items():
        where = map_path(picture, name, values.dtype, values.shape[2])
        save_image(where, values, recipe, pyramid and where.suffix == picture.suffix, data=True)


def save_image(
    path: Path, pixels: Pixels, recipe: dict[str, Any] | None, pyramid: bool = False, data: bool = False
) -> None:
    """Write a picture (height, width, channels) by its suffix, the recipe embedded where given, in bounded memory.

    Raises:
        ResourceError: Disk full or not writable; an older file stays as it was.
    """
    text = None if recipe is None else json.dumps(recipe, sort_keys=True)
    with published(path) as part:
        write_image(part, SUFFIXES[path.suffix.lower()], pixels, text, pyramid, data=data)


def save_json(path: Path, content: dict[str, Any]) -> None:
    """Write a JSON file."""
    publish(path, (json.dumps(content, indent=2, sort_keys=True) + "\n").encode())


def save_csv(path: Path, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Write a CSV file with a header line."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(columns)
    table.writerows(rows)
    publish(path, text.getvalue().encode())


def save_map(path: Path, coordinates: np.ndarray) -> None:
    """Write a coordinate map (2, h, w) as a float32 TIFF of two pages (y, x).

    Raises:
        ResourceError: As `save_image`.
    """
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, coordinates.astype(np.float32), photometric="minisblack", metadata={"axes": "CYX"})
    publish(path, buffer.getvalue())


def publish(path: Path, content: bytes) -> None:
    """Put `content` at `path` in one step."""
    with published(path) as part:
        part.write_bytes(content)


@contextmanager
def published(path: Path) -> Iterator[Path]:
    """Within, a temporary file beside `path` to be written; afterwards it stands at `path`, whole, or is gone.

    Raises:
        ResourceError: Disk full or not writable; an older file stays as it was.
    """
    with disk_errors(path):
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
        os.close(handle)
        part = Path(name)
        try:
            yield part
            with part.open("rb+") as file:
                os.fsync(file.fileno())
            part.chmod(0o666 & ~umask())
            part.replace(path)
        except BaseException:
            part.unlink(missing_ok=True)
            raise
        _sync_folder(path.parent)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the output: a second run on the same file is refused, what a killed one left half-written is swept away.

    Raises:
        LockedError: Another run holds it.
    """
    lock = path.with_name(f".{path.name}.lock")
    try:
        import fcntl
    except ImportError:  # no advisory locks on this system: the rename still keeps outputs whole
        yield
        return
    with lock.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise LockedError(
                f"{path}: another run is writing this output; wait for it or choose another name."
            ) from error
        try:
            _sweep(path)
            yield
        finally:
            lock.unlink(missing_ok=True)


def _sweep(path: Path) -> None:
    for part in path.parent.glob(f".{glob.escape(path.name)}.*.part*"):
        if part.is_dir():
            shutil.rmtree(part, ignore_errors=True)
        else:
            part.unlink(missing_ok=True)


def umask() -> int:
    """Rights that new files do not get."""
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
