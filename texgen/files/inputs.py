"""Record the files that a verb reads, so that its outputs never replace them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

_NOTED: ContextVar[set[Path] | None] = ContextVar("noted", default=None)
"""Files read by the verb that runs in this context; None outside of verbs."""


@contextmanager
def noting() -> Iterator[None]:
    """Record the files that a verb reads within this context."""
    before = _NOTED.set(set())
    try:
        yield
    finally:
        _NOTED.reset(before)


def note(file: object) -> None:
    """Record a file that is read; anything but a non-empty path is ignored."""
    files = _NOTED.get()
    if files is not None and isinstance(file, str | Path) and str(file):
        files.add(Path(os.path.abspath(file)))  # noqa: PTH100 (the folder may change before something is saved)


def noted() -> frozenset[Path]:
    """Files that the running verb has read so far."""
    return frozenset(_NOTED.get() or ())
