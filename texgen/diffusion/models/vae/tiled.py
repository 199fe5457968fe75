"""Stable Diffusion's autoencoder on tiles of a canvas: its global statistics are measured once, then held fixed.

Encoder and decoder are local except for their group norms and the self-attention of their middle blocks. With the canvas' statistics
given to both, only convolutions remain, and a tile that is read with enough halo equals its part of the whole.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise

import torch
from diffusers import AutoencoderKL
from diffusers.models.attention_processor import Attention
from diffusers.models.downsampling import Downsample2D
from diffusers.models.resnet import ResnetBlock2D
from diffusers.models.unets.unet_2d_blocks import DownEncoderBlock2D, UpDecoderBlock2D
from diffusers.models.upsampling import Upsample2D
from torch import Tensor, nn

from texgen.diffusion.models.vae.canvas_statistics import (
    CanvasStatistics,
    Part,
    fixed_statistics,
    norm_inputs,
    pooled,
    thinned,
)
from texgen.errors import ModelError
from tiling import Size, Tile, Wrap, cut_from, plan_cores, spread_tiles, tile_size

HALO = 12
COVER, MOST_COVERS = Size(32, 32), 16
SAMPLE, MOST_SAMPLES = Size(16, 16), 64
MOST_TOKENS = 16384
ENCODER_SAMPLE, ENCODER_SAMPLES = Size(24, 24), 9
"""Few and large, since an encoder starts at full resolution, where the context around samples takes most memory."""


def sample_tiles(canvas: Size) -> list[Tile]:
    """Tiles to measure a decoder on: up to 16 of 32 x 32 latents that cover the canvas once, else 64 of 16 x 16 spread evenly.

    Both have at most 128 x 128 latents in total. Smaller tiles sample more places of a large canvas, but need more context.

    Example:
        >>> len(sample_tiles(Size(33, 20))), len(sample_tiles(Size(512, 512)))
        (2, 64)
    """
    cover = plan_cores(canvas, COVER)
    return cover if len(cover) <= MOST_COVERS else spread_tiles(canvas, tile_size(SAMPLE, canvas), MOST_SAMPLES)


def encoder_samples(canvas: Size) -> list[Tile]:
    """Tiles in latent pixels to measure an encoder on: at most 9 of 24 x 24 latents, spread evenly."""
    return spread_tiles(canvas, tile_size(ENCODER_SAMPLE, canvas), ENCODER_SAMPLES)


def exact_halo(autoencoder: AutoencoderKL, part: Part = "decoder") -> int:
    """Radius of the receptive field of encoder or decoder with fixed statistics, in pixels of its input; a larger halo has no effect.

    Raises:
        ModelError: As `gather_statistics`.
    """
    return _margins(_stages(autoencoder, part))[0]


@torch.no_grad()
def gather_statistics(
    autoencoder: AutoencoderKL,
    read: Callable[[Tile], Tensor],
    canvas: Size,
    wrap: Wrap,
    *,
    samples: Sequence[Tile] | None = None,
    most_tokens: int = MOST_TOKENS,
    part: Part = "decoder",
) -> CanvasStatistics:
    """Measure the moments of norms and the tokens of attention of a decoder, or encoder, on sample tiles of a canvas.

    All samples pass through the layers in step, so that the norms before the one being measured already use
    the canvas' moments. Each sample is read with all the context it depends on, which is cropped as the layers use it
    up; only the sample itself is measured. Samples that cover the canvas once give the moments of decoding it whole.

    Args:
        autoencoder: Autoencoder of Stable Diffusion 1, 2 or XL, in any dtype, on any device.
        read: Gives the input (1, C, h, w) of a tile, latents divided by the scaling factor or pixels in [-1, 1]; the tile may cross a
            border that wraps.
        canvas: Size in latent pixels; for an encoder in pixels.
        wrap: Axes that wrap around.
        samples: Tiles to measure on, in any order. More represent a large canvas better, and cost time and memory. By
            default `sample_tiles`.
        most_tokens: Largest number of tokens that attention reads, at least one per sample; more are thinned evenly. Fewer cost less
            time per tile.
        part: Encoder or decoder.

    Raises:
        ModelError: The autoencoder has unknown blocks.

    References:
        "Tiled VAE" of multidiffusion-upscaler-for-automatic1111, 2023, holds group norms in step across all tiles,
        https://github.com/pkuliyi2015/multidiffusion-upscaler-for-automatic1111.
    """
    stages, half = _stages(autoencoder, part), getattr(autoencoder, part)
    samples = sample_tiles(canvas) if samples is None else samples
    margins = _margins(stages)
    lockstep = _Lockstep(samples, canvas, wrap, margins[0], autoencoder.device)
    lockstep.values = [_as_input(autoencoder, read(tile), part).cpu() for tile in lockstep.held()]
    found = CanvasStatistics(part=part)
    for (stage, following), margin in zip(pairwise(stages), margins[1:], strict=True):
        with fixed_statistics(autoencoder, found):
            lockstep.advance(half.get_submodule(stage), margin)
        _measure(autoencoder, following, lockstep, most_tokens, found)
    return found


class _Lockstep:
    """Activations of sample tiles, all after the same layer; they are on the CPU, except the one being computed.

    Attributes:
        cores: The tiles without context, on the canvas at the current resolution.
        margin: Width of the remaining context around each.
        values: Activations of each tile with its context, (1, C, h, w).
    """

    values: list[Tensor]

    def __init__(self, cores: Sequence[Tile], canvas: Size, wrap: Wrap, margin: int, device: torch.device) -> None:
        self.cores, self.canvas, self.wrap, self.margin, self.device = cores, canvas, wrap, margin, device

    def held(self) -> list[Tile]:
        """The tiles with their context, as `values` covers them."""
        return [core.grown(self.margin, self.canvas, self.wrap) for core in self.cores]

    def insides(self, function: Callable[[Tensor], Tensor]) -> Iterator[Tensor]:
        """`function` of each tile's values, without the context."""
        for values, held, core in zip(self.values, self.held(), self.cores, strict=True):
            yield cut_from(function(values.to(self.device)), held, core)

    def advance(self, stage: nn.Module, margin: int) -> None:
        """Pass all tiles through one more layer, keeping `margin` of the context."""
        covered = [_behind(tile, stage) for tile in self.held()]
        self.cores = [_behind(core, stage) for core in self.cores]
        self.canvas = Size(*_behind(Tile(0, 0, *self.canvas), stage)[2:])
        self.margin = margin
        for index, (before, after) in enumerate(zip(covered, self.held(), strict=True)):
            values = self.values[index].to(self.device)
            values = stage(values, None) if isinstance(stage, ResnetBlock2D) else stage(values)
            # a view would keep the memory of the context
            self.values[index] = cut_from(values, before, after).contiguous().cpu()


def _behind(tile: Tile, stage: nn.Module) -> Tile:
    """The tile after a layer, at twice or half the resolution if the layer changes it."""
    if isinstance(stage, Downsample2D):
        return Tile(*(side // 2 for side in tile))
    return tile.scaled(2) if isinstance(stage, Upsample2D) else tile


def _as_input(autoencoder: AutoencoderKL, values: Tensor, part: Part) -> Tensor:
    weight = getattr(autoencoder, part).conv_in.weight
    values = values.to(weight.device, weight.dtype)
    return values if part == "encoder" or autoencoder.post_quant_conv is None else autoencoder.post_quant_conv(values)


def _stages(autoencoder: AutoencoderKL, part: Part) -> dict[str, nn.Module]:
    """The layers of encoder or decoder up to the last norm, by name, in order of execution, which differs from that of registration."""
    half, decodes = getattr(autoencoder, part), part == "decoder"
    blocks, known = (half.up_blocks, UpDecoderBlock2D) if decodes else (half.down_blocks, DownEncoderBlock2D)
    unknown = {type(block).__name__ for block in blocks if not isinstance(block, known)}
    if unknown:
        raise ModelError(f"the {part} has {', '.join(unknown)}, {known.__name__} is allowed; use another autoencoder.")
    middle = [half.mid_block.resnets[0]]
    for pair in zip(half.mid_block.attentions, half.mid_block.resnets[1:], strict=True):
        middle += [layer for layer in pair if layer is not None]
    levels = [
        layer for block in blocks for layer in (*block.resnets, *((block.upsamplers if decodes else block.downsamplers) or []))
    ]  # fmt: skip
    order = [half.conv_in, *middle, *levels] if decodes else [half.conv_in, *levels, *middle]
    names = {module: name for name, module in half.named_modules()}
    return {names[module]: module for module in [*order, half.conv_norm_out]}


_RADIUS: dict[type[nn.Module], int] = {nn.Conv2d: 1, ResnetBlock2D: 2, Attention: 0, nn.GroupNorm: 1}


def _margins(stages: dict[str, nn.Module]) -> list[int]:
    """Context that each stage needs at its input, in pixels there, for the output to be exact in the core.

    The last norm stands for the convolution after it. An upsampler doubles, then convolves. A downsampler reads one more pixel on the
    right and below, and its context must be a whole number of pixels of all later stages.
    """
    margins: list[int] = []
    needed, unit = 0, 1
    for stage in reversed(stages.values()):
        if isinstance(stage, Upsample2D):
            needed = -(-(needed + 1) // 2)
        elif isinstance(stage, Downsample2D):
            needed, unit = 2 * needed + 1, 2 * unit
        else:
            needed += _RADIUS[type(stage)]
        needed = -(-needed // unit) * unit
        margins.insert(0, needed)
    return margins


def _measure(
    autoencoder: AutoencoderKL, name: str, samples: _Lockstep, most_tokens: int, found: CanvasStatistics
) -> None:
    """Measure the moments and tokens of a stage, one norm after the other, and add them to `found`."""
    half = getattr(autoencoder, found.part)
    stage = half.get_submodule(name)
    for norm, inputs in norm_inputs(name, stage).items():
        groups = half.get_submodule(norm).num_groups
        with fixed_statistics(autoencoder, found):
            found.norms[norm] = pooled(samples.insides(inputs), groups)
    if isinstance(stage, Attention):
        with fixed_statistics(autoencoder, found):
            tokens = [values.flatten(2).transpose(1, 2) for values in samples.insides(stage.group_norm)]
        found.tokens[name] = thinned(tokens, most_tokens)
