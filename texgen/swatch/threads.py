"""Work on all cores."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor


def cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def in_parts(count: int, work: Callable[[int, int], None]) -> None:
    """Call `work(first, last)` on all cores for parts of `count` things."""
    part = -(-count // (4 * cores()))
    with ThreadPoolExecutor(cores()) as pool:
        list(pool.map(lambda first: work(first, min(first + part, count)), range(0, count, part)))
