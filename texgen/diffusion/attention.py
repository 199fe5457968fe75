"""Attention to the keys and values of another picture, with labels and weights; and the features of an attention layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from tiling import Size, canvas_size

InjectionMode = Literal["replace", "beside"]


class LayerFeatures(NamedTuple):
    """Tensors of one self-attention layer, each (B, heads, tokens, head_dim)."""

    query: Tensor
    key: Tensor
    value: Tensor
    output: Tensor


class KeyValue(NamedTuple):
    """Keys and values of one layer, each (B, heads, tokens, head_dim), and optionally the logarithm of each token's weight, (tokens,)."""

    key: Tensor
    value: Tensor
    bias: Tensor | None = None


Features = dict[str, LayerFeatures]
"""Tensors of layers by name."""
ExemplarKeyValues = Mapping[str, Sequence[KeyValue]]
"""Keys and values by layer, one pair per label; a single pair without labels."""


def attend(query: Tensor, exemplar: Sequence[KeyValue], labels: Tensor | None, own: KeyValue | None = None) -> Tensor:
    """Attention of queries to the exemplar tokens of their label and, if given, to the tokens of their own tile.

    softmax(Q [K, K_l]^T / sqrt(head_dim) + log weight) [V, V_l], where l is the query's label and K, V are left out without `own`.

    Args:
        query: Queries of a batch of tiles, (B, heads, tokens, head_dim).
        exemplar: Keys and values, batch 1, one pair per label; a single pair without labels.
        labels: Labels of the queries, (B, tokens), or None.
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
    """Keys and values concatenated along the tokens; tokens without a bias have weight 1."""
    key, value = (torch.cat([part[i] for part in parts], 2) for i in (0, 1))  # type: ignore[misc]
    if all(part.bias is None for part in parts):
        return KeyValue(key, value)
    biases = [key.new_zeros(part.key.shape[2]) if part.bias is None else part.bias.to(key) for part in parts]
    return KeyValue(key, value, torch.cat(biases))


def token_grid(size: Size, tokens: int) -> Size:
    """The grid of a layer with a number of tokens, for latents of a size: the size halved, rounding up, until it fits.

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
    """Labels of a layer's tokens, (B, tokens), from labels on the latent grid, (B, 1, h, w), by nearest neighbour."""
    grid = token_grid(canvas_size(labels), tokens)
    return F.interpolate(labels.float(), tuple(grid), mode="nearest-exact").flatten(1).long()
