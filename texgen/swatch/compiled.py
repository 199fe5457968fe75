"""Functions compiled by numba, cached on disk where a cache can be written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba


def compiled(function: Callable[..., Any]) -> Any:
    """The function as machine code that runs without the interpreter lock, so that threads share the work.

    Numba keeps the code in `__pycache__`, in the user's cache folder or in `NUMBA_CACHE_DIR`; where none of them can be written
    it is compiled anew in every process.
    """
    options: dict[str, Any] = {"nogil": True, "fastmath": True, "boundscheck": False}
    try:
        return numba.njit(cache=True, **options)(function)
    except RuntimeError:  # no locator: numba found nowhere to put a cache
        return numba.njit(**options)(function)


def is_compiled(function: Any) -> bool:
    """Whether the next call of a compiled function needs no compiling: it ran in this process, or stands in the cache."""
    cache = getattr(getattr(function, "_cache", None), "_cache_file", None)
    return bool(function.overloads) or Path(getattr(cache, "_index_path", "")).is_file()
