"""Versions, model and hardware, on which the last bits of a result depend."""

from __future__ import annotations

import platform
from typing import Any

import torch

from texgen.diffusion.denoising import DenoisingModel
from texgen.runs.digests import package_version


def environment(model: DenoisingModel) -> dict[str, Any]:
    """Versions, model and device."""
    return {
        "texgen": package_version("texgen"),
        "torch": torch.__version__,
        "diffusers": package_version("diffusers"),
        "model": model.name,
        "model_fingerprint": model.fingerprint,
        "prediction_type": model.prediction_type,
        "device": model.device.type,
        "dtype": str(model.dtype).removeprefix("torch."),
        "compiled": model.compiled,
    }


def machine() -> list[str]:
    """Processor, GPU and number of threads, on which the last bits of a result may also depend."""
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else ""
    return [platform.machine(), platform.processor(), gpu, str(torch.get_num_threads())]
