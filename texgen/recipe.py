"""The recipe of a result: everything needed to make it again, and nothing that changes from run to run."""

from __future__ import annotations

import hashlib
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from texgen.models import Backbone


def exemplar_entry(source: Any, prepared: Tensor) -> dict[str, Any]:
    """Name without folder, size in use, and hash of the pixels in use."""
    name = Path(source).name if isinstance(source, str | Path) else type(source).__name__
    digest = hashlib.sha256((prepared * 255).round().byte().numpy().tobytes()).hexdigest()
    return {"name": name, "width": prepared.shape[-1], "height": prepared.shape[-2], "sha256": digest}


def environment(backbone: Backbone) -> dict[str, Any]:
    """Versions, model and device."""
    return {
        "texgen": package_version("texgen"),
        "torch": torch.__version__,
        "diffusers": package_version("diffusers"),
        "model": backbone.name,
        "model_fingerprint": backbone.fingerprint,
        "device": backbone.device.type,
        "dtype": str(backbone.unet.dtype).removeprefix("torch."),
    }


def package_version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "unknown"
