"""What all denoising networks share: a place, a precision, a condition repeated to the batch, attention's projections."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn


class OfNetwork(ABC):
    """What has a network knows where it is, and in which precision."""

    @property
    @abstractmethod
    def network(self) -> Any:
        """The denoising network."""

    @property
    def device(self) -> torch.device:
        """Of the network."""
        device: torch.device = self.network.device
        return device

    @property
    def dtype(self) -> torch.dtype:
        """Of the network."""
        dtype: torch.dtype = self.network.dtype
        return dtype

    @contextmanager
    def in_float32(self) -> Iterator[None]:
        """Within, the network computes in float32."""
        dtype = self.dtype
        nn.Module.to(self.network, torch.float32)  # diffusers' own warns of every cast
        try:
            yield
        finally:
            nn.Module.to(self.network, dtype)


class Projected(NamedTuple):
    """What an attention layer compares, each (B, heads, tokens, head_dim)."""

    query: Tensor
    key: Tensor
    value: Tensor


def project(attention: Any, tokens: Tensor) -> Projected:
    """Tokens (B, tokens, width) by a module's own projections, neither normalised nor turned."""
    query, key, value = (
        layer(tokens).unflatten(-1, (attention.heads, -1)).transpose(1, 2)
        for layer in (attention.to_q, attention.to_k, attention.to_v)
    )
    return Projected(query, key, value)


class LastLayerReached(Exception):
    """Ends a forward pass at the last layer that is needed."""


@contextmanager
def recomputing(network: Any, wanted: bool) -> Iterator[None]:
    """Within, if it is wanted, blocks keep what goes into them only, and are computed again for the gradient: a third more time, a fraction of the memory,
    the same gradients."""
    if wanted:
        network.enable_gradient_checkpointing()
    try:
        yield
    finally:
        if wanted:
            network.disable_gradient_checkpointing()


def repeated(condition: Any, batch: int, dtype: torch.dtype) -> Any:
    """A condition (1, ...) for a batch, in the network's precision; what is of the batch already stays."""
    if isinstance(condition, Mapping):
        return {name: repeated(inner, batch, dtype) for name, inner in condition.items()}
    if isinstance(condition, list | tuple):
        return [repeated(inner, batch, dtype) for inner in condition]
    return condition.to(dtype).expand(batch, *condition.shape[1:])
