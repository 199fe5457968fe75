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
        canvas: (1, 1, h, w), uint8: the label of every latent pixel of the canvas.
        exemplars: Of each exemplar crop, (h', w'), uint8; `NONE` for latent pixels that are not to be read: those that show two
            labels.
    """

    canvas: Tensor
    exemplars: Sequence[Tensor]

    @property
    def shown(self) -> list[int]:
        """The labels of the canvas."""
        labels: list[int] = self.canvas.unique().tolist()  # type: ignore[no-untyped-call]
        return labels


def tokens_of(labels: Tensor, tokens: int, label: int) -> Tensor:
    """Which tokens (n,) of an exemplar crop a label may read.

    Those whose nearest latent pixel has the label; where a coarse grid has none, those with the largest share of it; none where the
    crop does not show the label at all.

    Args:
        labels: (h, w) on the latent grid.
        tokens: Of the layer.
        label: The label.
    """
    found = (token_labels(labels[None, None], tokens)[0] == label).nonzero()[:, 0]
    if len(found) or not bool((labels == label).any()):
        return found
    grid = token_grid(canvas_size(labels), tokens)
    shares = F.adaptive_avg_pool2d((labels == label)[None, None].float(), list(grid)).flatten()  # type: ignore[arg-type]
    return (shares == shares.max()).nonzero()[:, 0]


def by_label(found: Sequence[KeyValue], labels: Sequence[Tensor], wanted: Sequence[int]) -> tuple[KeyValue, ...]:
    """Keys and values of all exemplar crops, regrouped: one pair a label, read from the tokens of that label.

    Args:
        found: Of each crop.
        labels: Of each crop, (h, w) on the latent grid.
        wanted: The labels that will be asked for; those below the largest that are not have no tokens.

    Raises:
        ValueError: A wanted label that no crop shows.
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
    """Labels (H, W) of pixels to those of whole latent pixels (H // factor, W // factor), uint8.

    A latent pixel that shows two labels has none; a label that no latent pixel shows alone has the latent pixels that show the most of it.
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
    """The label in the middle of every latent pixel, (h, w), uint8."""
    return target[factor // 2 :: factor, factor // 2 :: factor].contiguous()


def clear_labels(target: Tensor, factor: int) -> Tensor:
    """The label of every latent pixel that shows one alone, (h, w), uint8; `NONE` for the others."""
    found = middle_labels(target, factor)
    one = target.unfold(0, factor, factor).unfold(1, factor, factor).flatten(2)
    return torch.where((one == found[..., None]).all(2), found, torch.tensor(NONE, dtype=torch.uint8))
