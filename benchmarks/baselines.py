"""Two classical baselines, written small: image quilting on pixels, and optimisation of patch distributions."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from texgen.exemplar import Source
from texgen.quilt import quilt
from tiling import Size, Wrap

BLOCK_PX = 64
PATCH, PROJECTIONS = 7, 64


def pixel_quilt(exemplar: Tensor, size: Size, seed: int) -> Tensor:
    """Image quilting of pixels on a torus: blocks of 64 px, overlap 20 px, minimum-error cuts, no reuse penalty.

    Efros, Freeman, "Image Quilting for Texture Synthesis and Transfer", SIGGRAPH 2001.
    """
    generator = torch.Generator().manual_seed(seed)
    source = Source(exemplar, 0, 0, 0)
    sewn = quilt([source], size, Wrap(True, True), factor=1, generator=generator, block=BLOCK_PX, reuse=0.0)
    return sewn.latents


def patch_optimisation(exemplar: Tensor, size: Size, seed: int, seconds: float, levels: int = 4) -> Tensor:
    """Pixels whose 7x7 patches are distributed like the exemplar's, coarse to fine, on a torus, for a given time.

    Every iteration projects all patches on fresh random directions, sorts, and moves the pixels by Adam; the time is
    shared among the levels by their number of pixels, the finest getting half.

    Elnekave, Weiss, "Generating natural images with direct Patch Distributions Matching", ECCV 2022.
    """
    generator = torch.Generator().manual_seed(seed)
    image = None
    for level in range(levels - 1, -1, -1):
        scale = 2**level
        wanted = F.interpolate(exemplar, scale_factor=1 / scale, mode="area") if level else exemplar
        here = (size.height // scale, size.width // scale)
        if image is None:
            mean, deviation = wanted.mean((2, 3), keepdim=True), wanted.std((2, 3), keepdim=True)
            image = mean + deviation * torch.randn(1, 3, *here, generator=generator)
        else:
            image = F.interpolate(image, here, mode="bicubic", align_corners=False)
        share = 0.5 ** (level + 1) if level < levels - 1 else 0.5**level
        image = _matched(image, wanted, generator, seconds * share)
    return image.clamp(0, 1)


def _matched(image: Tensor, exemplar: Tensor, generator: torch.Generator, seconds: float) -> Tensor:
    image = image.clone().requires_grad_(True)
    optimizer = torch.optim.Adam([image], lr=0.02)
    ranks = (torch.arange(image.shape[2] * image.shape[3]) + 0.5) / (image.shape[2] * image.shape[3])
    deadline = time.perf_counter() + seconds
    while time.perf_counter() < deadline:
        filters = torch.randn(PROJECTIONS, 3, PATCH, PATCH, generator=generator)
        filters = filters / filters.flatten(1).norm(dim=1)[:, None, None, None]
        have = F.conv2d(F.pad(image, [PATCH // 2] * 4, mode="circular"), filters)[0].flatten(1)
        want = F.conv2d(exemplar, filters)[0].flatten(1).sort(1).values
        places = (ranks * want.shape[1]).long()
        order = have.argsort(1)
        goal = torch.empty_like(have).scatter_(1, order, want[:, places])
        loss = (have - goal.detach()).abs().mean()
        (image.grad,) = torch.autograd.grad(loss, image)
        optimizer.step()
    return image.detach()


ALL: dict[str, Callable[..., Tensor]] = {"pixel-quilt": pixel_quilt, "patches": patch_optimisation}
