"""Where a field begins: sewn, of random blocks, or of random pixels."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

from texgen.swatch.bank import Level
from texgen.swatch.kernels import KNOWN
from texgen.swatch.quilt import REUSE, misfit, quilted
from texgen.swatch.settings import Settings
from tiling import Size


def start_level(settings: Settings, levels: int) -> int:
    """The scale at which the field begins."""
    return min(settings.quilt_level, levels - 1) if settings.start == "quilt" else levels - 1


def starter(
    level: Level, canvas: Size, settings: Settings, wanted: np.ndarray, guide: np.ndarray, given: np.ndarray | None
) -> Callable[[int], np.ndarray]:
    """A function that gives a field (h, w), packed, at the scale of `level`, for a seed.

    Each label begins on a canvas of its own, from its own patches; the labels that are wanted say which of them is seen where.

    Args:
        level: Of the bank.
        canvas: At this scale.
        settings: Which start, and the size of its pieces.
        wanted: Labels of the canvas, see `Steering.wanted`.
        guide: See `Steering.guide`.
        given: The field where it is given, -1 elsewhere; None where nothing is.
    """
    labels = [label for label in np.unique(wanted).tolist() if label != KNOWN]
    if len(labels) < 2 and not wanted.any():
        return _starter(level, canvas, settings, guide, given)
    starts = {label: _starter(level.of_label(label), canvas, settings, guide, given) for label in labels}

    def composed(seed: int) -> np.ndarray:
        found = np.full(canvas, -1, np.int32) if given is None else given.copy()
        for label, start in starts.items():
            mine = wanted == label
            found[mine] = start(seed)[mine]
        return found

    return composed


def _starter(
    level: Level, canvas: Size, settings: Settings, guide: np.ndarray, given: np.ndarray | None
) -> Callable[[int], np.ndarray]:
    if settings.start == "noise":
        return partial(random_blocks, level, canvas, 1)
    if settings.start == "blocks":
        return partial(random_blocks, level, canvas, max(4, settings.block // 2 >> level.number))
    block = max(4, min(max(settings.block >> level.number, level.side // 4), level.side // 2))
    overlap = max(2, min(max(settings.overlap >> level.number, level.side // 8), block // 2, level.side // 6))
    reuse = REUSE * misfit(level, block, overlap) ** 2
    return partial(quilted, level, canvas, block, overlap, reuse, settings.mend, guide, given)


def random_blocks(level: Level, canvas: Size, side: int, seed: int) -> np.ndarray:
    """Squares from random places of the bank, each place as likely as its share says."""
    rows, columns = -(-canvas.height // side), -(-canvas.width // side)
    places = np.argwhere(level.own)
    chances = level.shares[level.own].astype(np.float64)
    picked = np.random.default_rng(seed).choice(len(places), rows * columns, p=chances / chances.sum())
    y, x = places[picked].T.reshape(2, rows, columns) - side // 2
    down, right = np.arange(canvas.height)[:, None], np.arange(canvas.width)
    sy = (y[down // side, right // side] + down % side).clip(0, level.size[0] - 1)
    sx = (x[down // side, right // side] + right % side).clip(0, level.size[1] - 1)
    return level.nearest[sy, sx]
