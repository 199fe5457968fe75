"""Weight-free measures of an expanded texture against its exemplar. Images are float (1, 3, H, W) in [0, 1]."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

PATCH, SCALES, PROJECTIONS, SAMPLES = 7, 3, 128, 16384
COPY_CELL, COPY_RUN = 16, 64
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
    """The exemplar's halves against each other: how unlike itself it is."""
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
    """Where the gradient across certain lines ranks among all lines' gradients, 0 to 100; the worst line of both axes.

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
    """Gradient across borders of cells that come from different places of the exemplar, over that across all others.

    Args:
        image: The result.
        coordinates: (3, h, w) map of the quilt it began with: exemplar number, y, x in exemplar pixels.
        factor: Pixels of a cell.
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


def verbatim_fraction(image: Tensor, exemplars: list[Tensor]) -> float:
    """Part of the result that is copied from the exemplar in straight runs of more than 64 px.

    Every 16 px cell, at half resolution, looks for its nearest exemplar patch; a cell is copied where the match is
    close and more than four cells in a row, or in a column, keep the same displacement to within 2 px.
    """
    side = COPY_CELL // 2
    half = F.avg_pool2d(image, 2)
    cells = F.unfold(half, side, stride=side)[0].T
    rows = half.shape[-2] // side
    best = torch.full((len(cells),), math.inf)
    where = torch.zeros(len(cells), 3, dtype=torch.long)
    for number, exemplar in enumerate(exemplars):
        small = F.avg_pool2d(exemplar, 2)
        table = F.unfold(small, side)[0].T
        width = small.shape[-1] - side + 1
        energy = table.square().sum(1)
        for start in range(0, len(cells), 512):
            part = cells[start : start + 512]
            value, index = (energy - 2 * part @ table.T).min(1)
            value = value + part.square().sum(1)
            better = value < best[start : start + 512]
            place = torch.stack([torch.full_like(index, number), index // width, index % width], 1)
            best[start : start + 512] = torch.where(better, value, best[start : start + 512])
            where[start : start + 512] = torch.where(better[:, None], place, where[start : start + 512])
    grid_y, grid_x = torch.meshgrid(torch.arange(rows), torch.arange(half.shape[-1] // side), indexing="ij")
    where = where.view(*grid_y.shape, 3)
    offset = torch.stack([where[..., 0] * 10_000, where[..., 1] - grid_y * side, where[..., 2] - grid_x * side], -1)
    close = (best < 0.15 * cells.var(0).sum()).view(grid_y.shape)
    copied = torch.zeros_like(close)
    for axis in (0, 1):
        same = (offset.diff(dim=axis).abs().amax(-1) <= 1) & close.narrow(axis, 0, close.shape[axis] - 1)
        same &= close.narrow(axis, 1, close.shape[axis] - 1)
        run = COPY_RUN // COPY_CELL
        for start in range(close.shape[axis] - run):
            whole = same.narrow(axis, start, run).all(axis, keepdim=True)
            copied.narrow(axis, start, run + 1).logical_or_(whole)
    return float(copied.float().mean())


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
    """Correlation of the brightness of `side` px squares of a picture and of the plan it should keep."""
    means = [F.avg_pool2d(grey(picture), side).flatten() for picture in (image, plan)]
    return float(torch.corrcoef(torch.stack(means))[0, 1])


def measure(
    image: Tensor, exemplar: Tensor, tileable: bool = True, coordinates: Tensor | None = None, tile_px: int = 512
) -> dict[str, float]:
    """All measures of one result; `coordinates` is the quilt's map, where there is one."""
    return {
        "patch": patch_distance(image, exemplar) / own_distance(exemplar),
        "colour": colour_distance(image, exemplar),
        "saturation": saturation(image) / max(saturation(exemplar), 1e-6),
        "sharpness": sharpness(image) / sharpness(exemplar),
        "wrap": line_percentile(image) if tileable else math.nan,
        "tiles": line_percentile(image, tile_px) if min(image.shape[-2:]) > tile_px else math.nan,
        "grid": grid_ratio(image),
        "grid_own": grid_ratio(exemplar),
        "seams": math.nan if coordinates is None else seam_ratio(image, coordinates),
        "repeat": repetition_peak(image, tileable),
        "repeat_own": repetition_peak(exemplar, False),
        "verbatim": verbatim_fraction(image, [exemplar]),
        "worst": worst_window(image, exemplar),
        "worst_own": worst_window(exemplar, exemplar),
    }
