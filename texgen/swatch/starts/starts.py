"""Starts of a field: a quilt, random blocks or random pixels."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

from texgen.swatch.bank.level import Level
from texgen.swatch.presets import Settings
from texgen.swatch.starts.quilt import NEVER, REUSE, block_corners, misfit, quilted
from texgen.swatch.steering import Control
from tiling import Size

GUIDED = 0.6
"""Size of the pieces of a quilt with guides, relative to one without: smaller pieces follow a guide more closely."""
AROUND_GIVEN = (1.0, 0.7, 0.5, 0.35)
"""Relative sizes of the pieces around given pixels, one per candidate in turn: large pieces keep features whole, small ones fit the rim."""

SMALLEST = 4
"""Smallest side of a piece."""
MOST_SMALL = 1 << 14
"""Largest number of pieces that are sewn if only pieces smaller than usual are whole."""


def start_level(settings: Settings, levels: int) -> int:
    """The scale at which the field begins."""
    return min(settings.quilt_level, levels - 1) if settings.start == "quilt" else levels - 1


def starter(
    level: Level, canvas: Size, settings: Settings, control: Control, seed: int, *, stop: np.ndarray = NEVER
) -> Callable[[int], np.ndarray]:
    """A function from the number of a candidate to a field (h, w), packed, at the scale of `level`.

    Each label starts on a canvas of its own, from its own patches; the target then selects which of these is seen where.

    Args:
        level: Scale of the bank.
        canvas: Size of the canvas at this scale.
        settings: Kind of the start, and size of its pieces.
        control: Constraints on the canvas; around given pixels, some candidates have smaller pieces.
        seed: Of the random choices.
        stop: See `quilted`.
    """
    scales = [(GUIDED if len(control.strengths) else 1.0) * s for s in (AROUND_GIVEN if control.known.size else (1.0,))]
    labels = np.unique(control.labels).tolist()
    levels = {label: level.of_label(label) for label in labels} if any(labels) else {0: level}
    starts = {
        label: [_starter(each, canvas, settings, control, stop, scale) for scale in scales]
        for label, each in levels.items()
    }

    def begun(candidate: int) -> np.ndarray:
        made = (start[candidate % len(scales)](seed * 1000 + candidate) for start in starts.values())
        if len(starts) == 1:
            return next(made)
        found = np.full(canvas, -1, np.int32)
        for label, field in zip(starts, made, strict=True):
            found[control.labels == label] = field[control.labels == label]
        return found

    return begun


def _starter(
    level: Level, canvas: Size, settings: Settings, control: Control, stop: np.ndarray, scale: float
) -> Callable[[int], np.ndarray]:
    if settings.start == "noise":
        return partial(random_blocks, level, canvas, 1)
    if settings.start == "blocks":
        return partial(random_blocks, level, canvas, max(SMALLEST, settings.block // 2 >> level.number))
    block = max(SMALLEST, min(max(settings.block >> level.number, level.side // 4), level.side // 2))
    block = max(SMALLEST, round(scale * block))
    while not (block_corners(level, block) >= 0).any():
        block -= 1  # the pixels that may be shown lie in narrow strips
        if block < SMALLEST or canvas.area > MOST_SMALL * (block // 2) ** 2:
            return partial(random_blocks, level, canvas, 1)
    overlap = max(2, min(max(settings.overlap >> level.number, level.side // 8), block // 2, level.side // 6))
    reuse = REUSE * misfit(level, block, overlap) ** 2
    return partial(quilted, level, canvas, block, overlap, reuse, settings.mend, control, stop=stop)


def random_blocks(level: Level, canvas: Size, side: int, seed: int) -> np.ndarray:
    """Squares from random places of the bank, drawn with the probabilities that their shares say."""
    rows, columns = -(-canvas.height // side), -(-canvas.width // side)
    places = np.argwhere(level.own)
    chances = level.shares[level.own].astype(np.float64)
    picked = np.random.default_rng(seed).choice(len(places), rows * columns, p=chances / chances.sum())
    y, x = places[picked].T.reshape(2, rows, columns) - side // 2
    down, right = np.arange(canvas.height)[:, None], np.arange(canvas.width)
    sy = (y[down // side, right // side] + down % side).clip(0, level.size[0] - 1)
    sx = (x[down // side, right // side] + right % side).clip(0, level.size[1] - 1)
    return level.nearest[sy, sx]
