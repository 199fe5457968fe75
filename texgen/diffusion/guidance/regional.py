"""Attention by regions: a token reads only exemplar tokens of its own label."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from texgen.diffusion.attention import KeyValue, joined, token_grid, token_labels
from texgen.materials.exemplar import NONE
from tiling import canvas_size


@dataclass(frozen=True)
class Regions:
    """Labels on the latent grid.

    Attributes:
        canvas: Label of every latent pixel of the canvas, (1, 1, h, w), uint8.
        exemplars: Labels of each exemplar crop, (h', w'), uint8; `NONE` for latent pixels that must not be read, such as those that
            show two labels.
    """

    canvas: Tensor
    exemplars: Sequence[Tensor]

    @property
    def shown(self) -> list[int]:
        """The labels of the canvas."""
        labels: list[int] = self.canvas.unique().tolist()  # type: ignore[no-untyped-call]
        return labels


def tokens_of(labels: Tensor, tokens: int, label: int) -> Tensor:
    """Indices (n,) of the tokens of an exemplar crop that have a label.

    These are the tokens whose nearest latent pixel has the label. If a coarse grid has none, they are those with the largest share of
    the label; if the crop does not show the label at all, there are none.

    Args:
        labels: Labels on the latent grid, (h, w).
        tokens: Number of tokens of the layer.
        label: The label.
    """
    found = (token_labels(labels[None, None], tokens)[0] == label).nonzero()[:, 0]
    if len(found) or not bool((labels == label).any()):
        return found
    grid = token_grid(canvas_size(labels), tokens)
    shares = F.adaptive_avg_pool2d((labels == label)[None, None].float(), list(grid)).flatten()  # type: ignore[arg-type]
    return (shares == shares.max()).nonzero()[:, 0]


def by_label(found: Sequence[KeyValue], labels: Sequence[Tensor], wanted: Sequence[int]) -> tuple[KeyValue, ...]:
    """Keys and values of all exemplar crops, grouped by label: one pair per label, from the tokens with that label.

    Args:
        found: Keys and values of each crop.
        labels: Labels of each crop on the latent grid, (h, w).
        wanted: Labels that must have tokens; the result has a pair for each label from 0 to the largest of them.

    Raises:
        ValueError: No crop shows a wanted label.
    """
    grouped = []
    for label in range(max(wanted) + 1):
        parts = []
        for kv, crop in zip(found, labels, strict=True):
            index = tokens_of(crop, kv.key.shape[2], label).to(kv.key.device)
            parts.append(
                KeyValue(kv.key[:, :, index], kv.value[:, :, index], None if kv.bias is None else kv.bias[index])
            )
        grouped.append(joined(parts))
        if grouped[-1].key.shape[2] == 0 and label in wanted:
            raise ValueError(f"label {label} has no token in any exemplar.")
    return tuple(grouped)


def latent_labels(pixels: Tensor, factor: int, count: int) -> Tensor:
    """Labels of latent pixels, (H // factor, W // factor), uint8, from labels of pixels, (H, W).

    A latent pixel that shows two labels gets `NONE`, except that a label that no latent pixel shows alone gets those that show most of it.
    """
    found = torch.full((pixels.shape[0] // factor, pixels.shape[1] // factor), NONE, dtype=torch.uint8)
    shares = [F.avg_pool2d((pixels == label)[None].float(), factor)[0] for label in range(count)]
    for label, share in enumerate(shares):
        found[share == 1] = label
    for label, share in enumerate(shares):
        most = float(share.max())
        if 0 < most < 1:
            found[(share == most) & (found == NONE)] = label
    return found


def middle_labels(target: Tensor, factor: int) -> Tensor:
    """Label at the middle of every latent pixel, (h, w), uint8."""
    return target[factor // 2 :: factor, factor // 2 :: factor].contiguous()


def clear_labels(target: Tensor, factor: int) -> Tensor:
    """Label of every latent pixel, (h, w), uint8; `NONE` for those that show more than one label."""
    found = middle_labels(target, factor)
    one = target.unfold(0, factor, factor).unfold(1, factor, factor).flatten(2)
    return torch.where((one == found[..., None]).all(2), found, torch.tensor(NONE, dtype=torch.uint8))
