"""Short implementations of three classical baselines: image quilting on pixels, patch distributions, and generative patch nearest neighbours."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from scipy.spatial import cKDTree
from torch import Tensor

from texgen.swatch.bank.bank import Bank
from texgen.swatch.bank.sources import Source
from texgen.swatch.starts.quilt import quilted
from texgen.swatch.steering import Control
from tiling import Size

BLOCK_PX, OVERLAP_PX = 64, 20
PATCH, PROJECTIONS = 7, 64


def pixel_quilt(exemplar: Tensor, size: Size, seed: int) -> Tensor:
    """Image quilting of pixels on a torus: blocks of 64 px, overlap 20 px, minimum-error cuts, no reuse penalty.

    Efros, Freeman, "Image Quilting for Texture Synthesis and Transfer", SIGGRAPH 2001.
    """
    bank = Bank([Source(exemplar[0].permute(1, 2, 0).contiguous().numpy())], 1, 1)
    level = bank.level(0, patch=1, dims=8, alike=0)
    field = quilted(level, size, BLOCK_PX, OVERLAP_PX, 0.0, 0, Control.none(), seed)
    sewn = level.pixels[field >> 16, field & 0xFFFF, :3]
    return torch.from_numpy(sewn).permute(2, 0, 1)[None].contiguous()


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


def nearest_patches(
    exemplar: Tensor, size: Size, seed: int, seconds: float, factor: float = 0.75, iterations: int = 10
) -> Tensor:
    """GPNN's loop on a torus: at each scale every 7x7 patch becomes its nearest one of the exemplar's, overlaps are averaged.

    Nearest by the distance over (alpha + that of the exemplar's patch to its own nearest one), among four candidates by 16 principal components;
    a scale ends early when its share of the time, by pixels, is used up.

    Granot, Feinstein, Shocher, Bagon, Irani, "Drop the GAN: In Defense of Patches Nearest Neighbors as Single Image Generative Models", CVPR 2022.
    """
    generator = torch.Generator().manual_seed(seed)
    scales = [1.0]
    while min(exemplar.shape[-2:]) * scales[-1] * factor >= 20:
        scales.append(scales[-1] * factor)
    image, total = None, sum(scale**2 for scale in scales)
    for scale in reversed(scales):
        keys = F.interpolate(exemplar, scale_factor=scale, mode="bicubic", antialias=True) if scale < 1 else exemplar
        here = (round(size.height * scale), round(size.width * scale))
        if image is None:
            pick = torch.randint(keys[0, 0].numel(), here, generator=generator)
            image = keys.flatten(2)[..., pick.flatten()].view(1, 3, *here)
        else:
            image = F.interpolate(image, here, mode="bicubic", align_corners=False)
        image = _replaced(image, keys, iterations, seconds * scale**2 / total)
    return image.clamp(0, 1)


def _replaced(image: Tensor, exemplar: Tensor, iterations: int, seconds: float, alpha: float = 0.005) -> Tensor:
    values = F.unfold(exemplar, PATCH)[0].T.contiguous()
    mean = values.mean(0)
    basis = torch.linalg.eigh(torch.cov(values.T))[1][:, -16:]
    tree = cKDTree(((values - mean) @ basis).numpy())
    wrapped = [PATCH - 1, 0, PATCH - 1, 0]
    deadline = time.perf_counter() + seconds
    for _ in range(iterations):
        queries = (F.unfold(F.pad(image, wrapped, mode="circular"), PATCH)[0].T - mean) @ basis
        distances, found = tree.query(queries.numpy(), k=4, eps=1.0, workers=-1)
        own = np.full(len(values), np.inf)
        np.minimum.at(own, found, distances)
        best = np.argmin(distances / (alpha + np.where(np.isfinite(own), own, 0)[found]), 1)
        chosen = values[torch.from_numpy(found[np.arange(len(found)), best])]
        padded = (image.shape[-2] + PATCH - 1, image.shape[-1] + PATCH - 1)
        summed = F.fold(chosen.T[None], padded, PATCH)
        image = _closed(summed, image.shape[-2:]) / PATCH**2
        if time.perf_counter() > deadline:
            break
    return image


def _closed(summed: Tensor, size: torch.Size) -> Tensor:
    """Add what lies in the margin before the first rows and columns of a torus to its last ones."""
    beyond, (height, width) = PATCH - 1, size
    image = summed[..., beyond:, beyond:].clone()
    image[..., height - beyond :, :] += summed[..., :beyond, beyond:]
    image[..., :, width - beyond :] += summed[..., beyond:, :beyond]
    image[..., height - beyond :, width - beyond :] += summed[..., :beyond, :beyond]
    return image


ALL: dict[str, Callable[..., Tensor]] = {
    "pixel-quilt": pixel_quilt,
    "patches": patch_optimisation,
    "gpnn": nearest_patches,
}
