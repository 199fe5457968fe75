"""Work distributed over all cores."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from tiling import Tile


def cores() -> int:
    """Number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def in_parts(count: int, work: Callable[[int, int], None]) -> None:
    """Call `work(first, last)` on all cores, for consecutive parts of `count` items."""
    part = -(-count // (4 * cores()))
    with ThreadPoolExecutor(cores()) as pool:
        list(pool.map(lambda first: work(first, min(first + part, count)), range(0, count, part)))


def searched(pool: ThreadPoolExecutor, improve: Any, tiles: Sequence[Tile]) -> np.ndarray:
    """Search tiles on all threads of a pool; the sums do not depend on which thread gets which tile."""
    places, sums = np.array(tiles, np.int64), np.zeros((len(tiles), 3))
    chunk = max(1, min(32, len(tiles) // 8))
    parts = [slice(i, i + chunk) for i in range(0, len(tiles), chunk)]
    list(pool.map(lambda part: improve(tiles=places[part], sums=sums[part]), parts))
    return sums.sum(0)
