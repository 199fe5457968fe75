"""Write outputs whole or not at all: temporary file beside the target, flush, rename."""

from __future__ import annotations

import csv
import errno
import io
import json
import os
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from texgen.errors import LockedError, OptionError, ResourceError

SUFFIXES = {".png": "PNG", ".tif": "TIFF", ".tiff": "TIFF", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP"}
MAX_SIDE = {"JPEG": 65500, "WEBP": 16383}


def check_target(path: Path, height: int, width: int, suffixes: Sequence[str] = tuple(SUFFIXES)) -> None:
    """Refuse, before any work, what cannot be written later.

    Raises:
        OptionError: Unknown suffix, a folder, a missing parent folder, or a side the format cannot hold.
    """
    kind = SUFFIXES.get(path.suffix.lower())
    if path.suffix.lower() not in suffixes:
        raise OptionError(f"{path}: the suffix must be one of {', '.join(suffixes)}.")
    if path.is_dir():
        raise OptionError(f"{path}: is a folder; give a file name.")
    if not path.parent.is_dir():
        raise OptionError(f"{path.parent}: no such folder; make it first.")
    if not os.access(path.parent, os.W_OK):
        raise OptionError(f"{path.parent}: not writable.")
    limit = MAX_SIDE.get(kind or "")
    if limit and max(height, width) > limit:
        raise OptionError(
            f"{path.name}: {kind} holds at most {limit} px a side, the result has {width}x{height}; use .tif."
        )


def save_image(path: Path, image: np.ndarray, recipe: dict[str, Any] | None) -> None:
    """Write an image (H, W, 3) uint8 by its suffix, the recipe embedded where given.

    Raises:
        ResourceError: Disk full or not writable; an older file stays as it was.
    """
    publish(path, _encode(path, image, None if recipe is None else json.dumps(recipe, sort_keys=True)))


def save_json(path: Path, content: dict[str, Any]) -> None:
    """Write a JSON file."""
    publish(path, (json.dumps(content, indent=2, sort_keys=True) + "\n").encode())


def save_csv(path: Path, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Write a CSV file with a header line."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(columns)
    table.writerows(rows)
    publish(path, text.getvalue().encode())


def save_map(path: Path, coordinates: np.ndarray) -> None:
    """Write a coordinate map (2, h, w) as a float32 TIFF of two pages (y, x).

    Raises:
        ResourceError: As `save_image`.
    """
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, coordinates.astype(np.float32), photometric="minisblack", metadata={"axes": "CYX"})
    publish(path, buffer.getvalue())


def publish(path: Path, content: bytes) -> None:
    """Put `content` at `path` in one step."""
    try:
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            Path(name).chmod(0o666 & ~_umask())
            Path(name).replace(path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
        _sync_folder(path.parent)
    except OSError as error:
        what = "the disk is full" if error.errno in (errno.ENOSPC, errno.EDQUOT) else str(error.strerror or error)
        raise ResourceError(f"{path}: cannot be written ({what}); nothing was changed.") from error


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the output: a second run on the same file is refused.

    Raises:
        LockedError: Another run holds it.
    """
    lock = path.with_name(f".{path.name}.lock")
    try:
        import fcntl
    except ImportError:  # no advisory locks on this system: the rename still keeps outputs whole
        yield
        return
    with lock.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise LockedError(
                f"{path}: another run is writing this output; wait for it or choose another name."
            ) from error
        try:
            yield
        finally:
            lock.unlink(missing_ok=True)


def _encode(path: Path, image: np.ndarray, recipe: str | None) -> bytes:
    kind = SUFFIXES[path.suffix.lower()]
    buffer = io.BytesIO()
    if kind == "TIFF":
        big = image.nbytes > 2**31
        tifffile.imwrite(
            buffer, image, photometric="rgb", compression="zlib", bigtiff=big, description=recipe, metadata=None
        )
        return buffer.getvalue()
    picture = Image.fromarray(image)
    if kind == "PNG":
        notes = PngInfo()
        if recipe is not None:
            notes.add_text("texgen", recipe)
        picture.save(buffer, kind, pnginfo=notes, compress_level=6)
        return buffer.getvalue()
    exif = Image.Exif()
    if recipe is not None:
        exif[0x010E] = recipe  # ImageDescription
    options = {"quality": 95, "subsampling": 0} if kind == "JPEG" else {"lossless": True}
    picture.save(buffer, kind, exif=exif.tobytes() if recipe is not None else b"", **options)
    return buffer.getvalue()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
