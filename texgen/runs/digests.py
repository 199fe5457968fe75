"""Hashes of pictures and versions of packages, for the recipe."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np

from texgen.files.image import ImageLike, name_of
from texgen.files.mapped_arrays import release
from texgen.files.pixels import rounded

ONCE = 1 << 24
"""Largest number of values hashed at a time."""


def picture_entry(source: ImageLike, pixels: np.ndarray) -> dict[str, Any]:
    """Entry of a picture in a recipe: its name without folder, and the size and hash of its prepared pixels.

    Args:
        source: The picture as it was given.
        pixels: (H, W, C), float32, in [0, 1], as they are used, or a mask (H, W).
    """
    return {"name": name_of(source), "width": pixels.shape[1], "height": pixels.shape[0], "sha256": digest([pixels])}


def digest(values: Sequence[np.ndarray]) -> str:
    """SHA-256 of arrays: floats in [0, 1] rounded to 16 bits, integers as uint8."""
    found = hashlib.sha256()
    for value in values:
        for rows in np.array_split(value, max(1, value.size // ONCE)):
            found.update((rounded(rows, np.uint16) if value.dtype.kind == "f" else rows.astype(np.uint8)).tobytes())
            release(value)
    return found.hexdigest()


def package_version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "unknown"
