"""Global statistics of Stable Diffusion's autoencoder on a canvas, moments of norms and tokens of attention, and how they are held fixed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from diffusers.models.attention_processor import Attention
from diffusers.models.resnet import ResnetBlock2D
from torch import Tensor, nn

Part = Literal["encoder", "decoder"]


class Moments(NamedTuple):
    """Mean and variance of the groups of one group norm, each (groups,), float32."""

    mean: Tensor
    variance: Tensor


@dataclass(frozen=True, kw_only=True)
class CanvasStatistics:
    """Global statistics that the encoder or the decoder needs of a canvas. Their size is bounded, whatever the canvas' size.

    Attributes:
        part: Encoder or decoder.
        norms: Moments of every group norm, by its name within the part.
        tokens: Normalised tokens (1, tokens, channels) for the keys and values of each attention, by its name.
    """

    part: Part = "decoder"
    norms: dict[str, Moments] = field(default_factory=dict)
    tokens: dict[str, Tensor] = field(default_factory=dict)


@contextmanager
def fixed_statistics(autoencoder: AutoencoderKL, statistics: CanvasStatistics) -> Iterator[None]:
    """Context in which the measured part uses the canvas' statistics in its norms and its attention, instead of those of the tile.

    Norms and attention are restored afterwards.

    Example:
        `with fixed_statistics(vae, statistics): image = vae.decode(tile_latents).sample`
    """
    part = getattr(autoencoder, statistics.part)
    norms = {name: part.get_submodule(name) for name in statistics.norms}
    hooks = []
    try:
        for name, norm in norms.items():
            part.set_submodule(name, _FixedNorm(norm, statistics.norms[name]))
        for name, tokens in statistics.tokens.items():
            attention = part.get_submodule(name)
            hooks.append(attention.register_forward_pre_hook(_attending(tokens), with_kwargs=True))
        yield
    finally:
        for hook in hooks:
            hook.remove()
        for name, norm in norms.items():
            part.set_submodule(name, norm)


class _FixedNorm(nn.Module):
    """A group norm with given moments, computed as a batch norm in evaluation mode: one pass, float32 inside."""

    def __init__(self, norm: nn.GroupNorm, moments: Moments) -> None:
        super().__init__()
        self.norm = norm
        self.mean, self.variance = (m.repeat_interleave(norm.num_channels // norm.num_groups) for m in moments)

    def forward(self, x: Tensor) -> Tensor:
        scale, shift = self.norm.weight.float(), self.norm.bias.float()
        return F.batch_norm(x, self.mean, self.variance, scale, shift, eps=self.norm.eps)


def _attending(tokens: Tensor) -> Callable[..., Any]:
    def give_tokens(_attention: Attention, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        batch = args[0].shape[0]
        return args, kwargs | {"encoder_hidden_states": tokens.expand(batch, -1, -1)}

    return give_tokens


def norm_inputs(name: str, stage: nn.Module) -> dict[str, Callable[[Tensor], Tensor]]:
    """The names of a stage's norms, in order, each with a function from the stage's input to the norm's input."""
    if isinstance(stage, ResnetBlock2D):
        return {
            f"{name}.norm1": lambda x: x,
            f"{name}.norm2": lambda x: stage.conv1(stage.nonlinearity(stage.norm1(x))),
        }
    if isinstance(stage, Attention):
        return {f"{name}.group_norm": lambda x: x}
    return {name: lambda x: x} if isinstance(stage, nn.GroupNorm) else {}


def pooled(parts: Iterable[Tensor], groups: int) -> Moments:
    """Moments over all parts (1, C, h, w) as if they were one image."""
    sizes, means, variances = [], [], []
    for part in parts:
        variance, mean = torch.var_mean(part.float().reshape(groups, -1), 1, correction=0)
        sizes.append(part.shape[-2] * part.shape[-1])
        means.append(mean)
        variances.append(variance)
    share = (torch.tensor(sizes) / sum(sizes)).to(means[0].device)
    mean = share @ torch.stack(means)
    return Moments(mean, share @ (torch.stack(variances) + (torch.stack(means) - mean).square()))


def thinned(parts: Sequence[Tensor], most: int) -> Tensor:
    """Tokens of all parts (1, tokens, C), thinned by a common step so that at most `most` remain."""
    step = -(-sum(part.shape[1] for part in parts) // most)
    return torch.cat([part[:, : part.shape[1] // step * step : step] for part in parts], 1)
