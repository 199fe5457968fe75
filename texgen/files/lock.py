"""A lock beside each output, so that only one run at a time writes it."""

from __future__ import annotations

import fcntl
import fnmatch
import glob
import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from texgen.errors import LockedError, OptionError, disk_errors

LOCK = b"texgen\n"
"""Content of a lock. A file of its name with other content belongs to the user and is kept."""


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Lock an output, so that a second run on it is refused, and delete what a killed run left half-written.

    Raises:
        LockedError: Another run holds the lock.
        OptionError: A link, a folder or another special file has the lock's name.
        ResourceError: The folder is not writable.
    """
    lock = path.with_name(f".{path.name}.lock")
    with os.fdopen(_held(lock, path), "rb+", buffering=0) as file:
        ours = file.read() in (b"", LOCK)
        try:
            if ours:
                with disk_errors(path):
                    os.pwrite(file.fileno(), LOCK, 0)
            _sweep(path)
            yield
        finally:
            if ours:
                lock.unlink(missing_ok=True)


def _held(lock: Path, path: Path) -> int:
    """Open and hold the lock of an output; try again if another run removed it in between."""
    while True:
        with disk_errors(path):
            handle = _opened(lock)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(handle), lock.stat()):
                return handle
        except FileNotFoundError:
            pass
        except OSError as error:
            os.close(handle)
            raise LockedError(
                f"{path}: another run is writing this output; wait for it or choose another name."
            ) from error
        os.close(handle)


def _opened(lock: Path) -> int:
    """Open a lock's file, creating it if there is none; links are not followed, and an existing file keeps its content."""
    try:
        handle = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK, 0o666)
    except OSError as error:
        if lock.is_symlink() or lock.is_dir():
            raise OptionError(
                f"{lock}: is {'a link' if lock.is_symlink() else 'a folder'}, where a lock goes; remove it."
            ) from error
        raise
    if stat.S_ISREG(os.fstat(handle).st_mode):
        return handle
    os.close(handle)
    raise OptionError(f"{lock}: is no file, where a lock goes; remove it.")


def is_part(path: Path, out: Path) -> bool:
    """Whether locking the output `out` would delete the file `path` as a temporary one."""
    beside = os.path.realpath(path.parent) == os.path.realpath(out.parent)
    return beside and any(fnmatch.fnmatchcase(path.name, pattern) for pattern in _parts(out))


def _parts(path: Path) -> tuple[str, str]:
    """Patterns for the names of an output's temporary files."""
    part = f".{glob.escape(path.name)}.{'[a-z0-9_]' * 8}.part"
    return part, f"{part}.{'[a-z0-9_]' * 8}"


def _sweep(path: Path) -> None:
    """Delete temporary files of `published`, of `published_folder` and of the writers that they call."""
    for found in [found for pattern in _parts(path) for found in path.parent.glob(pattern)]:
        if found.is_dir() and not found.is_symlink():
            shutil.rmtree(found, ignore_errors=True)
        else:
            found.unlink(missing_ok=True)
