"""Write outputs whole or not at all: temporary file beside the target, flush, rename."""

from __future__ import annotations

import fcntl
import glob
import io
import json
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from texgen.errors import LockedError, OptionError, disk_errors
from texgen.files.pixels import Pixels
from texgen.files.targets import SUFFIXES, map_path
from texgen.files.writers import Tags, write_image

NO_TAGS = Tags()
LOCK = b"texgen\n"
"""What a lock holds: a file of its name that holds anything else is a user's, and stays."""


def save_image(path: Path, pixels: Pixels, tags: Tags = NO_TAGS, pyramid: bool = False) -> None:
    """Write a picture (height, width, channels) by its suffix, in bounded memory.

    Raises:
        ResourceError: Disk full or not writable; an older file stays as it was.
    """
    with published(path) as part:
        write_image(part, SUFFIXES[path.suffix.lower()], pixels, tags, pyramid)


def save_maps(picture: Path, maps: Mapping[str, Pixels], tags: Tags, pyramid: bool = False) -> None:
    """Write the maps (height, width, channels) of a picture beside it, see `map_path`; a pyramid where the picture can be one.

    Raises:
        ResourceError: As `save_image`.
    """
    for name, values in maps.items():
        where = map_path(picture, name, values.dtype, values.shape[2])
        save_image(where, values, replace(tags, data=True), pyramid and where.suffix == picture.suffix)


def recipe_text(recipe: Mapping[str, Any] | None) -> str | None:
    """A recipe as it stands inside a picture."""
    return None if recipe is None else json.dumps(recipe, sort_keys=True)


def save_json(path: Path, content: dict[str, Any]) -> None:
    """Write a JSON file."""
    publish(path, (json.dumps(content, indent=2, sort_keys=True) + "\n").encode())


def save_map(path: Path, coordinates: np.ndarray) -> None:
    """Write a coordinate map (2, h, w) as a float32 TIFF of two pages (y, x).

    Raises:
        ResourceError: As `save_image`.
    """
    import tifffile

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
        ResourceError: Disk full or not writable; an older file stays as it was; replaced, its rights are kept.
    """
    with disk_errors(path):
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
        os.close(handle)
        part = Path(name)
        try:
            yield part
            with part.open("rb+") as file:
                os.fsync(file.fileno())
            part.chmod(stat.S_IMODE(path.stat().st_mode) if path.exists() else 0o666 & ~umask())
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
        OptionError: A link, or something else that is no file, has the lock's name.
        ResourceError: The folder is not writable.
    """
    lock = path.with_name(f".{path.name}.lock")
    with disk_errors(path):
        handle = _opened(lock)
    with os.fdopen(handle, "rb+", buffering=0) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise LockedError(
                f"{path}: another run is writing this output; wait for it or choose another name."
            ) from error
        ours = file.read() in (b"", LOCK)
        try:
            if ours:
                with disk_errors(path):
                    os.pwrite(handle, LOCK, 0)
            _sweep(path)
            yield
        finally:
            if ours:
                lock.unlink(missing_ok=True)


def _opened(lock: Path) -> int:
    """A lock's file, made where there is none; no link is followed, and what stands there keeps its content."""
    try:
        handle = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK, 0o666)
    except OSError as error:
        if lock.is_symlink() or lock.is_dir():
            raise OptionError(
                f"{lock}: is {'a link' if lock.is_symlink() else 'a folder'}, where a lock goes; remove it."
            ) from error
        raise
    if stat.S_ISREG(os.fstat(handle).st_mode):
        return handle
    os.close(handle)
    raise OptionError(f"{lock}: is no file, where a lock goes; remove it.")


def _sweep(path: Path) -> None:
    """Remove the temporary files of `published`, of `published_folder` and of the writers that they call."""
    part = f".{glob.escape(path.name)}.{'[a-z0-9_]' * 8}.part"
    for found in [*path.parent.glob(part), *path.parent.glob(f"{part}.{'[a-z0-9_]' * 8}")]:
        if found.is_dir() and not found.is_symlink():
            shutil.rmtree(found, ignore_errors=True)
        else:
            found.unlink(missing_ok=True)


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
