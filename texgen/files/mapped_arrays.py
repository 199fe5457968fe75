"""Arrays in mapped files, worked on in bands: as large as the disk, while memory holds a band."""

from __future__ import annotations

import math
import mmap
import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from texgen.errors import disk_errors

LARGE = 1 << 26
"""Bytes from which an array's pages are given back."""


def release(*arrays: np.ndarray) -> None:
    """Give the pages of large mapped arrays back; what was written stays in the page cache or goes to the disk."""
    for array in arrays:
        mapped = getattr(array, "_mmap", None)
        if mapped is not None and array.nbytes > LARGE and hasattr(mmap, "MADV_DONTNEED"):
            mapped.madvise(mmap.MADV_DONTNEED)


def mapped(path: Path, dtype: npt.DTypeLike, shape: tuple[int, ...]) -> np.ndarray:
    """A new array in a file, all of whose room is taken at once: a disk that fills up later would end the process at the first page that finds none.

    Raises:
        ResourceError: The disk is full.
    """
    with disk_errors(path), path.open("wb+") as file:
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
