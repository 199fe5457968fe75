"""Stable Diffusion's decoder on tiles of a canvas: what looks at the whole image is measured once, then held fixed.

The decoder is local but for its group norms and the one self-attention of its middle block. Given both for the whole
canvas, what is left is convolutions, and a tile read with enough halo decodes to its part of the whole image.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from diffusers.models.attention_processor import Attention
from diffusers.models.resnet import ResnetBlock2D
from diffusers.models.unets.unet_2d_blocks import UpDecoderBlock2D
from diffusers.models.upsampling import Upsample2D
from torch import Tensor, nn

from texgen.errors import ModelError, OptionError
from tiling import Size, Tile, Wrap, cut_from, plan_cores, spread_tiles, tile_size

HALO = 12
COVER, MOST_COVERS = Size(32, 32), 16
SAMPLE, MOST_SAMPLES = Size(16, 16), 64
MOST_TOKENS = 16384


class Moments(NamedTuple):
    """Mean and variance of the groups of one norm, each (groups,), float32."""

    mean: Tensor
    variance: Tensor


@dataclass(frozen=True, kw_only=True)
class CanvasStatistics:
    """What the decoder wants to know of a whole canvas; its size does not depend on the canvas.

    Attributes:
        norms: Moments of every group norm, by its name within the decoder.
        tokens: What each attention makes its keys and values of: normalised tokens (1, tokens, channels), by its name.
    """

    norms: dict[str, Moments] = field(default_factory=dict)
    tokens: dict[str, Tensor] = field(default_factory=dict)


def sample_tiles(canvas: Size) -> list[Tile]:
    """Tiles to measure on: up to 16 of 32 latents a side that cover the canvas once, else 64 of 16 spread evenly.

    Both are at most 128 x 128 latents in all. Smaller tiles see more of a large canvas, but cost more context.

    Example:
        >>> len(sample_tiles(Size(33, 20))), len(sample_tiles(Size(512, 512)))
        (2, 64)
    """
    cover = plan_cores(canvas, COVER)
    return cover if len(cover) <= MOST_COVERS else spread_tiles(canvas, tile_size(SAMPLE, canvas), MOST_SAMPLES)


def exact_halo(autoencoder: AutoencoderKL) -> int:
    """Latent pixels of context that a decoded pixel depends on, statistics given; a larger halo changes nothing.

    Raises:
        ModelError: As `gather_statistics`.
    """
    return _margins(_stages(autoencoder))[0]


@torch.no_grad()
def gather_statistics(
    autoencoder: AutoencoderKL,
    read: Callable[[Tile], Tensor],
    canvas: Size,
    wrap: Wrap,
    *,
    samples: Sequence[Tile] | None = None,
    most_tokens: int = MOST_TOKENS,
) -> CanvasStatistics:
    """Measure on sample tiles what the decoder's norms and attention see of a canvas.

    The samples pass the decoder together, layer by layer, so that every norm is measured behind norms that already hold
    the canvas's moments. Each sample is read with all the context it depends on, which is cut away as the layers use it
    up; only what lies inside the sample counts. Samples that cover the canvas once give the moments of a whole decode.

    Args:
        autoencoder: Of Stable Diffusion 1, 2 or XL, in any dtype, on any device.
        read: Gives the latents (1, C, h, w) of a tile, divided by the scaling factor; the tile may pass a wrapped border.
        canvas: In latent pixels.
        wrap: Axes that close to a ring.
        samples: Tiles to measure on, in any order. More stand better for a large canvas, and cost time and memory. By
            default `sample_tiles`.
        most_tokens: Tokens that attention reads at most; more are thinned evenly. Fewer cost less time per tile.

    Raises:
        ModelError: The decoder has blocks that are not known here.
        OptionError: `most_tokens` is less than one per sample.

    References:
        "Tiled VAE" of multidiffusion-upscaler-for-automatic1111, 2023, holds group norms in step across all tiles,
        https://github.com/pkuliyi2015/multidiffusion-upscaler-for-automatic1111.
    """
    stages = _stages(autoencoder)
    samples = sample_tiles(canvas) if samples is None else samples
    if most_tokens < len(samples):
        raise OptionError(f"most_tokens={most_tokens} is less than the {len(samples)} samples; allow one for each.")
    margins = _margins(stages)
    lockstep = _Lockstep(samples, canvas, wrap, margins[0], autoencoder.device)
    lockstep.values = [_as_decoder_input(autoencoder, read(tile)).cpu() for tile in lockstep.held()]
    found = CanvasStatistics()
    for (stage, following), margin in zip(pairwise(stages), margins[1:], strict=True):
        with fixed_statistics(autoencoder, found):
            lockstep.advance(autoencoder.decoder.get_submodule(stage), margin)
        _measure(autoencoder, following, lockstep, most_tokens, found)
    return found


@contextmanager
def fixed_statistics(autoencoder: AutoencoderKL, statistics: CanvasStatistics) -> Iterator[None]:
    """Within, the decoder normalises by, and attends to, what was measured on the canvas, not the tile at hand.

    Norms and attention are as found afterwards, whatever happens.

    Example:
        `with fixed_statistics(vae, statistics): image = vae.decode(tile_latents).sample`
    """
    decoder = autoencoder.decoder
    norms = {name: decoder.get_submodule(name) for name in statistics.norms}
    hooks = []
    try:
        for name, norm in norms.items():
            decoder.set_submodule(name, _FixedNorm(norm, statistics.norms[name]))
        for name, tokens in statistics.tokens.items():
            attention = decoder.get_submodule(name)
            hooks.append(attention.register_forward_pre_hook(_attending(tokens), with_kwargs=True))
        yield
    finally:
        for hook in hooks:
            hook.remove()
        for name, norm in norms.items():
            decoder.set_submodule(name, norm)


class _FixedNorm(nn.Module):
    """A group norm with given moments, which is batch norm in evaluation: float32 inside, one pass."""

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


class _Lockstep:
    """Sample tiles on their way through the decoder, all behind the same layer; they wait on the CPU, one is on the device.

    Attributes:
        cores: The tiles themselves, on the canvas at the present resolution.
        margin: Context that is still held around each.
        values: Per tile (1, C, h, w), core and context.
    """

    values: list[Tensor]

    def __init__(self, cores: Sequence[Tile], canvas: Size, wrap: Wrap, margin: int, device: torch.device) -> None:
        self.cores, self.canvas, self.wrap, self.margin, self.device = cores, canvas, wrap, margin, device

    def held(self) -> list[Tile]:
        """What `values` covers."""
        return [core.grown(self.margin, self.canvas, self.wrap) for core in self.cores]

    def insides(self, function: Callable[[Tensor], Tensor]) -> Iterator[Tensor]:
        """`function` of one tile's values after the other, without the context."""
        for values, held, core in zip(self.values, self.held(), self.cores, strict=True):
            yield cut_from(function(values.to(self.device)), held, core)

    def advance(self, stage: nn.Module, margin: int) -> None:
        """Through one more layer, keeping `margin` of the context."""
        scale = 2 if isinstance(stage, Upsample2D) else 1
        covered = [tile.scaled(scale) for tile in self.held()]
        self.cores, self.canvas = [core.scaled(scale) for core in self.cores], self.canvas.scaled(scale)
        self.margin = margin
        for index, (before, after) in enumerate(zip(covered, self.held(), strict=True)):
            values = self.values[index].to(self.device)
            values = stage(values, None) if isinstance(stage, ResnetBlock2D) else stage(values)
            self.values[index] = (
                cut_from(values, before, after).contiguous().cpu()
            )  # a view would keep the context's memory


def _as_decoder_input(autoencoder: AutoencoderKL, latents: Tensor) -> Tensor:
    weight = autoencoder.decoder.conv_in.weight
    latents = latents.to(weight.device, weight.dtype)
    return latents if autoencoder.post_quant_conv is None else autoencoder.post_quant_conv(latents)


def _stages(autoencoder: AutoencoderKL) -> dict[str, nn.Module]:
    """The decoder's layers by name, in order of execution, to the last norm; registered order is another."""
    decoder = autoencoder.decoder
    unknown = {type(block).__name__ for block in decoder.up_blocks if not isinstance(block, UpDecoderBlock2D)}
    if unknown:
        raise ModelError(f"the decoder has {', '.join(unknown)}, UpDecoderBlock2D is allowed; decode the canvas whole.")
    middle = decoder.mid_block
    order = [decoder.conv_in, middle.resnets[0]]
    for pair in zip(middle.attentions, middle.resnets[1:], strict=True):
        order += [layer for layer in pair if layer is not None]
    for block in decoder.up_blocks:
        order += [*block.resnets, *(block.upsamplers or [])]
    names = {module: name for name, module in decoder.named_modules()}
    return {names[module]: module for module in [*order, decoder.conv_norm_out]}


_RADIUS: dict[type[nn.Module], int] = {nn.Conv2d: 1, ResnetBlock2D: 2, Attention: 0, nn.GroupNorm: 1}


def _margins(stages: dict[str, nn.Module]) -> list[int]:
    """Context that each stage must be given, in its own pixels, for all stages after it to be right in the core.

    The last norm counts as the convolution behind it. An upsampler doubles, then convolves.
    """
    margins: list[int] = []
    needed = 0
    for stage in reversed(stages.values()):
        needed = -(-(needed + 1) // 2) if isinstance(stage, Upsample2D) else needed + _RADIUS[type(stage)]
        margins.insert(0, needed)
    return margins


def _measure(
    autoencoder: AutoencoderKL, name: str, samples: _Lockstep, most_tokens: int, found: CanvasStatistics
) -> None:
    """Add the stage's moments and tokens, one norm behind the other, to what was `found` before it."""
    decoder = autoencoder.decoder
    stage = decoder.get_submodule(name)
    for norm, inputs in _norm_inputs(name, stage).items():
        groups = decoder.get_submodule(norm).num_groups
        with fixed_statistics(autoencoder, found):
            found.norms[norm] = _pooled(samples.insides(inputs), groups)
    if isinstance(stage, Attention):
        with fixed_statistics(autoencoder, found):
            tokens = [values.flatten(2).transpose(1, 2) for values in samples.insides(stage.group_norm)]
        found.tokens[name] = _thinned(tokens, most_tokens)


def _norm_inputs(name: str, stage: nn.Module) -> dict[str, Callable[[Tensor], Tensor]]:
    """The norms of a stage, in order, and what each is given when the stage is given x."""
    if isinstance(stage, ResnetBlock2D):
        return {
            f"{name}.norm1": lambda x: x,
            f"{name}.norm2": lambda x: stage.conv1(stage.nonlinearity(stage.norm1(x))),
        }
    if isinstance(stage, Attention):
        return {f"{name}.group_norm": lambda x: x}
    return {name: lambda x: x} if isinstance(stage, nn.GroupNorm) else {}


def _pooled(parts: Iterable[Tensor], groups: int) -> Moments:
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


def _thinned(parts: Sequence[Tensor], most: int) -> Tensor:
    """Of all parts (1, tokens, C), every so many-th token, in equal measure, at most `most` in all."""
    step = -(-sum(part.shape[1] for part in parts) // most)
    return torch.cat([part[:, : part.shape[1] // step * step : step] for part in parts], 1)
