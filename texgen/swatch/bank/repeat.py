"""How a swatch repeats itself: whether it tiles across its borders, and whether it consists of copies of a smaller part."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from texgen.swatch.bank.pyramid import halved
from tiling import Wrap

EXACT = 0.1
"""Largest difference between a swatch and a shifted copy at which they count as equal, relative to that of an arbitrary shift."""
DIVISORS = (2, 3)
LINES = 8
"""Distance of the lines that the border is compared with: like the border, they lie on the block edges of a JPEG."""
SCALES = 3
TORN, STEEP = 0.33, 1.35
"""An axis wraps if, at all scales, the step across the border is at most a common step plus `TORN` of what distant lines differ by beyond that, and
at full size at most `STEEP` common steps."""
FEW = 32
FAR_LINES = 64


class Repeat(NamedTuple):
    """The part of a swatch that it repeats, as a torus, a strip or neither.

    Attributes:
        height, width: Of the part, which begins in the swatch's top left corner.
        shift: Columns by which the part is shifted from one row of copies to the next, modulo its width, as in a running bond.
        wrap: Axes on which the part continues seamlessly from its end to its beginning.
    """

    height: int
    width: int
    shift: int = 0
    wrap: Wrap = Wrap(False, False)

    def inside(self, y: np.ndarray, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The places inside the part that stand for any places: periodic along an axis that wraps, mirrored otherwise."""
        if self.wrap.y:
            lap = y // self.height
            y, x = y - lap * self.height, x + lap * self.shift
        else:
            y = _mirrored(y, self.height)
        return y, x % self.width if self.wrap.x else _mirrored(x, self.width)


def repeat_of(pixels: np.ndarray) -> Repeat:
    """How a swatch (H, W, C) repeats itself.

    A swatch may consist of tiles of a smaller one. It may also equal itself shifted by half its size, which is the result of filters that make a picture
    seamless by blending it with its shifted self. Otherwise an axis wraps if, at three scales, the step across the border is like a common
    step.
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
    """Whether the first row continues the last one."""
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
    """Whether a picture equals itself, shifted."""
    if min(pixels.shape[:2]) < FEW or not (down or right):
        return False
    height, width = pixels.shape[:2]
    elsewhere = np.abs(pixels - np.roll(pixels, (height * 5 // 13, width * 5 // 13), (0, 1))).mean()
    return bool(np.abs(pixels - np.roll(pixels, (down, right), (0, 1))).mean() < EXACT * elsewhere)


def _mirrored(places: np.ndarray, side: int) -> np.ndarray:
    places = places % (2 * side)
    return np.minimum(places, 2 * side - 1 - places)
