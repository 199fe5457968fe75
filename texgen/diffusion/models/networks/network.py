"""Code shared by all denoising networks: device and dtype, projections of attention, gradient checkpointing."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn


class OfNetwork(ABC):
    """Base of classes with a network: its device, its dtype, and a switch to float32."""

    @property
    @abstractmethod
    def network(self) -> Any:
        """The denoising network."""

    @property
    def device(self) -> torch.device:
        """Device of the network."""
        device: torch.device = self.network.device
        return device

    @property
    def dtype(self) -> torch.dtype:
        """Dtype of the network."""
        dtype: torch.dtype = self.network.dtype
        return dtype

    @contextmanager
    def in_float32(self) -> Iterator[None]:
        """Context in which the network computes in float32."""
        dtype = self.dtype
        nn.Module.to(self.network, torch.float32)  # diffusers' own `to` warns about every cast
        try:
            yield
        finally:
            nn.Module.to(self.network, dtype)


class Projected(NamedTuple):
    """Queries, keys and values of an attention layer, each (B, heads, tokens, head_dim)."""

    query: Tensor
    key: Tensor
    value: Tensor


def project(attention: Any, tokens: Tensor) -> Projected:
    """Project tokens (B, tokens, width) by an attention module's weights, without norms or rotary embedding."""
    query, key, value = (
        layer(tokens).unflatten(-1, (attention.heads, -1)).transpose(1, 2)
        for layer in (attention.to_q, attention.to_k, attention.to_v)
    )
    return Projected(query, key, value)


class LastLayerReached(Exception):
    """Ends a forward pass at the last layer that is needed."""


@contextmanager
def recomputing(network: Any, wanted: bool) -> Iterator[None]:
    """Context with gradient checkpointing, if wanted: blocks save only their input, and are computed again in the backward pass.

    It takes a third more time and a fraction of the memory, and gives the same gradients.
    """
    if wanted:
        network.enable_gradient_checkpointing()
    try:
        yield
    finally:
        if wanted:
            network.disable_gradient_checkpointing()


def repeated(condition: Any, batch: int, dtype: torch.dtype) -> Any:
    """A condition (1, ...) expanded to a batch, in the network's dtype; tensors that already have the batch's size keep it."""
    if isinstance(condition, Mapping):
        return {name: repeated(inner, batch, dtype) for name, inner in condition.items()}
    if isinstance(condition, list | tuple):
        return [repeated(inner, batch, dtype) for inner in condition]
    return condition.to(dtype).expand(batch, *condition.shape[1:])
