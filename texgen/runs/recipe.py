"""The recipe of a result: everything needed to make it again, and nothing that changes from run to run."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from texgen.files.facts import embedded_text
from texgen.files.image import ImageLike, name_of
from texgen.files.pixels import rounded
from texgen.files.targets import sidecar_path

ONCE = 1 << 24
"""Values that are hashed at once."""


def picture_entry(source: ImageLike, pixels: np.ndarray) -> dict[str, Any]:
    """Name without folder, size in use, and hash of the pixels in use, (H, W, C), float32, in [0, 1], or a mask (H, W)."""
    return {"name": name_of(source), "width": pixels.shape[1], "height": pixels.shape[0], "sha256": digest([pixels])}


def digest(values: Sequence[np.ndarray]) -> str:
    """Hash of pictures and weights in [0, 1], to the sixteenth bit, or of maps of whole numbers."""
    found = hashlib.sha256()
    for value in values:
        for rows in np.array_split(value, max(1, value.size // ONCE)):
            found.update((rounded(rows, np.uint16) if value.dtype.kind == "f" else rows.astype(np.uint8)).tobytes())
    return found.hexdigest()


def package_version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "unknown"


def sidecars(picture: Path) -> list[Path]:
    """Where a JSON file that tells of a picture may lie: that of the picture itself, or that of a material."""
    return [sidecar_path(picture), picture.with_suffix(".json")]


def read_recipe(path: Path) -> dict[str, Any] | None:
    """The recipe inside a picture, else that in the JSON file beside it; of a JSON file itself. None where there is none."""
    found = None if path.suffix.lower() == ".json" else _as_recipe(embedded_text(path))
    for beside in [path] if path.suffix.lower() == ".json" else sidecars(path):
        if found is None and beside.is_file():
            found = _as_recipe(beside.read_text(errors="replace"))
    return found


def _as_recipe(text: str | None) -> dict[str, Any] | None:
    try:
        content: Any = json.loads(text or "")
    except ValueError:
        return None
    return content if isinstance(content, dict) and "texgen" in content else None
