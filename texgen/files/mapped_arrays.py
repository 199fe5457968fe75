"""Arrays in memory-mapped files, processed in bands: as large as the disk, while memory holds only a band."""

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
"""Bytes above which the pages of an array are released."""
HUGE = 1 << 27
"""Bytes from which a `scratch` array lies on the disk."""


def release(*arrays: np.ndarray) -> None:
    """Release the pages of large mapped arrays, or of arrays that these are views of; what was written stays in the page cache or goes to the disk."""
    for array in arrays:
        owner: object = array
        while isinstance(owner, np.ndarray) and not isinstance(owner, np.memmap):
            owner = owner.base
        pages: mmap.mmap | None = getattr(owner, "_mmap", None)
        private = getattr(owner, "mode", None) == "c"  # copy-on-write, so that changes would be lost
        if pages is not None and not private and len(pages) > LARGE and hasattr(mmap, "MADV_DONTNEED"):
            pages.madvise(mmap.MADV_DONTNEED)


def mapped(path: Path, dtype: npt.DTypeLike, shape: tuple[int, ...]) -> np.ndarray:
    """A new array in a file. All its space is allocated at once, as a disk that fills up later would kill the process on a page fault.

    Raises:
        ResourceError: The disk is full.
    """
    with disk_errors(path), path.open("wb+") as file:
        return _mapped(file, dtype, shape)


def scratch(shape: tuple[int, ...]) -> np.ndarray:
    """A new float32 array with arbitrary values; from `HUGE` bytes on it lies in an unnamed temporary file.

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
    """Rows of a picture, with the rows around them that a filter needs.

    Attributes:
        rows: Rows of the picture.
        around: The same rows, and up to a margin more on both sides.
        inner: Place of `rows` within `around`.
    """

    rows: slice
    around: slice
    inner: slice


def bands(height: int, rows: int, margin: int) -> Iterator[Band]:
    """Bands of a picture from top to bottom, of at most `rows` rows each."""
    for top in range(0, height, rows):
        bottom = min(top + rows, height)
        first, last = max(top - margin, 0), min(bottom + margin, height)
        yield Band(slice(top, bottom), slice(first, last), slice(top - first, bottom - first))
