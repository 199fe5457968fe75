"""Arrays in mapped files, worked on in bands: as large as the disk, while memory holds a band."""

from __future__ import annotations

import math
import mmap
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np
import numpy.typing as npt

from texgen.errors import disk_errors

LARGE = 1 << 26
"""Bytes from which an array's pages are given back."""
HUGE = 1 << 27
"""Bytes from which an array that is kept for a while lies on the disk."""


def release(*arrays: np.ndarray) -> None:
    """Give the pages of large mapped arrays, or of those that these are views of, back; what was written stays in the page cache or goes to the disk."""
    for array in arrays:
        owner: object = array
        while isinstance(owner, np.ndarray) and not isinstance(owner, np.memmap):
            owner = owner.base
        pages: mmap.mmap | None = getattr(owner, "_mmap", None)
        private = getattr(owner, "mode", None) == "c"  # whose changes would be lost
        if pages is not None and not private and len(pages) > LARGE and hasattr(mmap, "MADV_DONTNEED"):
            pages.madvise(mmap.MADV_DONTNEED)


def mapped(path: Path, dtype: npt.DTypeLike, shape: tuple[int, ...]) -> np.ndarray:
    """A new array in a file, all of whose room is taken at once: a disk that fills up later would end the process at the first page that finds none.

    Raises:
        ResourceError: The disk is full.
    """
    with disk_errors(path), path.open("wb+") as file:
        return _mapped(file, dtype, shape)


def scratch(shape: tuple[int, ...]) -> np.ndarray:
    """A new array, float32; a huge one in a file without a name, among the temporary ones.

    Raises:
        ResourceError: The disk is full.
    """
    if math.prod(shape) * 4 < HUGE:
        return np.empty(shape, np.float32)
    with disk_errors(Path(tempfile.gettempdir())), tempfile.TemporaryFile() as file:
        return _mapped(file, np.float32, shape)


def _mapped(file: IO[bytes], dtype: npt.DTypeLike, shape: tuple[int, ...]) -> np.ndarray:
    size = math.prod(shape) * np.dtype(dtype).itemsize
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(file.fileno(), 0, size)
    else:
        file.truncate(size)
    return np.memmap(file, dtype, "r+", shape=shape)


class Band(NamedTuple):
    """Rows of a picture, and of those around them that a filter looks at, too.

    Attributes:
        rows: Of the picture.
        around: The same and up to a margin more on both sides.
        inner: Where `rows` lie in `around`.
    """

    rows: slice
    around: slice
    inner: slice


def bands(height: int, rows: int, margin: int) -> Iterator[Band]:
    """Bands of a picture from its top to its end."""
    for top in range(0, height, rows):
        bottom = min(top + rows, height)
        first, last = max(top - margin, 0), min(bottom + margin, height)
        yield Band(slice(top, bottom), slice(first, last), slice(top - first, bottom - first))
