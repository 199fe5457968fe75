"""The same bytes from the same run, on a GPU too."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch


@contextmanager
def deterministic(device: torch.device, wanted: bool = True) -> Iterator[None]:
    """Within, a CUDA device sums in a fixed order, so that a run repeats to the same bytes; a CPU does anyway.

    The promise: the same job on the same kind of card, with the same versions of driver, torch and texgen, the same memory plan and
    options, gives the same bytes, resumed or not. What has no order to be fixed is an error. Settings of the process that this
    changes are as before afterwards.

    Args:
        device: Of the network.
        wanted: Whether to fix the order; if not, a GPU may use faster sums, such as those of attention's gradient.
    """
    if device.type != "cuda" or not wanted:
        yield
        return
    # without it torch does not call cuBLAS deterministic
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
