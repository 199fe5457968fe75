"""Memory that autograd saves in an AD iteration, found by tracing the network on the meta device."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.overrides import TorchFunctionMode

from texgen.diffusion.denoising import Denoiser
from texgen.diffusion.models.prompts import moved
from tiling import Size


def kept_bytes(
    network: Any,
    condition: Mapping[str, Any],
    layers: Sequence[str],
    channels: int,
    tile: Size,
    recomputed: bool,
    opened: Callable[[Any, Mapping[str, Any]], AbstractContextManager[Denoiser]],
) -> int:
    """Bytes that autograd saves for the features of one tile; if blocks are recomputed, plus those of the largest block.

    Args:
        network: The network, on any device; it does not run.
        condition: Keyword arguments of its calls, batch 1.
        layers: Layers whose features are compared, in order of execution.
        channels: Channels of the latents.
        tile: Size in latent pixels.
        recomputed: Whether each block saves only its input (gradient checkpointing).
        opened: Gives a network of this kind as a denoiser.
    """
    with torch.device("meta"):
        ghost = type(network).from_config(network.config)
    nn.Module.to(ghost, network.dtype).requires_grad_(False).eval()  # diffusers' own `to` warns about every cast
    kept, blocks = _Kept(ghost), [0]

    def alone(block: nn.Module, *inputs: Any) -> Any:
        inside = _Kept(ghost)
        for each in inputs:
            if isinstance(each, Tensor) and each.requires_grad:
                kept.pack(each)
        with inside.watching():
            result = block(*inputs)
        blocks.append(inside.total)
        return result

    if recomputed:
        ghost.enable_gradient_checkpointing(alone)
    latents = torch.empty(1, channels, *tile, device="meta", requires_grad=True)
    with _FusedAttention(), opened(ghost, moved(condition, torch.device("meta"))) as tap, kept.watching():
        features = tap.features(latents, 0, layers)
        for layer in features.values():
            layer.output.float().abs().mean()
    return kept.total + max(blocks)


class _Kept:
    """Total size of the tensors that autograd saves, each counted once, without the network's weights."""

    def __init__(self, network: nn.Module) -> None:
        self.total = 0
        self._seen: dict[int, Tensor] = {
            tensor.untyped_storage()._cdata: tensor for tensor in network.state_dict().values()
        }

    def watching(self) -> saved_tensors_hooks:
        """Context in which saved tensors are counted."""
        return saved_tensors_hooks(self.pack, lambda tensor: tensor)

    def pack(self, tensor: Tensor) -> Tensor:
        """Count a tensor, and hold a reference to it, so that its storage is not reused for another."""
        memory = tensor.untyped_storage()
        if memory._cdata not in self._seen:
            self._seen[memory._cdata] = tensor
            self.total += memory.nbytes()
        return tensor


class _Attention(torch.autograd.Function):
    """Attention that saves what a fused kernel does: inputs and output, but not the matrix of queries times keys."""

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        output = query.new_empty(*query.shape[:-1], value.shape[-1])
        ctx.save_for_backward(query, key, value, output)
        return output


class _FusedAttention(TorchFunctionMode):
    """Context in which attention saves what a fused kernel would; the meta device does not run these kernels."""

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if function is F.scaled_dot_product_attention:
            return _kept_by_a_kernel(*args, **(kwargs or {}))
        return function(*args, **(kwargs or {}))


def _kept_by_a_kernel(query: Tensor, key: Tensor, value: Tensor, *_: Any, **_options: Any) -> Tensor:
    output: Tensor = _Attention.apply(query, key, value)  # type: ignore[no-untyped-call]
    return output
