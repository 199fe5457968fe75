"""Windows: weights over a tile for fusing overlapping tiles."""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor

from tiling.geometry import Size

WindowKind = Literal["ones", "hann", "gaussian"]


def axis_window(kind: WindowKind, length: int) -> np.ndarray:
    """A positive, symmetric profile (length,), largest in the middle.

    `ones` is plain MultiDiffusion; `hann` is sin^2 sampled at pixel centres, so it never reaches 0; `gaussian` has a
    standard deviation of a fifth of the length.

    Raises:
        ValueError: `kind` is unknown.
    """
    centre = (np.arange(length) + 0.5) / length
    if kind == "ones":
        return np.ones(length)
    if kind == "hann":
        return np.asarray(np.sin(np.pi * centre) ** 2)
    if kind == "gaussian":
        return np.asarray(np.exp(-0.5 * ((centre - 0.5) / 0.2) ** 2))
    raise ValueError(f"window={kind!r} is not known; choose one of {', '.join(get_args(WindowKind))}.")


def make_window(kind: WindowKind, size: Size) -> Tensor:
    """A window for a tile, (height, width), float32: the outer product of two `axis_window`s."""
    profile = np.outer(axis_window(kind, size.height), axis_window(kind, size.width))
    return torch.from_numpy(profile).float()
