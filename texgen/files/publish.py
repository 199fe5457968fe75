"""Write outputs whole or not at all: to a temporary file beside the target, which is flushed and then renamed."""

from __future__ import annotations

import json
import os
import stat
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from texgen.errors import disk_errors
from texgen.files.pixels import Pixels
from texgen.files.row_writers import Tags, write_image
from texgen.files.targets import SUFFIXES, map_path

NO_TAGS = Tags()


def save_image(path: Path, pixels: Pixels, tags: Tags = NO_TAGS, pyramid: bool = False) -> None:
    """Write a picture (height, width, channels) in the format of the path's suffix, in bounded memory.

    Raises:
        ResourceError: The disk is full or not writable; an older file stays as it was.
    """
    with published(path) as part:
        write_image(part, SUFFIXES[path.suffix.lower()], pixels, tags, pyramid)


def save_maps(picture: Path, maps: Mapping[str, Pixels], tags: Tags, pyramid: bool = False) -> None:
    """Write the maps (height, width, channels) of a picture beside it, see `map_path`.

    With `pyramid`, maps that have the picture's suffix become pyramids.

    Raises:
        ResourceError: See `save_image`.
    """
    for name, values in maps.items():
        where = map_path(picture, name, values.dtype, values.shape[2])
        save_image(where, values, replace(tags, data=True), pyramid and where.suffix == picture.suffix)


def recipe_text(recipe: Mapping[str, Any] | None) -> str | None:
    """A recipe as text to store in a picture."""
    return None if recipe is None else json.dumps(recipe, sort_keys=True)


def save_json(path: Path, content: dict[str, Any]) -> None:
    """Write a JSON file."""
    publish(path, (json.dumps(content, indent=2, sort_keys=True) + "\n").encode())


def save_map(path: Path, coordinates: np.ndarray) -> None:
    """Write a coordinate map (2, h, w) as a float32 TIFF of two pages (y, x).

    Raises:
        ResourceError: See `save_image`.
    """
    import tifffile

    with published(path) as part:
        tifffile.imwrite(part, coordinates.astype(np.float32), photometric="minisblack", metadata={"axes": "CYX"})


def publish(path: Path, content: bytes) -> None:
    """Write `content` to `path` in one step."""
    with published(path) as part:
        part.write_bytes(content)


@contextmanager
def published(path: Path) -> Iterator[Path]:
    """Yield a temporary file beside `path` to write. On exit it is renamed to `path`, and on an error it is deleted.

    A file that is replaced passes its permissions on.

    Raises:
        ResourceError: The disk is full or not writable; an older file stays as it was.
    """
    with disk_errors(path):
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
        os.close(handle)
        part = Path(name)
        try:
            yield part
            sync(part)
            part.chmod(stat.S_IMODE(path.stat().st_mode) if path.exists() else 0o666 & ~umask())
            part.replace(path)
        except BaseException:
            part.unlink(missing_ok=True)
            raise
        sync(path.parent)


@contextmanager
def all_or_none(files: Iterable[Path]) -> Iterator[None]:
    """Delete those of the files that did not exist before, if an error occurs within this context."""
    new = [file for file in files if not file.exists()]
    try:
        yield
    except BaseException:
        for file in new:
            file.unlink(missing_ok=True)
        raise


def umask() -> int:
    """Permissions that new files do not get."""
    mask = os.umask(0)
    os.umask(mask)
    return mask


def sync(path: Path) -> None:
    """Flush a file, or the names in a folder, to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
