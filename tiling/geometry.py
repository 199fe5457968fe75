"""Sizes, tiles and wrap flags, which describe all positions. All units are pixels of the canvas (image pixels or latents)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Size(NamedTuple):
    """Height and width, in that order.

    Example:
        >>> Size(2, 3).area
        6
    """

    height: int
    width: int

    @property
    def area(self) -> int:
        return self.height * self.width

    def scaled(self, factor: int) -> Size:
        """Both sides times `factor`."""
        return Size(self.height * factor, self.width * factor)

    def __str__(self) -> str:
        return f"{self.width}x{self.height}"


class Wrap(NamedTuple):
    """Which axes of the canvas wrap around; with both it is a torus."""

    y: bool = False
    x: bool = False


class Tile(NamedTuple):
    """A rectangle of the canvas, `bottom` and `right` excluded.

    On a wrapped axis a tile may start before 0 or reach past the end; its pixels are taken modulo the canvas.

    Example:
        >>> tile = Tile(6, 0, 10, 4)
        >>> tile.rows(Size(8, 8)).tolist()
        [6, 7, 0, 1]
    """

    top: int
    left: int
    bottom: int
    right: int

    @property
    def size(self) -> Size:
        return Size(self.bottom - self.top, self.right - self.left)

    def rows(self, canvas: Size) -> NDArray[np.int64]:
        """Canvas rows of the tile, in order, (height,)."""
        return np.arange(self.top, self.bottom) % canvas.height

    def columns(self, canvas: Size) -> NDArray[np.int64]:
        """Canvas columns of the tile, in order, (width,)."""
        return np.arange(self.left, self.right) % canvas.width

    def grown(self, margin: int, canvas: Size, wrap: Wrap) -> Tile:
        """The tile with `margin` pixels more on every side, cut at the border of an axis that does not wrap."""
        top, left, bottom, right = self.top - margin, self.left - margin, self.bottom + margin, self.right + margin
        if not wrap.y:
            top, bottom = max(top, 0), min(bottom, canvas.height)
        if not wrap.x:
            left, right = max(left, 0), min(right, canvas.width)
        return Tile(top, left, bottom, right)

    def scaled(self, factor: int) -> Tile:
        """The same rectangle on a canvas `factor` times finer."""
        return Tile(*(edge * factor for edge in self))
