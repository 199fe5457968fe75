"""Weight-free measures of a texture whose regions carry different materials.

Images are float (1, 3, H, W) in [0, 1]; label maps are int64 (H, W), label k shows `exemplars[k]`; masks are bool
(h, w), the part of an exemplar that shows its label.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from tiling import Size

Mask = Tensor | None

SHRINKAGE = 0.1
MARGIN, HALO, MAJORITY, REACH = 8, 24, 9, 64
STRIPE = 40


def two_regions(size: Size, *, tileable: bool = False) -> Tensor:
    """Labels 0 and 1: a wavy diagonal separates them, a disc of 1 lies in 0, and a 40 px stripe swaps them.

    Args:
        size: Height and width of the map.
        tileable: The map repeats without a seam; the diagonal is then a band and the disc crosses the left border.

    Returns:
        Label map (H, W).

    Example:
        >>> two_regions(Size(96, 160)).unique().tolist()
        [0, 1]
    """
    side, disc, stripe = _shapes(size, tileable)
    return ((side ^ stripe) | disc).long()


def four_regions(size: Size, *, tileable: bool = False) -> Tensor:
    """Labels 0 and 1 on the sides of a wavy diagonal, 2 in a disc, 3 in a 40 px stripe; as `two_regions` otherwise.

    Example:
        >>> four_regions(Size(96, 160), tileable=True).unique().tolist()
        [0, 1, 2, 3]
    """
    side, disc, stripe = _shapes(size, tileable)
    return side.long().masked_fill(disc, 2).masked_fill(stripe, 3)


def _shapes(size: Size, tileable: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Second side of the wavy diagonal, disc and stripe, each bool (H, W)."""
    y = ((torch.arange(size.height) + 0.5) / size.height)[:, None]
    x = ((torch.arange(size.width) + 0.5) / size.width)[None]
    along = x + y + 0.06 * torch.sin(4 * math.pi * (x - y))
    side = along % 1 >= 0.5 if tileable else along >= 1
    across = (x + 0.5) % 1 - 0.5 if tileable else x - 0.25
    disc = torch.hypot(across * size.width, (y - 0.25) * size.height) < 0.12 * min(size)
    left = int(0.6 * size.width)
    columns = torch.arange(size.width).expand(size)
    stripe = (columns >= left) & (columns < left + min(STRIPE, max(1, size.width // 4)))
    return side, disc, stripe


def classify(
    image: Tensor,
    exemplars: Sequence[Tensor],
    side: int = 17,
    *,
    masks: Sequence[Mask] | None = None,
    wrapped: bool = False,
) -> Tensor:
    """Label whose texture each pixel shows, by the statistics of the window around it.

    A window's features are its colour's means, the logarithms of its colour's deviations and those of the energies
    of oriented differences and of centre against surround, at one and three pixels. Each label is a Gaussian over the
    windows of its exemplar (quadratic discriminant), its covariance S drawn to the labels' common variances V:

        S' = (1 - a) S + a diag(V),   label = argmin_k (f - m_k)^T S'_k^-1 (f - m_k) + log det S'_k

    A window across a boundary shows a mixture that fits neither label, and the label of wider spread would win there.
    So a pixel takes its label from the one that fits best of nine windows: its own and eight moved by `side // 2`.

    Structure counts, so materials of one colour are told apart. So does fine grain: an image much noisier or softer
    than its exemplars is misread. A band of neither material, narrower than the window, goes unnoticed.

    Args:
        image: (1, 3, H, W).
        exemplars: One (1, 3, h, w) a label.
        side: Odd side of the window in px; a larger one errs less inside regions and misses narrower ones.
        masks: Where each exemplar shows its label; none for everywhere.
        wrapped: The image repeats, so windows reach across its borders.

    Returns:
        Label map (H, W).

    References:
        Regularized Discriminant Analysis, Friedman, 1989, https://doi.org/10.1080/01621459.1989.10478752
    """
    samples = [
        _samples(exemplar, mask, side) for exemplar, mask in zip(exemplars, _each(masks, exemplars), strict=True)
    ]
    means = [sample.mean(1, keepdim=True) for sample in samples]
    covariances = [sample.cov(correction=0) for sample in samples]
    common = torch.stack(covariances).mean(0).diagonal().diag()
    features = _features(image, side, "circular" if wrapped else "reflect")
    misfits, costs = [], []
    for mean, covariance in zip(means, covariances, strict=True):
        factor = torch.linalg.cholesky((1 - SHRINKAGE) * covariance + SHRINKAGE * common)
        whitened = torch.linalg.solve_triangular(factor, features.flatten(1) - mean, upper=False)
        misfits.append(whitened.square().sum(0))
        costs.append(misfits[-1] + 2 * factor.diagonal().log().sum())
    size = image.shape[-2:]
    return _from_cleanest(
        torch.stack(misfits).amin(0).view(size), torch.stack(costs).argmin(0).view(size), side // 2, wrapped
    )


def _from_cleanest(misfit: Tensor, labels: Tensor, reach: int, wrapped: bool) -> Tensor:
    """Each pixel's label from the window that fits any label best, of nine that hold the pixel."""
    mode = "circular" if wrapped else "reflect"
    height, width = labels.shape
    padded = [F.pad(x.float()[None, None], [reach] * 4, mode=mode)[0, 0] for x in (misfit, labels)]
    best, chosen = misfit, labels
    for down, right in itertools.product((0, reach, 2 * reach), repeat=2):
        value, label = (x[down : down + height, right : right + width] for x in padded)
        chosen = torch.where(value < best, label.long(), chosen)
        best = torch.minimum(best, value)
    return chosen


def _each(masks: Sequence[Mask] | None, exemplars: Sequence[Tensor]) -> Sequence[Mask]:
    return [None] * len(exemplars) if masks is None else masks


def _samples(exemplar: Tensor, mask: Mask, side: int) -> Tensor:
    """Features (C, N) of the windows that lie wholly in the mask or, if none does, are centred in it."""
    features = _features(exemplar, side, "reflect")
    if mask is None:
        return features.flatten(1)
    outside = F.pad((~mask).float()[None, None], [side // 2] * 4)
    inner = F.max_pool2d(outside, side, 1)[0, 0] == 0
    return features[:, inner if inner.any() else mask]


def _features(image: Tensor, side: int, mode: str) -> Tensor:
    """(C, H, W) statistics of the window around each pixel; see `classify`."""
    opponents = torch.tensor([[1 / 3, 1 / 3, 1 / 3], [0.5, -0.5, 0.0], [0.25, 0.25, -0.5]])
    colour = torch.einsum("ij,bjhw->bihw", opponents, image)
    responses = [r for scale in (1, 3) for r in _responses(colour, scale, mode)]
    mean = _local_mean(colour, side, mode)
    variance = _local_mean(colour.square(), side, mode) - mean.square()
    energy = _local_mean(torch.cat(responses, 1).square(), side, mode)
    spread = torch.cat([variance.clamp_min(0), energy], 1)
    return torch.cat([mean, 0.5 * torch.log(spread + 1e-5)], 1)[0]


def _responses(colour: Tensor, scale: int, mode: str) -> list[Tensor]:
    """Differences of brightness in four directions, and of each channel between centre and surround."""
    smooth = _local_mean(colour, scale, mode)
    bright = smooth[:, :1]
    height, width = bright.shape[-2:]
    padded = F.pad(bright, [scale] * 4, mode=mode)

    def at(down: int, right: int) -> Tensor:
        return padded[..., scale + down :, scale + right :][..., :height, :width]

    steps = [(0, scale), (scale, 0), (scale, scale), (scale, -scale)]
    return [*(at(y, x) - at(-y, -x) for y, x in steps), smooth - _local_mean(smooth, 2 * scale + 1, mode)]


def _local_mean(values: Tensor, side: int, mode: str) -> Tensor:
    padded = F.pad(values, [side // 2] * 4, mode=mode)
    return F.avg_pool2d(F.avg_pool2d(padded, (side, 1), 1), (1, side), 1)


def label_agreement(
    image: Tensor,
    target: Tensor,
    exemplars: Sequence[Tensor],
    *,
    masks: Sequence[Mask] | None = None,
    wrapped: bool = False,
) -> dict[str, float]:
    """Measures of how well an image's regions show the materials that a label map asks for.

    Args:
        image: (1, 3, H, W).
        target: Label map (H, W).
        exemplars: One (1, 3, h, w) a label.
        masks: Where each exemplar shows its label; none for everywhere.
        wrapped: Image and map repeat.

    Returns:
        `agreement`: part of the pixels farther than 8 px from any boundary that show their label; 1 is best.
        `boundary_px`: median distance from the shown boundaries, less specks, to the target's and back; 64 is the
        most, and nan where neither map has one.
        `halo`: part of the pixels 8 to 24 px from a boundary that do not show their label; nan where there are none.
    """
    shown = classify(image, exemplars, masks=masks, wrapped=wrapped)
    edges = [_edges(labels, wrapped) for labels in (_majority(shown, len(exemplars), wrapped), target)]
    distances = [_distance(edge, wrapped) for edge in edges]
    right, away = shown == target, distances[1] > MARGIN
    gaps = torch.cat([distances[1][edges[0]], distances[0][edges[1]]])
    return {
        "agreement": float(right[away].float().mean()),
        "boundary_px": float(gaps.median()) if len(gaps) else math.nan,
        "halo": float((~right)[away & (distances[1] <= HALO)].float().mean()),
    }


def _majority(labels: Tensor, count: int, wrapped: bool) -> Tensor:
    """Most frequent label of the 9 px window around each pixel."""
    votes = F.one_hot(labels, count).permute(2, 0, 1)[None].float()
    return _local_mean(votes, MAJORITY, "circular" if wrapped else "reflect")[0].argmax(0)


def _edges(labels: Tensor, wrapped: bool) -> Tensor:
    """Pixels whose right or lower neighbour has another label."""
    right, down = labels != labels.roll(-1, 1), labels != labels.roll(-1, 0)
    if not wrapped:
        right[:, -1] = False
        down[-1] = False
    return right | down


def _distance(edges: Tensor, wrapped: bool) -> Tensor:
    """Euclidean distance to the nearest edge in px, 64 at most: down the columns first, then along the rows."""
    squared = torch.where(edges, 0.0, float(REACH**2))
    for axis in (0, 1):
        lines = squared.movedim(axis, -1)
        length = lines.shape[-1]
        ring = torch.arange(-REACH, length + REACH) % length
        padded = lines[:, ring] if wrapped else F.pad(lines, [REACH] * 2, value=float(REACH**2))
        nearest = lines
        for start in range(2 * REACH + 1):
            nearest = torch.minimum(nearest, padded[:, start : start + length] + (start - REACH) ** 2)
        squared = nearest.movedim(-1, axis)
    return squared.sqrt()
