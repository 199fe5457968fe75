"""Deterministic results on a GPU."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch


@contextmanager
def deterministic(device: torch.device, wanted: bool = True) -> Iterator[None]:
    """Context in which a CUDA device sums in a fixed order, so that a run is reproducible bit by bit, as it always is on a CPU.

    The same job on the same kind of card, with the same versions of driver, torch and texgen, the same memory plan and the same
    options, gives the same bytes, resumed or not. Operations without a deterministic implementation raise an error. torch's global
    settings are restored afterwards.

    Args:
        device: Device of the network.
        wanted: Whether to fix the order; if not, a GPU may use faster sums, for example in the backward pass of attention.
    """
    if device.type != "cuda" or not wanted:
        yield
        return
    # torch requires this for deterministic cuBLAS
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    settings: Any = torch.utils.deterministic
    mode, filled = torch.get_deterministic_debug_mode(), settings.fill_uninitialized_memory
    torch.set_deterministic_debug_mode("error")
    settings.fill_uninitialized_memory = False
    try:
        yield
    finally:
        torch.set_deterministic_debug_mode(mode)
        settings.fill_uninitialized_memory = filled
