"""All errors that texgen raises on purpose, and their exit codes.

    TexgenError            1  something went wrong inside
    +-- OptionError        2  an option or a combination of options makes no sense
    |   +-- OptionTypeError   an option does not exist, or its value has the wrong type
    +-- InputError         3  an input file or image cannot be used
    +-- ModelError         4  a model is missing, broken or refused
    +-- ResourceError      5  out of memory or disk
    +-- LockedError        8  another run is writing the same output

The number is the exit code of the command line. It is part of the public interface.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class TexgenError(Exception):
    """Base of all errors. The message is one line: what is wrong, what was given, what is allowed, how to fix it."""

    exit_code = 1


class OptionError(TexgenError, ValueError):
    """An option or a combination of options makes no sense."""

    exit_code = 2


class OptionTypeError(OptionError, TypeError):
    """An option does not exist, or its value has the wrong type."""


class InputError(TexgenError, ValueError):
    """An input file or image cannot be used."""

    exit_code = 3


class ModelError(TexgenError):
    """A model is missing, broken or refused."""

    exit_code = 4


class ResourceError(TexgenError):
    """Out of memory or disk."""

    exit_code = 5


class LockedError(TexgenError):
    """Another run is writing the same output."""

    exit_code = 8


DISK = (
    errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS, errno.EACCES, errno.EPERM, errno.EMFILE
)  # fmt: skip


def disk_error(error: BaseException, path: Path | None = None) -> TexgenError | None:
    """Convert the error of a failing disk, or of a file name that is too long, to an error of texgen that names the file.

    Args:
        error: Any error.
        path: The file. By default the one that the error names; then only the errors in `DISK` count as a failing disk.

    Returns:
        None for any other error.
    """
    if isinstance(error, OSError) and error.errno == errno.ENAMETOOLONG:
        name = str(path or error.filename)
        return OptionError(f"{name[:40]}...: the name is too long; systems take 255 bytes between two slashes.")
    if not isinstance(error, OSError) or (path is None and error.errno not in DISK):
        return None
    what = "the disk is full" if error.errno in (errno.ENOSPC, errno.EDQUOT) else str(error.strerror or error)
    return ResourceError(f"{path or error.filename or 'a file'}: cannot be written ({what}); nothing was changed.")


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Context manager that turns any OSError into the error of `disk_error`, which names the file."""
    try:
        yield
    except OSError as error:
        found = disk_error(error, path)
        assert found is not None
        raise found from error
