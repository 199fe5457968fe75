"""What a swatch repeats of itself: whether it carries on across its borders, and whether it shows the same twice."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from texgen.swatch.bank.pyramid import halved
from tiling import Wrap

EXACT = 0.1
"""Difference of a swatch to itself, moved, up to which the two are the same, relative to that of an arbitrary move."""
DIVISORS = (2, 3)
LINES = 8
"""Lines between those that the border is compared with: where a JPEG has its block edges, as at the border."""
SCALES = 3
TORN, STEEP = 0.33, 1.35
"""At all scales the step across the border lies at most this far between a common step and the difference of far lines; and at full size
it is at most so many common steps."""
FEW = 32
FAR_LINES = 64


class Repeat(NamedTuple):
    """A swatch's own torus, or strip, or neither.

    Attributes:
        height, width: Of the part that is not shown before, from the top left corner on.
        shift: Columns of the part, modulo its width, that the row `height` begins at: the part lies in bond.
        wrap: Axes on which the part carries on where it ends.
    """

    height: int
    width: int
    shift: int = 0
    wrap: Wrap = Wrap(False, False)

    def inside(self, y: np.ndarray, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Places in the part of places anywhere: carried on where the axis wraps, else mirrored."""
        if self.wrap.y:
            lap = y // self.height
            y, x = y - lap * self.height, x + lap * self.shift
        else:
            y = _mirrored(y, self.height)
        return y, x % self.width if self.wrap.x else _mirrored(x, self.width)


def repeat_of(pixels: np.ndarray) -> Repeat:
    """How a swatch (H, W, C) repeats itself.

    A swatch may be some tiles of a smaller one, or the same in all parts half its sides apart, as filters leave it that make a picture seamless by
    blending it with itself, moved by half its size. Else an axis wraps if the step across the border is like a common one, on
    three scales.
    """
    height, width = pixels.shape[:2]
    once = [False, False]
    for divisor in DIVISORS:
        while height % divisor == 0 and _same(pixels[:height, :width], height // divisor, 0):
            height, once[0] = height // divisor, True
        while width % divisor == 0 and _same(pixels[:height, :width], 0, width // divisor):
            width, once[1] = width // divisor, True
    part = pixels[:height, :width]
    if height % 2 == width % 2 == 0 and _same(part, height // 2, width // 2):
        return Repeat(height // 2, width, width // 2, Wrap(True, True))
    across = np.swapaxes(pixels, 0, 1)
    return Repeat(height, width, 0, Wrap(once[0] or carries_on(pixels), once[1] or carries_on(across)))


def carries_on(pixels: np.ndarray) -> bool:
    """Whether the first row follows on the last one."""
    for scale in range(SCALES):
        if min(pixels.shape[:2]) < FEW:
            break
        steps = np.abs(pixels - np.roll(pixels, 1, 0)).mean((1, 2))[:: max(1, LINES >> scale)]
        common = np.median(steps[1:])
        first = np.random.default_rng(0).integers(0, len(pixels), FAR_LINES)
        far = np.abs(pixels[first] - pixels[(first + len(pixels) // 2) % len(pixels)]).mean()
        if steps[0] > common + TORN * max(far - common, 0) + 1e-6 and steps[0] > STEEP * common:
            return False
        if scale == 0 and steps[0] > STEEP * common + 1e-6:
            return False
        pixels = halved(pixels)
    return True


def _same(pixels: np.ndarray, down: int, right: int) -> bool:
    """Whether a picture is itself, moved."""
    if min(pixels.shape[:2]) < FEW or not (down or right):
        return False
    height, width = pixels.shape[:2]
    elsewhere = np.abs(pixels - np.roll(pixels, (height * 5 // 13, width * 5 // 13), (0, 1))).mean()
    return bool(np.abs(pixels - np.roll(pixels, (down, right), (0, 1))).mean() < EXACT * elsewhere)


def _mirrored(places: np.ndarray, side: int) -> np.ndarray:
    places = places % (2 * side)
    return np.minimum(places, 2 * side - 1 - places)
