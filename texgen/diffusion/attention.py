"""Attention itself: what a layer computes, and queries that read the keys and values of another picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from tiling import Size, canvas_size

InjectionMode = Literal["replace", "beside"]


class LayerFeatures(NamedTuple):
    """What one self-attention layer computed, each (B, heads, tokens, head_dim)."""

    query: Tensor
    key: Tensor
    value: Tensor
    output: Tensor


class KeyValue(NamedTuple):
    """Keys and values of one layer, each (B, heads, tokens, head_dim), and the logarithm of each token's weight, if any."""

    key: Tensor
    value: Tensor
    bias: Tensor | None = None


Features = dict[str, LayerFeatures]
"""By the layer's name."""
ExemplarKeyValues = Mapping[str, Sequence[KeyValue]]
"""Per layer, one pair a label; a single one where there are no labels."""


def attend(query: Tensor, exemplar: Sequence[KeyValue], labels: Tensor | None, own: KeyValue | None = None) -> Tensor:
    """Attention of queries (B, heads, tokens, head_dim) to exemplar tokens of their label, beside their own tile's if given.

    softmax(Q [K, K_l]^T / sqrt(head_dim) + log weight) [V, V_l], l the query's label.

    Args:
        query: Of a batch of tiles.
        exemplar: One pair a label, batch 1; a single one where there are no labels.
        labels: (B, tokens) of the queries; None where there are none.
        own: The tiles' own keys and values, batch B.
    """
    if labels is None:
        return _attended(query, exemplar[0], own)
    result = torch.empty_like(query)
    for tile, tile_labels in enumerate(labels):
        here = None if own is None else KeyValue(own.key[tile : tile + 1], own.value[tile : tile + 1])
        for label in tile_labels.unique().tolist():
            index = (tile_labels == label).nonzero()[:, 0].to(query.device)
            result[tile, :, index] = _attended(query[tile : tile + 1, :, index], exemplar[label], here)[0]
    return result


def _attended(query: Tensor, exemplar: KeyValue, own: KeyValue | None) -> Tensor:
    key, value = (t.to(query.dtype).expand(len(query), -1, -1, -1) for t in (exemplar.key, exemplar.value))
    read = KeyValue(key, value, exemplar.bias)
    if own is not None:
        read = joined([own, read])
    bias = None if read.bias is None else read.bias.to(query)[None, None, None]
    return F.scaled_dot_product_attention(query, read.key, read.value, attn_mask=bias)


def joined(parts: Sequence[KeyValue]) -> KeyValue:
    """Keys and values after each other; without a bias a token weighs 1."""
    key, value = (torch.cat([part[i] for part in parts], 2) for i in (0, 1))  # type: ignore[misc]
    if all(part.bias is None for part in parts):
        return KeyValue(key, value)
    biases = [key.new_zeros(part.key.shape[2]) if part.bias is None else part.bias.to(key) for part in parts]
    return KeyValue(key, value, torch.cat(biases))


def token_grid(size: Size, tokens: int) -> Size:
    """The grid of a layer with so many tokens, for latents of a size: halved, rounding up, until it fits.

    Raises:
        ValueError: No halving gives this number of tokens.

    Example:
        >>> token_grid(Size(9, 16), 40)
        Size(height=5, width=8)
    """
    grid = size
    while grid.area > tokens:
        grid = Size(-(-grid.height // 2), -(-grid.width // 2))
    if grid.area != tokens:
        raise ValueError(f"{tokens} tokens are no halving of {size} latents.")
    return grid


def token_labels(labels: Tensor, tokens: int) -> Tensor:
    """Labels (B, 1, h, w) on the latent grid as labels of a layer's tokens (B, tokens), by nearest neighbour."""
    grid = token_grid(canvas_size(labels), tokens)
    return F.interpolate(labels.float(), tuple(grid), mode="nearest-exact").flatten(1).long()
