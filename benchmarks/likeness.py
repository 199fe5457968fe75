"""Bidirectional similarity of a texture and its swatch, and how much of it is copied. Images are float (1, 3, H, W) in [0, 1].

The distance of two patches is Euclidean; its unit is the mean distance of two random patches of the swatch.

References:
    Simakov, Caspi, Shechtman, Irani, "Summarizing Visual Data Using Bidirectional Similarity", CVPR 2008,
    https://doi.org/10.1109/CVPR.2008.4587842.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numba import njit, prange
from torch import Tensor

from texgen.swatch.bank.repeat import repeat_of

PATCH, SCALES, QUERIES, COMPONENTS = 15, 3, 4096, 32
LEAST = 200
"""Least number of patches of which a percentile is taken."""
COPY_PATCH, COPY_STEP, COPY_LEVELS = 31, 16, 5
"""Search for copies, at half size: side of a patch, distance between the patches tested, and largest rms difference of a copy."""


class Likeness(NamedTuple):
    """Distances between a texture and its swatch, in both directions.

    Attributes:
        coherence_95, coherence_99: Percentiles over the texture's patches of the distance to the nearest patch of the swatch, mean over
            three scales: seams, blur, invented shapes. A straight copy has 0.
        completeness_95: The same over the swatch's patches, to the texture: what is missing.
        copied: Share of 62 px patches that match a patch of the swatch to within 5 of 255 levels.
    """

    coherence_95: float
    coherence_99: float
    completeness_95: float
    copied: float


def likeness(texture: Tensor, swatch: Tensor) -> Likeness:
    """The four measures of a texture and its swatch. If the swatch tiles, patches across its border count as its own."""
    coherent, complete = [], []
    whole = carried_on(swatch)
    pictures = [texture, swatch, whole]
    for _ in range(SCALES):
        first, second, around = pictures
        if min(*first.shape[-2:], *second.shape[-2:]) < 2 * PATCH:
            break
        space = _Space(around, PATCH)
        unit = _random_distance(second, PATCH)
        coherent.append(torch.quantile(space.distances(first) / unit, torch.tensor([0.95, 0.99])))
        complete.append(torch.quantile(_Space(first, PATCH, space.basis).distances(second) / unit, 0.95))
        pictures = [F.avg_pool2d(picture, 2) for picture in pictures]
    at_95, at_99 = torch.stack(coherent).mean(0).tolist()
    return Likeness(at_95, at_99, float(torch.stack(complete).mean()), copied(texture, whole))


def coherence(texture: Tensor, swatch: Tensor, area: Tensor) -> float:
    """The `coherence_99` of a part of a texture: of the patches that lie wholly in an area (H, W), bool, at the scales that have enough of them."""
    found, whole, inside = [], carried_on(swatch), area[None, None].float()
    for _ in range(SCALES):
        places = (F.avg_pool2d(inside, PATCH, 1)[0, 0] > 1 - 1e-6).nonzero()
        if len(places) < LEAST or min(swatch.shape[-2:]) < 2 * PATCH:
            break
        places = places[torch.randperm(len(places), generator=torch.Generator().manual_seed(0))[:QUERIES]]
        distances = _Space(whole, PATCH).distances(texture, places) / _random_distance(swatch, PATCH)
        found.append(float(torch.quantile(distances, 0.99)))
        texture, swatch, whole = (F.avg_pool2d(picture, 2) for picture in (texture, swatch, whole))
        inside = (F.avg_pool2d(inside, 2) == 1).float()
    return sum(found) / len(found) if found else math.nan


def carried_on(swatch: Tensor) -> Tensor:
    """A swatch, continued below and to the right by the size of the largest patch if it tiles."""
    wrap = repeat_of(swatch[0].permute(1, 2, 0).numpy()).wrap
    for axis, wraps in ((2, wrap.y), (3, wrap.x)):
        if wraps:
            swatch = torch.cat([swatch, swatch.narrow(axis, 0, min(2 * COPY_PATCH, swatch.shape[axis]))], axis)
    return swatch


def copied(texture: Tensor, swatch: Tensor) -> float:
    """Share of 62x62 px patches of a texture that also occur in the swatch."""
    half = F.avg_pool2d(texture, 2)
    steps = [torch.arange(0, side - COPY_PATCH + 1, COPY_STEP) for side in half.shape[-2:]]
    places = torch.cartesian_prod(*steps)
    least = torch.full((len(places),), torch.inf)
    basis = None
    for top in (0, 1):
        for left in (0, 1):
            space = _Space(F.avg_pool2d(swatch[..., top:, left:], 2), COPY_PATCH, basis)
            basis = space.basis
            least = torch.minimum(least, space.distances(half, places))
    rms = least / (3 * COPY_PATCH**2) ** 0.5
    return float((rms * 255 <= COPY_LEVELS).float().mean())


class _Space:
    """All patches of a picture, searched by their principal components, compared in full."""

    def __init__(self, picture: Tensor, side: int, basis: Tensor | None = None) -> None:
        self.picture, self.side = picture, side
        self.basis = _components(picture, side) if basis is None else basis
        keys = F.conv2d(picture, self.basis.view(len(self.basis), -1, side, side))[0].flatten(1).T
        self.width = picture.shape[-1] - side + 1
        self.order = keys[:, 0].argsort()
        self.keys = keys[self.order].contiguous().numpy()

    def distances(self, picture: Tensor, places: Tensor | None = None) -> Tensor:
        """Distance of patches of another picture, by default `QUERIES` spread evenly, to the nearest patch of this one."""
        if places is None:
            height, width = (n - self.side + 1 for n in picture.shape[-2:])
            number = (torch.arange(QUERIES) * 0.6180339887 % 1 * height * width).long()
            places = torch.stack([number // width, number % width], 1)
        patches = _patches(picture, places, self.side)
        queries = (patches @ self.basis.T).numpy()
        first = np.searchsorted(self.keys[:, 0], queries[:, 0]).clip(0, len(self.keys) - 1)
        found = self.order[torch.from_numpy(_nearest(queries, self.keys, first))]
        there = torch.stack([found // self.width, found % self.width], 1)
        return (patches - _patches(self.picture, there, self.side)).norm(dim=1)


@njit(parallel=True, fastmath=True)
def _nearest(queries: np.ndarray, keys: np.ndarray, first: np.ndarray) -> np.ndarray:
    """Number of the nearest key (m, D) of each query (n, D); keys are sorted by their first component, which bounds the search."""
    found = np.zeros(len(queries), np.int64)
    for n in prange(len(queries)):
        best = np.float32(np.inf)
        for way in (1, -1):
            k = first[n] if way == 1 else first[n] - 1
            while 0 <= k < len(keys):
                total = (queries[n, 0] - keys[k, 0]) ** 2
                if total >= best:
                    break
                for start in range(0, keys.shape[1], 8):
                    part = np.float32(0)
                    for i in range(8):
                        if start + i > 0:
                            part += (queries[n, start + i] - keys[k, start + i]) ** 2
                    total += part
                    if total >= best:
                        break
                if total < best:
                    best = total
                    found[n] = k
                k += way
    return found


def _patches(picture: Tensor, places: Tensor, side: int) -> Tensor:
    reach = torch.arange(side)
    rows, columns = places[:, 0, None, None] + reach[:, None], places[:, 1, None, None] + reach
    return picture[0][:, rows, columns].transpose(0, 1).flatten(1)


def _random_places(picture: Tensor, side: int, count: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.stack([torch.randint(n - side + 1, (count,), generator=generator) for n in picture.shape[-2:]], 1)


def _random_distance(picture: Tensor, side: int) -> float:
    first, second = (_patches(picture, _random_places(picture, side, 2048, seed), side) for seed in (1, 2))
    return max(float((first - second).norm(dim=1).mean()), 1e-6)


def _components(picture: Tensor, side: int) -> Tensor:
    """(components, C side side), orthonormal."""
    patches = _patches(picture, _random_places(picture, side, 2048, 3), side)
    right = torch.linalg.svd(patches - patches.mean(0), full_matrices=False)[2] if side <= PATCH else _lowrank(patches)
    return right[:COMPONENTS]


def _lowrank(patches: Tensor) -> Tensor:
    torch.manual_seed(0)
    return torch.svd_lowrank(patches - patches.mean(0), COMPONENTS, niter=3)[2].T
