"""The files that a verb reads, noted so that its outputs replace none of them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

_NOTED: ContextVar[set[Path] | None] = ContextVar("noted", default=None)
"""Of the verb that works in this thread; None outside of verbs."""


@contextmanager
def noting() -> Iterator[None]:
    """Within, a verb works, and what it reads is noted."""
    before = _NOTED.set(set())
    try:
        yield
    finally:
        _NOTED.reset(before)


def note(file: object) -> None:
    """Remember a file that is read; what is no path, such as the name of a picture that comes from no file, is passed over."""
    files = _NOTED.get()
    if files is not None and isinstance(file, str | Path) and str(file):
        files.add(Path(os.path.abspath(file)))  # noqa: PTH100 (the folder may change before something is saved)


def noted() -> frozenset[Path]:
    """The files that the verb in progress has read so far."""
    return frozenset(_NOTED.get() or ())
