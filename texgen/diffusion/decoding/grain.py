"""Losses that compare the grain of images, to train decoders: distributions of patches, differences of neighbouring pixels."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def patch_distance(
    a: Tensor, b: Tensor, generator: torch.Generator, projections: int = 48, samples: int = 1536
) -> Tensor:
    """Sliced Wasserstein distance between the patches of each image of `a` and those of `b`, summed over two scales.

    5x5 patches at random places, the same in both images, are projected on random directions of zero mean, and the sorted
    projections are compared. The distance is small for grain of the right strength and shape, whatever its exact place.
    """
    total = a.new_zeros(())
    for scale in range(2):
        if scale:
            a, b = F.avg_pool2d(a, 2), F.avg_pool2d(b, 2)
        filters = torch.randn(projections, 3, 5, 5, generator=generator)
        filters = filters - filters.mean((1, 2, 3), keepdim=True)
        filters = (filters / filters.flatten(1).norm(dim=1)[:, None, None, None]).to(a.device, a.dtype)
        with torch.autocast(a.device.type, enabled=False):
            first, second = (F.conv2d(x, filters).flatten(2) for x in (a, b))
        places = torch.randint(first.shape[2], (min(samples, first.shape[2]),), generator=generator).to(a.device)
        total = total + (first[..., places].sort(-1).values - second[..., places].sort(-1).values).abs().mean()
    return total


def differences(images: Tensor) -> Tensor:
    """Mean absolute difference of neighbouring pixels of images (B, C, H, W), horizontal plus vertical."""
    return images.diff(dim=-1).abs().mean() + images.diff(dim=-2).abs().mean()
