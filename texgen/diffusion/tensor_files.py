"""Tensors with JSON notes in safetensors files, and a cache of tensors on disk."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from texgen.errors import ResourceError
from texgen.files.publish import published
from texgen.runs.log import warn

CACHED = 16
"""Files kept in the cache; the least recently used are deleted first."""


def save_tensors(path: Path, tensors: Mapping[str, Tensor], notes: Mapping[str, Any]) -> None:
    """Write tensors and JSON notes to a safetensors file, whole or not at all.

    Raises:
        ResourceError: The disk is full or not writable.
    """
    content = {name: tensor.contiguous() for name, tensor in tensors.items()}
    with published(path) as part:
        try:
            save_file(content, part, {"notes": json.dumps(notes)})
        except SafetensorError as error:  # only its text tells that the disk is full
            number = re.search(r"os error (\d+)", str(error))
            code = int(number[1]) if number else errno.EIO
            raise OSError(code, os.strerror(code)) from error


def load_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """Tensors and notes of a file; None if it is absent or unreadable, so that the caller makes them again."""
    if not path.exists():
        return None
    try:
        with safe_open(path, "pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, json.loads(file.metadata()["notes"])  # noqa: SIM118
    except (SafetensorError, OSError, ValueError, KeyError, TypeError):
        return None


def cache_folder() -> Path | None:
    """The folder of the cache: `TEXGEN_CACHE`, else the user's cache folder; None if `TEXGEN_CACHE` is empty."""
    chosen = os.environ.get("TEXGEN_CACHE")
    if chosen is not None:
        return Path(chosen) if chosen else None
    if os.environ.get("XDG_CACHE_HOME"):
        return Path(os.environ["XDG_CACHE_HOME"]) / "texgen"
    try:
        return Path.home() / ".cache" / "texgen"
    except RuntimeError:  # a user without a home
        return None


def cached(depends_on: Sequence[Any], make: Callable[[], dict[str, Tensor]]) -> dict[str, Tensor]:
    """Tensors from the cache; if they are not there, make them and add them.

    Args:
        depends_on: Everything that the tensors depend on, serialisable as JSON.
        make: Makes the tensors.
    """
    folder = cache_folder()
    if folder is None:
        return make()
    path = folder / f"{hashlib.sha256(json.dumps(depends_on).encode()).hexdigest()[:32]}.safetensors"
    found = load_tensors(path)
    if found is not None:
        with suppress(OSError):
            path.touch()
        return found[0]
    made = make()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        save_tensors(path, made, {})
        for old in sorted(folder.glob("*.safetensors"), key=lambda file: file.stat().st_mtime)[:-CACHED]:
            old.unlink()
    except (OSError, ResourceError) as error:  # go on without a cache
        warn(f"{folder}: what was tuned is not kept for other runs ({error})")
    return made
