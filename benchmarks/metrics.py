"""Weight-free measures of an expanded texture against its exemplar. Images are float (1, 3, H, W) in [0, 1]."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from likeness import likeness
from torch import Tensor

PATCH, SCALES, PROJECTIONS, SAMPLES = 7, 3, 128, 16384
WINDOW = 128


def grey(image: Tensor) -> Tensor:
    return image.mean(1, keepdim=True)


def patch_distance(first: Tensor, second: Tensor) -> float:
    """Sliced Wasserstein distance of 7x7 patches, mean over three scales (each half of the one before)."""
    total = 0.0
    for scale in range(SCALES):
        if min(*first.shape[-2:], *second.shape[-2:]) < 2 * PATCH:
            return total / max(scale, 1)
        total += _sliced_wasserstein(_patches(first), _patches(second))
        first, second = F.avg_pool2d(first, 2), F.avg_pool2d(second, 2)
    return total / SCALES


def _patches(image: Tensor) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    height, width = image.shape[-2] - PATCH + 1, image.shape[-1] - PATCH + 1
    count = min(SAMPLES, height * width)
    pick = torch.randperm(height * width, generator=generator)[:count]
    reach = torch.arange(PATCH)
    rows, columns = (pick // width)[:, None, None] + reach[:, None], (pick % width)[:, None, None] + reach
    return image[0][:, rows, columns].transpose(0, 1).flatten(1)


def _sliced_wasserstein(first: Tensor, second: Tensor) -> float:
    generator = torch.Generator().manual_seed(1)
    directions = F.normalize(torch.randn(first.shape[1], PROJECTIONS, generator=generator), dim=0)
    levels = torch.linspace(0, 1, 513)
    quantiles = [torch.quantile(patches @ directions, levels, dim=0) for patches in (first, second)]
    return float((quantiles[0] - quantiles[1]).abs().mean())


def own_distance(exemplar: Tensor) -> float:
    """Patch distance between the exemplar's halves: how much it varies."""
    height, width = (side // 2 for side in exemplar.shape[-2:])
    across = patch_distance(exemplar[..., :width], exemplar[..., width:])
    down = patch_distance(exemplar[..., :height, :], exemplar[..., height:, :])
    return (across + down) / 2


def colour_distance(first: Tensor, second: Tensor) -> float:
    """Wasserstein distance of the channels' histograms, in levels of 255."""
    levels = torch.linspace(0, 1, 257)
    ends = [torch.quantile(_thinned(image), levels, dim=1) for image in (first, second)]
    return float((ends[0] - ends[1]).abs().mean()) * 255


def _thinned(image: Tensor) -> Tensor:
    pixels = image[0].flatten(1)
    return pixels[:, :: max(1, pixels.shape[1] // 200_000)]


def saturation(image: Tensor) -> float:
    return float((image.amax(1) - image.amin(1)).mean())


def sharpness(image: Tensor) -> float:
    """Mean absolute difference of neighbouring pixels."""
    return float(image.diff(dim=-1).abs().mean() + image.diff(dim=-2).abs().mean())


def line_percentile(image: Tensor, period: int | None = None) -> float:
    """Rank of the gradient across certain lines among those of all lines, 0 to 100; the worst line of both axes.

    Without `period` it is the border, where the picture meets itself; with it, the lines at its multiples inside.
    """
    worst = 0.0
    for axis in (-1, -2):
        lines = (image - image.roll(1, axis)).abs().mean((0, 1, -2 if axis == -1 else -1))
        chosen = lines[:1] if period is None else lines[period::period]
        for line in chosen:
            worst = max(worst, float((lines[1:] < line).float().mean()) * 100)
    return worst


def seam_ratio(image: Tensor, coordinates: Tensor, factor: int = 8) -> float:
    """Gradient across borders of latent pixels that come from different places of the exemplar, over that across all others.

    Args:
        image: The result.
        coordinates: (3, h, w) map of the start: exemplar number, y, x in exemplar pixels.
        factor: Pixels a side of a latent pixel.
    """
    torn, gradients = [], []
    for picture, where in ((image, coordinates), (image.transpose(-1, -2), coordinates[[0, 2, 1]].transpose(1, 2))):
        height, width = where.shape[1:]
        picture = picture[..., : height * factor, : width * factor]
        step = torch.tensor([0, 0, factor])[:, None, None]
        torn.append(((where - where.roll(1, 2) - step) != 0).any(0)[:, 1:].flatten())
        across = (picture - picture.roll(1, -1)).abs().mean((0, 1))[:, ::factor]
        gradients.append(across.unflatten(0, (-1, factor)).mean(1)[:, 1:].flatten())
    seam, gradient = torch.cat(torn), torch.cat(gradients)
    return float(gradient[seam].mean() / gradient[~seam].mean())


def grid_ratio(image: Tensor, period: int = 8) -> float:
    """Gradient across the lines of the latent grid over the gradient across all others; 1 shows no grid."""
    ratios = []
    for axis in (-1, -2):
        lines = (image - image.roll(1, axis)).abs().mean((0, 1, -2 if axis == -1 else -1))
        on = torch.arange(len(lines)) % period == 0
        ratios.append(float(lines[on].mean() / lines[~on].mean()))
    return max(ratios)


def repetition_peak(image: Tensor, wrapped: bool = True) -> float:
    """Largest autocorrelation away from the origin (24 px) of the high-passed picture, 0 to 1."""
    values = grey(image)
    side = 31
    mode = "circular" if wrapped else "reflect"
    values = values - F.avg_pool2d(F.pad(values, [side // 2] * 4, mode=mode), side, 1)
    pad = [0, 0] if wrapped else list(values.shape[-2:])
    size = [n + p for n, p in zip(values.shape[-2:], pad, strict=True)]
    spectrum = torch.fft.rfft2(values[0, 0], s=size).abs().square()
    correlation = torch.fft.irfft2(spectrum, s=size)
    if not wrapped:
        overlap = torch.fft.irfft2(torch.fft.rfft2(torch.ones_like(values[0, 0]), s=size).abs().square(), s=size)
        correlation = torch.where(overlap > 0.25 * values[0, 0].numel(), correlation / overlap.clamp_min(1), 0.0)
    correlation = correlation / correlation[0, 0]
    rows, columns = (torch.arange(n) for n in size)
    near = torch.minimum(rows, size[0] - rows)[:, None] ** 2 + torch.minimum(columns, size[1] - columns) ** 2 < 24**2
    return float(correlation.masked_fill(near, -1).max())


def worst_window(image: Tensor, exemplar: Tensor) -> float:
    """Patch distance to the exemplar of the most deviant 128 px window over that of the median window."""
    generator = torch.Generator().manual_seed(2)
    filters = torch.randn(32, 3, PATCH, PATCH, generator=generator)
    filters = filters / filters.flatten(1).norm(dim=1)[:, None, None, None]
    levels = torch.linspace(0, 1, 65)
    projected = [F.conv2d(x, filters)[0] for x in (image, exemplar)]
    wanted = torch.quantile(_thinned(projected[1][None]), levels, dim=1)
    side = min(WINDOW, *projected[0].shape[-2:])
    windows = projected[0].unfold(1, side, side // 2).unfold(2, side, side // 2).flatten(1, 2).flatten(2)
    distances = (torch.quantile(windows[..., ::4], levels, dim=2) - wanted[..., None]).abs().mean((0, 1))
    return float(distances.max() / distances.median())


def layout_agreement(image: Tensor, plan: Tensor, side: int = 64) -> float:
    """Correlation of the brightness of `side` px squares between a picture and the plan that it should follow."""
    means = [F.avg_pool2d(grey(picture), side).flatten() for picture in (image, plan)]
    return float(torch.corrcoef(torch.stack(means))[0, 1])


def measure(image: Tensor, exemplar: Tensor, tileable: bool = True) -> dict[str, float]:
    """All measures of one result."""
    return {
        **likeness(image, exemplar)._asdict(),
        "patch": patch_distance(image, exemplar) / own_distance(exemplar),
        "colour": colour_distance(image, exemplar),
        "saturation": saturation(image) / max(saturation(exemplar), 1e-6),
        "sharpness": sharpness(image) / sharpness(exemplar),
        "wrap": line_percentile(image) if tileable else math.nan,
        "repeat": repetition_peak(image, tileable),
        "repeat_own": repetition_peak(exemplar, False),
        "worst": worst_window(image, exemplar),
        "worst_own": worst_window(exemplar, exemplar),
    }
