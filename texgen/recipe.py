"""The recipe of a result: everything needed to make it again, and nothing that changes from run to run."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

import numpy as np

from texgen.image import name_of
from texgen.pixels import rounded

ONCE = 1 << 24
"""Values that are hashed at once."""

if TYPE_CHECKING:
    from texgen.models import Backbone


def picture_entry(source: Any, pixels: np.ndarray) -> dict[str, Any]:
    """Name without folder, size in use, and hash of the pixels in use, (H, W, C), float32, in [0, 1], or a mask (H, W)."""
    return {"name": name_of(source), "width": pixels.shape[1], "height": pixels.shape[0], "sha256": digest([pixels])}


def digest(values: Sequence[np.ndarray]) -> str:
    """Hash of pictures and weights in [0, 1], to the eighth bit, or of maps of whole numbers."""
    found = hashlib.sha256()
    for value in values:
        for rows in np.array_split(value, max(1, value.size // ONCE)):
            found.update((rounded(rows, np.uint8) if value.dtype.kind == "f" else rows.astype(np.uint8)).tobytes())
    return found.hexdigest()


def environment(backbone: Backbone) -> dict[str, Any]:
    """Versions, model and device."""
    import torch

    return {
        "texgen": package_version("texgen"),
        "torch": torch.__version__,
        "diffusers": package_version("diffusers"),
        "model": backbone.name,
        "model_fingerprint": backbone.fingerprint,
        "device": backbone.device.type,
        "dtype": str(backbone.unet.dtype).removeprefix("torch."),
    }


def machine() -> list[str]:
    """What the last bits of a result may depend on beside `environment`."""
    import torch

    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else ""
    return [platform.machine(), platform.processor(), gpu, str(torch.get_num_threads())]


def package_version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "unknown"
