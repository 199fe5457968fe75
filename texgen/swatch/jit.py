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
"""Hash of all code that is compiled. Compiled functions contain those of other files that they call, so that their own file does not show whether they changed."""


def compiled(function: Callable[..., Any], **more: Any) -> Any:
    """Compile a function to machine code that releases the interpreter lock, so that threads can share the work.

    Numba caches the code in `NUMBA_CACHE_DIR`, in `__pycache__` or in the user's cache folder. If none of them is writable, every process
    compiles it again.

    Args:
        function: Takes and returns numbers and arrays.
        more: Options of numba.
    """
    found = numba.njit(**{"nogil": True, "fastmath": True, "boundscheck": False, **more})(function)
    with suppress(RuntimeError):  # numba found no place for a cache
        found._cache = _Cache(function)
    return found


_BROKEN: set[str] = set()
"""Folders for which a warning was given."""


class _Cache(FunctionCache):
    """Numba's cache, made optional: if a file cannot be read or written, there is one warning and the run goes on."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__(function)
        self._cache_file._source_stamp = SOURCES

    def load_overload(self, *asked: Any) -> Any:
        try:
            return super().load_overload(*asked)
        except OSError as error:
            return self._give_up(error)
        except Exception:  # the file is not numba's, or is incomplete
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
        """Whether anything was saved."""
        return Path(self._cache_file._index_path).is_file()


def inlined(function: Callable[..., Any]) -> Any:
    """Compile an innermost function into those that call it. It may neither create nor return arrays: references to its arguments are not counted, which
    would take longer than its work."""
    return compiled(function, forceinline=True, _nrt=False)


def in_order(function: Callable[..., Any]) -> Any:
    """As `compiled`, but sums are added up in the order in which they are written."""
    return compiled(function, fastmath={"contract"})


def is_compiled(function: Any) -> bool:
    """Whether the next call of a function needs no compilation: it ran in this process, or is in the cache."""
    return bool(function.overloads) or getattr(function._cache, "is_there", False)
