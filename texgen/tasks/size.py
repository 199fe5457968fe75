"""Sizes and wrapping axes as users give them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from texgen.errors import OptionError
from tiling import Size, Wrap

Tileable = Literal["both", "x", "y", "none"]
WRAPS = {"both": Wrap(True, True), "x": Wrap(False, True), "y": Wrap(True, False), "none": Wrap()}


def size_of(size: int | Sequence[int]) -> Size:
    """(height, width) of an integer or a pair.

    Raises:
        OptionError: Neither.
    """
    pair = (size, size) if isinstance(size, int) else tuple(size)
    if len(pair) != 2 or not all(isinstance(side, int | np.integer) for side in pair):
        raise OptionError(f"size={size!r} must be one number of pixels or (height, width).")
    return Size(int(pair[0]), int(pair[1]))
