"""The first field of a level: that of the next coarser level, with keys of the wanted labels and without given pixels."""

from __future__ import annotations

import numpy as np

from texgen.files.mapped_arrays import bands, release
from texgen.swatch.bank.atlas import MASK
from texgen.swatch.bank.level import Level, nearest_centres
from texgen.swatch.jit import compiled
from texgen.swatch.steering import Control

ROWS = 512
"""Number of rows that are written at once."""


def refine(coarse: np.ndarray, fine: np.ndarray, level: Level, control: Control) -> None:
    """Write the first field of a level, from the last field of the next coarser level."""
    labels = np.unique(control.labels).tolist()
    nearest = {label: nearest_centres(level.centres & (level.labels == label)) for label in labels}
    for rows in (band.rows for band in bands(len(fine), ROWS, 0)):
        refined(coarse, fine, rows.start, rows.stop, level.nearest)
        for label, centres in nearest.items():
            shown = fine[rows]
            places = np.maximum(shown, 0)
            wrong = (shown >= 0) & (level.labels[places >> 16, places & MASK] != label)
            wrong &= control.labels[rows] == label
            shown[wrong] = centres[places[wrong] >> 16, places[wrong] & MASK]
        release(coarse, fine)
    leave_given(fine, control)


def leave_given(field: np.ndarray, control: Control) -> None:
    """Set the field to -1 where pixels are given."""
    for rows in (band.rows for band in bands(len(field) if control.known.size else 0, ROWS, 0)):
        field[rows][control.known[rows]] = -1


@compiled
def refined(coarse: np.ndarray, fine: np.ndarray, top: int, bottom: int, nearest: np.ndarray) -> None:
    """Write rows `top` to `bottom` of the next finer field: twice the coordinate plus the parity of the pixel, moved to the nearest key."""
    h, w = coarse.shape
    for y in range(top, bottom):
        cy = min(y // 2, h - 1)
        for x in range(fine.shape[1]):
            cx = min(x // 2, w - 1)
            packed = coarse[cy, cx]
            if packed < 0:
                fine[y, x] = -1
                continue
            sy = min(2 * (packed >> 16) + y - 2 * cy, nearest.shape[0] - 1)
            sx = min(2 * (packed & MASK) + x - 2 * cx, nearest.shape[1] - 1)
            fine[y, x] = nearest[sy, sx]
