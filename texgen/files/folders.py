"""Several files published together: all of them, or none."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from texgen.errors import OptionError, disk_errors
from texgen.files.lock import locked
from texgen.files.publish import all_or_none, sync, umask
from texgen.files.targets import check_free


def check_folder(folder: Path, files: Collection[str], overwrite: bool = False, inputs: Iterable[Path] = ()) -> None:
    """Refuse, before any work, a folder that could not be written later or that holds one of the files already.

    Args:
        folder: The folder, which need not exist.
        files: Paths inside the folder.
        overwrite: Whether existing files may be replaced.
        inputs: Files that the outputs are made from; these are never replaced.

    Raises:
        OptionError: The folder cannot be written, or a file in it may not be replaced.
    """
    if not folder.name:
        raise OptionError(f"{folder}: is the root of a disk; give a folder in it.")
    if folder.exists() and not folder.is_dir():
        raise OptionError(f"{folder}: is a file; give a folder.")
    if not folder.parent.is_dir():
        raise OptionError(f"{folder.parent}: no such folder; make it first.")
    for place in (folder.parent, *([folder] if folder.exists() else [])):
        if not os.access(place, os.W_OK):
            raise OptionError(f"{place}: not writable.")
    check_free([folder / file for file in files], overwrite, inputs)


@contextmanager
def published_folder(folder: Path, overwrite: bool = False, inputs: Iterable[Path] = ()) -> Iterator[Path]:
    """Yield a temporary folder beside `folder` to fill. On exit its files move to `folder`; on an error it is deleted.

    Raises:
        OptionError: A file exists already and may not be replaced.
        LockedError: Another run is filling the folder.
        ResourceError: The disk is full or not writable.
    """
    beside = folder.with_name(
        f"{folder.name}.folder"
    )  # so that locks and temporary files of a file with the folder's name are left alone
    with disk_errors(folder), locked(beside):
        part = Path(tempfile.mkdtemp(prefix=f".{beside.name}.", suffix=".part", dir=folder.parent))
        try:
            yield part
            _finish(part)
            files = sorted(str(path.relative_to(part)) for path in part.rglob("*") if path.is_file())
            check_folder(folder, files, overwrite, inputs)
            if folder.exists():
                with all_or_none(folder / file for file in files):
                    for file in files:
                        (folder / file).parent.mkdir(exist_ok=True)
                        (part / file).replace(folder / file)
            else:
                part.rename(folder)
        finally:
            shutil.rmtree(part, ignore_errors=True)


def _finish(part: Path) -> None:
    """Give a folder the permissions of a new one, and flush its files to the disk."""
    mask = umask()
    part.chmod(0o777 & ~mask)
    for path in sorted(part.rglob("*")):
        if path.is_file():
            sync(path)
