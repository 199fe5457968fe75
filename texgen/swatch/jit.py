"""Functions compiled by numba, cached on disk where a cache can be written."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numba
from numba.core.caching import FunctionCache

from texgen.runs.log import warn

TEXTS = [path.read_bytes() for path in sorted(Path(__file__).parent.rglob("*.py"))]
SOURCES = hashlib.sha256(b"".join(text for text in TEXTS if b"@compiled" in text)).hexdigest()
"""Of the code that is compiled: a function holds those of other files that it calls, so that its own file does not tell whether it changed."""


def compiled(function: Callable[..., Any], **more: Any) -> Any:
    """The function as machine code that runs without the interpreter lock, so that threads share the work.

    Numba keeps the code in `NUMBA_CACHE_DIR`, in `__pycache__` or in the user's cache folder; where none of them can be written
    it is compiled anew in every process.

    Args:
        function: Of numbers and arrays.
        more: Options of numba.
    """
    found = numba.njit(**{"nogil": True, "fastmath": True, "boundscheck": False, **more})(function)
    with suppress(RuntimeError):  # numba found nowhere to put a cache
        found._cache = _Cache(function)
    return found


_BROKEN: set[str] = set()
"""Folders that were warned of."""


class _Cache(FunctionCache):
    """Numba's cache, which a run can do without: a file that cannot be read or written is warned of once."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__(function)
        self._cache_file._source_stamp = SOURCES

    def load_overload(self, *asked: Any) -> Any:
        try:
            return super().load_overload(*asked)
        except OSError as error:
            return self._give_up(error)
        except Exception:  # of a file that is none of numba's, or was cut off
            with suppress(OSError):
                Path(self._cache_file._index_path).unlink()
            return None

    def save_overload(self, *made: Any) -> None:
        try:
            super().save_overload(*made)
        except OSError as error:
            self._give_up(error)

    def _give_up(self, error: OSError) -> None:
        self.disable()
        if self.cache_path not in _BROKEN:
            _BROKEN.add(self.cache_path)
            warn(f"{self.cache_path}: what was compiled is not kept for other runs ({error.strerror})")

    @property
    def is_there(self) -> bool:
        """Whether something was saved."""
        return Path(self._cache_file._index_path).is_file()


def inlined(function: Callable[..., Any]) -> Any:
    """The same for the innermost functions, placed into those that call them. References to the arrays that they are given are not counted, which would
    take longer than their work: they neither make nor return arrays."""
    return compiled(function, forceinline=True, _nrt=False)


def in_order(function: Callable[..., Any]) -> Any:
    """As `compiled`, with sums that are added up in the order in which they are written."""
    return compiled(function, fastmath={"contract"})


def is_compiled(function: Any) -> bool:
    """Whether the next call of a compiled function needs no compiling: it ran in this process, or stands in the cache."""
    return bool(function.overloads) or getattr(function._cache, "is_there", False)
