"""Arrays in mapped files: as large as the disk, while memory holds what is worked on."""

from __future__ import annotations

import mmap

import numpy as np

LARGE = 1 << 26
"""Bytes from which an array's pages are given back."""


def release(*arrays: np.ndarray) -> None:
    """Give the pages of large mapped arrays back; what was written stays in the page cache or goes to the disk."""
    for array in arrays:
        mapped = getattr(array, "_mmap", None)
        if mapped is not None and array.nbytes > LARGE and hasattr(mmap, "MADV_DONTNEED"):
            mapped.madvise(mmap.MADV_DONTNEED)
