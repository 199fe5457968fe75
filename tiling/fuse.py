"""Cut tiles out of a canvas and fuse overlapping tiles back, in float32."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from tiling.geometry import Size, Tile, Wrap


def canvas_size(canvas: Tensor) -> Size:
    """Size of the last two axes."""
    return Size(canvas.shape[-2], canvas.shape[-1])


def cut(canvas: Tensor, tile: Tile) -> Tensor:
    """The part of a canvas (..., H, W) inside a tile, wrapped where the tile crosses the border. Differentiable."""
    size = canvas_size(canvas)
    rows = torch.from_numpy(tile.rows(size)).to(canvas.device)
    columns = torch.from_numpy(tile.columns(size)).to(canvas.device)
    return canvas[..., rows[:, None], columns]


def cut_batch(canvas: Tensor, tiles: Sequence[Tile]) -> Tensor:
    """Tiles of a canvas (1, C, H, W) as one batch (len(tiles), C, h, w)."""
    return torch.cat([cut(canvas, tile) for tile in tiles])


def cut_from(values: Tensor, held: Tile, wanted: Tile) -> Tensor:
    """The part inside the tile `wanted` of values (..., H, W) that cover the tile `held`; a view.

    Example:
        >>> cut_from(torch.arange(12).view(3, 4), Tile(2, 2, 5, 6), Tile(3, 3, 5, 5)).tolist()
        [[5, 6], [9, 10]]
    """
    top, left = wanted.top - held.top, wanted.left - held.left
    return values[..., top : top + wanted.size.height, left : left + wanted.size.width]


def bordered(canvas: Tensor, margin: int, wrap: Wrap) -> Tensor:
    """A canvas (B, C, H, W) padded by `margin` on every side: wrapped, or with the border repeated."""
    canvas = F.pad(canvas, (margin, margin, 0, 0), mode="circular" if wrap.x else "replicate")
    return F.pad(canvas, (0, 0, margin, margin), mode="circular" if wrap.y else "replicate")


class Accumulator:
    """Weighted mean of overlapping tiles (MultiDiffusion), summed on the CPU in float32 whatever the tiles' device and dtype.

    Args:
        channels: Channels of the canvas.
        canvas: Size of the canvas.

    References:
        Bar-Tal et al., "MultiDiffusion: Fusing Diffusion Paths for Controlled Image Generation", ICML 2023,
        https://arxiv.org/abs/2302.08113, Eq. 5.
    """

    def __init__(self, channels: int, canvas: Size) -> None:
        self.canvas = canvas
        self.values = torch.zeros(1, channels, *canvas)
        self.weights = torch.zeros(1, 1, *canvas)

    def add(self, tile: Tile, values: Tensor, window: Tensor) -> None:
        """Add a tile's values (1, C, h, w) with its window (h, w)."""
        rows, columns = tile.rows(self.canvas)[:, None], tile.columns(self.canvas)
        window = window.cpu()
        self.values[..., rows, columns] += values.to("cpu", torch.float32) * window
        self.weights[..., rows, columns] += window

    def mean(self, elsewhere: Tensor | None = None) -> Tensor:
        """The fused canvas (1, C, H, W), float32.

        Args:
            elsewhere: Values of pixels that no tile covers, (1, C, H, W); if None, all pixels must be covered.

        Raises:
            ValueError: No tile covers some pixel, and `elsewhere` is None.
        """
        covered = self.weights > 0
        if elsewhere is not None:
            return torch.where(covered, self.values / self.weights.where(covered, 1), elsewhere)
        if not bool(covered.all()):
            bare = int((~covered).sum())
            raise ValueError(f"{bare} of {self.canvas.area} pixels are covered by no tile; plan tiles that cover all.")
        return self.values / self.weights
