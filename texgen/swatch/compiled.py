"""Functions compiled by numba, cached on disk where a cache can be written."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba

TEXTS = [path.read_bytes() for path in sorted(Path(__file__).parent.glob("*.py"))]
SOURCES = hashlib.sha256(b"".join(text for text in TEXTS if b"@compiled" in text)).hexdigest()
"""Of the code that is compiled: a function holds those of other files that it calls, so that its own file does not tell whether it changed."""


def compiled(function: Callable[..., Any], **more: Any) -> Any:
    """The function as machine code that runs without the interpreter lock, so that threads share the work.

    Numba keeps the code in `__pycache__`, in the user's cache folder or in `NUMBA_CACHE_DIR`; where none of them can be written
    it is compiled anew in every process.

    Args:
        function: Of numbers and arrays.
        more: Options of numba.
    """
    options: dict[str, Any] = {"nogil": True, "fastmath": True, "boundscheck": False, **more}
    try:
        found = numba.njit(cache=True, **options)(function)
    except RuntimeError:  # no locator: numba found nowhere to put a cache
        return numba.njit(**options)(function)
    if (cache := _cache(found)) is not None:
        cache._source_stamp = SOURCES
    return found


def inlined(function: Callable[..., Any]) -> Any:
    """The same for the innermost functions, placed into those that call them. References to the arrays that they are given are not counted, which would
    take longer than their work: they neither make nor return arrays."""
    return compiled(function, forceinline=True, _nrt=False)


def in_order(function: Callable[..., Any]) -> Any:
    """As `compiled`, with sums that are added up in the order in which they are written."""
    return compiled(function, fastmath={"contract"})


def is_compiled(function: Any) -> bool:
    """Whether the next call of a compiled function needs no compiling: it ran in this process, or stands in the cache."""
    return bool(function.overloads) or Path(getattr(_cache(function), "_index_path", "")).is_file()


def _cache(function: Any) -> Any:
    """Numba's index of a function in the cache; None where there is none."""
    return getattr(getattr(function, "_cache", None), "_cache_file", None)
