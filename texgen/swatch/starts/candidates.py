"""The choice among several starts."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from texgen.swatch.bank.atlas import MASK
from texgen.swatch.jit import compiled

MOST_COPIED = 0.3
"""Share of its squares in which a candidate may copy a whole piece of the swatch."""


def best_of(candidates: Sequence[dict[str, float]]) -> int:
    """The candidate of least energy among those that do not copy too much; if all do, the one that copies least."""
    order = [(max(c["copied"] - MOST_COPIED, 0.0), c["energy"]) for c in candidates]
    return order.index(min(order))


@compiled
def copied_share(field: np.ndarray, side: int) -> float:
    """Share of the squares of `side` in a field that copy one piece of the bank: nine points of the square agree to within a pixel."""
    found = 0
    rows, columns, step = field.shape[0] - side + 1, field.shape[1] - side + 1, max((side - 1) // 2, 0)
    for y in range(rows):
        for x in range(columns):
            packed = field[y + step, x + step]
            cy, cx = (packed >> 16) - step, (packed & MASK) - step
            same = True
            for point in range(9):
                i, j = point // 3 * step, point % 3 * step
                packed = field[y + i, x + j]
                same = same and abs((packed >> 16) - i - cy) <= 1 and abs((packed & MASK) - j - cx) <= 1
            found += same
    return found / (rows * columns)
