"""Base class of latent diffusion models: the autoencoder, the empty prompt's condition, memory."""

from __future__ import annotations

import copy
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Self

import torch
from diffusers import AutoencoderTiny
from diffusers.models.unets.unet_2d_blocks import AutoencoderTinyBlock
from torch import Tensor, nn

from texgen.diffusion.denoising import Denoiser, DenoisingModel, Made
from texgen.diffusion.guidance.exemplar_keys import choose_layers
from texgen.diffusion.models.networks.compiled import compiling
from texgen.diffusion.models.networks.network import OfNetwork
from texgen.diffusion.models.networks.tracing import kept_bytes
from texgen.diffusion.models.vae import tiled
from texgen.diffusion.models.vae.canvas_statistics import fixed_statistics
from texgen.diffusion.models.vae.mini_autoencoder import TextureAutoencoder
from texgen.errors import ModelError, TexgenError
from tiling import Size, Tile, Wrap, canvas_size, cut

DECODER = ("block_decoder", "residual_decoder", "post_quant_conv", "decoder")
"""Modules of an autoencoder that decode, in texgen's and in diffusers' classes; those that a model lacks are skipped."""


@dataclass(kw_only=True)
class LatentModel(OfNetwork, DenoisingModel):
    """A latent diffusion model, frozen.

    Attributes:
        name: Name of the model: bundled name, hub id, or the last part of a path.
        autoencoder: Encoder and decoder in float32.
        condition: The encoded empty prompt: keyword arguments of the network's calls, batch 1.
        fingerprint: Hash of the weight files, or of samples of them if they are large.
        compiled: Whether torch compiles parts of the network, see `compiled.compile_parts`.
    """

    name: str
    autoencoder: Any
    condition: Mapping[str, Any]
    fingerprint: str
    compiled: bool = False

    def __post_init__(self) -> None:
        for module in (self.network, self.autoencoder):
            module.requires_grad_(False).eval()

    @cached_property
    def factor(self) -> int:
        config = self.autoencoder.config
        if "block_size" in config:
            return int(config.block_size)
        return int(2 ** (len(config.block_out_channels) - 1))

    @property
    def decodes_locally(self) -> bool:
        """Whether encoder and decoder are local; if not, `texgen.diffusion.models.vae.tiled` makes them local."""
        return isinstance(self.autoencoder, TextureAutoencoder | AutoencoderTiny)

    @cached_property
    def halo(self) -> int:
        if isinstance(self.autoencoder, AutoencoderTiny):
            return reach(self.autoencoder.decoder.layers)
        return self.autoencoder.halo if self.decodes_locally else tiled.HALO

    @cached_property
    def encoder_halo(self) -> int:
        if isinstance(self.autoencoder, AutoencoderTiny):
            return -(-reach(self.autoencoder.encoder.layers) // self.factor)
        return self.autoencoder.encoder_halo if self.decodes_locally else tiled.HALO

    @torch.no_grad()
    def encode(self, image: Tensor, tile: Tile | None = None) -> Tensor:
        encoded = self.autoencoder.encode(image.to(*self._autoencoder_place) * 2 - 1)
        latents = encoded.latent_dist.mean if hasattr(encoded, "latent_dist") else encoded.latents
        shifted = latents.float() - (self.autoencoder.config.get("shift_factor") or 0.0)
        return self._numbers(shifted * self.autoencoder.config.scaling_factor, "encoding", tile)

    def tile_encoder(
        self, paint: Callable[[Tile], Tensor], canvas: Size, wrap: Wrap
    ) -> Callable[[Tensor, Tile], Tensor]:
        """Global statistics of an encoder that is not local are measured here, and held fixed."""
        if self.decodes_locally:
            return self.encode
        factor = self.factor
        statistics = tiled.gather_statistics(
            self.autoencoder,
            lambda tile: paint(Tile(*(side // factor for side in tile))) * 2 - 1,
            canvas.scaled(factor),
            wrap,
            samples=[tile.scaled(factor) for tile in tiled.encoder_samples(canvas)],
            part="encoder",
        )

        def encode(image: Tensor, tile: Tile) -> Tensor:
            with fixed_statistics(self.autoencoder, statistics):
                return self.encode(image, tile)

        return encode

    @torch.no_grad()
    def decode(self, latents: Tensor, tile: Tile | None = None) -> Tensor:
        return self._numbers(self.decode_signed(latents).float() / 2 + 0.5, "decoding", tile)

    def _numbers(self, values: Tensor, stage: str, tile: Tile | None) -> Tensor:
        """The values, if all are finite; NaN and Inf would be stored as black pixels."""
        if not bool(torch.isfinite(values).all()):
            where = stage if tile is None else f"{stage}, in {tile} of the latents"
            raise TexgenError(
                f"{self.name}: the autoencoder gave NaN or Inf in {where}; its weights are broken or overflow: use another autoencoder."
            )
        return values

    def decode_signed(self, latents: Tensor) -> Tensor:
        image: Tensor = self.autoencoder.decode(self._unscaled(latents)).sample
        return image

    def tile_decoder(self, canvas: Tensor, wrap: Wrap) -> Callable[[Tensor, Tile], Tensor]:
        """Global statistics of a decoder that is not local are measured here, and held fixed."""
        if self.decodes_locally:
            return self.decode
        statistics = tiled.gather_statistics(
            self.autoencoder, lambda tile: self._unscaled(cut(canvas, tile)), canvas_size(canvas), wrap
        )

        def decode(latents: Tensor, tile: Tile) -> Tensor:
            with fixed_statistics(self.autoencoder, statistics):
                return self.decode(latents, tile)

        return decode

    def trainable_decoder(self) -> tuple[Self, Sequence[Tensor]]:
        autoencoder = copy.deepcopy(self.autoencoder)
        if autoencoder.dtype != torch.float32:  # diffusers warns of every cast
            autoencoder.to(torch.float32)
        learner = replace(self, autoencoder=autoencoder)
        parameters = [each for part in learner._decoder_parts.values() for each in part.parameters()]
        return learner, [each.requires_grad_(True) for each in parameters]

    def decoder_weights(self) -> dict[str, Tensor]:
        return {
            f"{part}.{name}": tensor.detach().cpu()
            for part, module in self._decoder_parts.items()
            for name, tensor in module.state_dict().items()
        }

    def with_decoder(self, weights: Mapping[str, Tensor]) -> Self:
        ours = {name: tuple(tensor.shape) for name, tensor in self.decoder_weights().items()}
        theirs = {name: tuple(tensor.shape) for name, tensor in weights.items()}
        differing = sorted(name for name in ours.keys() | theirs.keys() if ours.get(name) != theirs.get(name))
        if differing:
            raise ModelError(
                f"{len(differing)} of the decoder's tensors do not fit {self.name}: {differing[0]} is "
                f"{theirs.get(differing[0], 'missing')}, the model has {ours.get(differing[0], 'none')}; tune it anew."
            )
        autoencoder = copy.deepcopy(self.autoencoder)
        autoencoder.load_state_dict(dict(weights), strict=False)
        return replace(self, autoencoder=autoencoder)

    @abstractmethod
    def resize(self, side_px: int) -> None:
        """Set the side of a tile, in place of the model's native one.

        Raises:
            OptionError: The network does not support this size.
        """

    @abstractmethod
    def opened(
        self, network: Any, condition: Mapping[str, Any], recomputed: bool = False
    ) -> AbstractContextManager[Denoiser]:
        """Context that gives a network of this kind as a denoiser with access to its self-attention."""

    @contextmanager
    def denoiser(self, recomputed: bool = False) -> Iterator[Denoiser]:
        with compiling(self.compiled), self.opened(self.network, self.condition, recomputed) as found:
            yield found

    def tile_bytes(self, tile: Size, recomputed: bool = False) -> int:
        if (tile, recomputed) not in self._traced:
            layers = choose_layers(self.attention_layers)
            self._traced[tile, recomputed] = kept_bytes(
                self.network, self.condition, layers, self.latent_channels, tile, recomputed, self.opened
            )
        return self._traced[tile, recomputed]

    def once(self, what: str, depends_on: Sequence[Any], make: Callable[[], Made]) -> Made:
        found = self._made.get(what)
        if found is None or found[0] != depends_on:
            self._made.pop(what, None)  # free the old value before making a new one
            found = self._made[what] = (depends_on, make())
        made: Made = found[1]
        return made

    @cached_property
    def _made(self) -> dict[str, tuple[Sequence[Any], Any]]:
        """Values that runs share, by name, each with what it depends on."""
        return {}

    @cached_property
    def _traced(self) -> dict[tuple[Size, bool], int]:
        """Memory of a tile by its size, a cache of `kept_bytes`."""
        return {}

    def offload_network(self) -> bool:
        return offload(self.network)

    def offload_autoencoder(self) -> bool:
        return offload(self.autoencoder)

    def _unscaled(self, latents: Tensor) -> Tensor:
        """Latents as the autoencoder's decoder takes them, with its device and dtype."""
        config = self.autoencoder.config
        latents = latents / config.scaling_factor + (config.get("shift_factor") or 0.0)
        return latents.to(*self._autoencoder_place)

    @property
    def _autoencoder_place(self) -> tuple[torch.device, torch.dtype]:
        """Device and dtype of the autoencoder, which may have been moved to the CPU."""
        parameter = next(self.autoencoder.parameters())
        return parameter.device, parameter.dtype

    @property
    def _decoder_parts(self) -> dict[str, nn.Module]:
        return {name: part for name in DECODER if (part := getattr(self.autoencoder, name, None)) is not None}


def offload(module: nn.Module) -> bool:
    """Move a module to the CPU; False if it is already there."""
    if next(module.parameters()).device.type == "cpu":
        return False
    module.to("cpu")
    torch.cuda.empty_cache()
    return True


def reach(layers: nn.Sequential) -> int:
    """Radius of the receptive field of plain convolutions: pixels of the input, on each side, on which an output pixel depends.

    Example:
        >>> reach(nn.Sequential(nn.Conv2d(1, 1, 3, padding=1), nn.Upsample(scale_factor=2), nn.Conv2d(1, 1, 3, padding=1)))
        2
    """
    needed = 0
    for layer in reversed(layers):
        if isinstance(layer, nn.Conv2d):
            needed = needed * layer.stride[0] + layer.kernel_size[0] // 2
        elif isinstance(layer, AutoencoderTinyBlock):
            needed += 3  # three convolutions in a row
        elif isinstance(layer, nn.Upsample):
            needed = -(-needed // 2)  # all known ones have factor 2
    return needed
