"""Repeating textures, filtered for the size at which they are seen."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from PIL import Image

from texgen.files.pixels import Pixels

TAPS = 4
"""Samples along the longer side of a pixel's footprint."""
ROWS = 256
"""Rows of a large picture that are read at a time."""

Floats = np.ndarray
"""An array of dtype float32."""


def floats(values: Sequence[float] | Sequence[Sequence[float]]) -> Floats:
    """Numbers as a float32 array."""
    return np.array(values, np.float32)


def dot(first: Floats, second: Floats) -> Floats:
    """Dot products (n,) of vectors (3, n), or of a vector (3, 1) with them."""
    return np.einsum("in,in->n", *np.broadcast_arrays(first, second))


def smooth(share: Floats) -> Floats:
    """A smooth step from 0 to 1, flat at both ends; values beyond are clipped."""
    share = np.clip(share, 0, 1)
    return share * share * (3 - 2 * share)


def shrunk(pixels: Pixels, most: int, decode: Callable[[np.ndarray], Floats]) -> Floats:
    """A picture (height, width, C), decoded in bands of rows, and reduced to means of square blocks if a side is at least twice `most`."""
    height, width, _ = pixels.shape
    factor = max(1, max(height, width) // most)
    if factor == 1:
        return decode(pixels[0:height])
    found = []
    for top in range(0, height, factor * ROWS):
        band = decode(pixels[top : min(top + factor * ROWS, height)])
        band = np.pad(band, ((0, -len(band) % factor), (0, -width % factor), (0, 0)), mode="edge")
        parts = [band[y::factor, x::factor] for y in range(factor) for x in range(factor)]
        found.append(sum(parts[1:], parts[0]) / factor**2)
    return np.concatenate(found)


def resized(image: Floats, size: tuple[int, int]) -> Floats:
    """A repeating picture (height, width, C), resized to (height, width) with a filter that wraps around its borders."""
    height, width, channels = image.shape
    if size == (height, width):
        return image
    pad = [max(4, 4 * -(-have // want)) for have, want in zip((height, width), size, strict=True)]
    around = np.pad(image, ((pad[0],) * 2, (pad[1],) * 2, (0, 0)), mode="wrap")
    box = (pad[1], pad[0], pad[1] + width, pad[0] + height)
    planes = [
        np.asarray(
            Image.fromarray(np.ascontiguousarray(around[..., channel])).resize(
                size[::-1], Image.Resampling.HAMMING, box
            )
        )
        for channel in range(channels)
    ]
    return np.stack(planes, -1)


def side(length: int, most: int) -> int:
    """The smallest power of two that is at least `length`, but no more than `most`.

    Example:
        >>> side(600, 2048), side(4096, 2048)
        (1024, 2048)
    """
    return int(min(1 << (length - 1).bit_length(), most))


class Pyramid:
    """A texture that repeats in both directions, with levels of half the size, a quarter and so on.

    Coordinates are in widths of the texture: `u` to the right, `v` upwards from its lower edge.

    Args:
        image: The texture, (height, width, C), float32; both sides are powers of two.
        aspect: Width of the surface divided by its height.
    """

    def __init__(self, image: Floats, aspect: float) -> None:
        levels = [image]
        while max(levels[-1].shape[:2]) > 1:
            levels.append(_halved(levels[-1]))
        shapes = np.array([level.shape[:2] for level in levels], np.int32)
        self.channels, self.aspect, self.width = image.shape[2], aspect, image.shape[1]
        self._heights, self._widths = shapes.T
        self._lengths, self._breadths = shapes.T.astype(np.float32)
        self._starts = np.cumsum([0, *np.prod(shapes, 1)[:-1]]).astype(np.int32)
        self._texels = np.concatenate([level.reshape(-1, self.channels) for level in levels])

    @property
    def last(self) -> int:
        """Number of the smallest level."""
        return len(self._starts) - 1

    def nearest(self, u: Floats, v: Floats, level: np.ndarray) -> Floats:
        """The first channel at `u`, `v` (n,): the nearest texel of `level` (n,), int."""
        width, height = self._widths[level], self._heights[level]
        x = np.floor(u * self._breadths[level]).astype(np.int32) & (width - 1)
        y = np.floor(v * -self.aspect * self._lengths[level]).astype(np.int32) & (height - 1)
        return np.take(self._texels[:, 0], self._starts[level] + y * width + x)

    def between(self, u: Floats, v: Floats, level: np.ndarray) -> Floats:
        """All channels (C, n) at `u`, `v` (n,): interpolated between four texels of `level` (n,), int."""
        width, height, start = self._widths[level], self._heights[level], self._starts[level]
        x, y = u * self._breadths[level] - 0.5, v * -self.aspect * self._lengths[level] - 0.5
        left, top = np.floor(x), np.floor(y)
        right_share, lower_share = (x - left)[:, None], (y - top)[:, None]
        columns = [(left.astype(np.int32) + each) & (width - 1) for each in (0, 1)]
        rows = [start + ((top.astype(np.int32) + each) & (height - 1)) * width for each in (0, 1)]
        corners = [[np.take(self._texels, row + column, axis=0) for column in columns] for row in rows]
        upper, lower = (_mixed(first, second, right_share) for first, second in corners)
        return np.ascontiguousarray(_mixed(upper, lower, lower_share).T)

    def level(self, footprint: Floats, dither: float = 0.5) -> np.ndarray:
        """The level whose texels are about as large as a footprint (n,), in widths. Samples of a pixel with different dither mix two levels."""
        levels = np.log2(np.maximum(footprint * self.width, 1e-6)) + dither
        return np.clip(np.floor(levels), 0, self.last).astype(np.int32)

    def filtered(self, u: Floats, v: Floats, along: Floats, footprint: tuple[Floats, Floats], dither: float) -> Floats:
        """All channels (C, n) at `u`, `v` (n,), as the mean over an elongated footprint.

        Args:
            u, v: Coordinates in widths.
            along: Unit vectors (2, n) along the longer side of the footprint.
            footprint: Shorter and longer side (n,) of the footprint, in widths.
            dither: See `level`.
        """
        shorter, longer = footprint
        level = self.level(np.maximum(shorter, longer / TAPS), dither)
        found = np.zeros((self.channels, len(u)), np.float32)
        for tap in range(TAPS):
            offset = longer * ((tap + 0.5) / TAPS - 0.5)
            found += self.between(u + along[0] * offset, v + along[1] * offset, level)
        found /= TAPS
        return found


def _mixed(first: Floats, second: Floats, share: Floats) -> Floats:
    second -= first
    second *= share
    second += first
    return second


def _halved(image: Floats) -> Floats:
    for axis in (0, 1):
        if image.shape[axis] > 1:
            first, second = np.moveaxis(image, axis, 0)[::2], np.moveaxis(image, axis, 0)[1::2]
            image = np.moveaxis((first + second) * 0.5, 0, axis)
    return image
