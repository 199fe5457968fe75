"""The recipe of a result: everything needed to make it again, and nothing that changes from run to run."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from texgen.pixels import rounded

if TYPE_CHECKING:
    from torch import Tensor

    from texgen.models import Backbone


def exemplar_entry(source: Any, prepared: Tensor) -> dict[str, Any]:
    """Name without folder, size in use, and hash of the pixels in use."""
    size = {"width": prepared.shape[-1], "height": prepared.shape[-2]}
    return {"name": _name(source), **size, "sha256": digest([prepared])}


def swatch_entry(source: Any, pixels: np.ndarray) -> dict[str, Any]:
    """The same of pixels (H, W, C), float32, in [0, 1]."""
    found = hashlib.sha256(rounded(pixels, np.uint8).transpose(2, 0, 1).tobytes()).hexdigest()
    return {"name": _name(source), "width": pixels.shape[1], "height": pixels.shape[0], "sha256": found}


def _name(source: Any) -> str:
    return Path(source).name if isinstance(source, str | Path) else type(source).__name__


def digest(values: Sequence[Tensor]) -> str:
    """Hash of pictures and weights in [0, 1], to the eighth bit, or of maps of whole numbers."""
    found = hashlib.sha256()
    for value in values:
        found.update(
            ((value * 255).round() if value.is_floating_point() else value).byte().contiguous().numpy().tobytes()
        )
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
