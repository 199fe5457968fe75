"""Sizes and wrapping axes as users give them."""

from __future__ import annotations

from typing import Any, Literal

from texgen.errors import OptionError, OptionTypeError
from texgen.knobs import TAKES, is_whole
from tiling import Size, Wrap

Tileable = Literal["both", "x", "y", "none"]
WRAPS = {"both": Wrap(True, True), "x": Wrap(False, True), "y": Wrap(True, False), "none": Wrap()}

LONGEST = 10**6
"""Longest side, in pixels."""


def size_of(size: Any) -> Size:
    """Size in pixels from an integer or a pair (height, width).

    Raises:
        OptionError: It is neither, or out of bounds.
    """
    pair = (size, size) if is_whole(size) else size
    if not TAKES["pair"][0](pair):
        raise OptionTypeError(f"size={size!r} must be one number of pixels or (height, width).")
    height, width = int(pair[0]), int(pair[1])
    if not (0 < height <= LONGEST and 0 < width <= LONGEST):
        raise OptionError(f"size={width}x{height} must be from 1 to {LONGEST} px a side.")
    return Size(height, width)
