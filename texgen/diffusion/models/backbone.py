"""A `texgen.diffusion.denoising.DenoisingModel` of diffusers' parts: UNet, autoencoder, scheduler, text condition."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from diffusers import DDIMScheduler, UNet2DConditionModel
from torch import Tensor, nn

from texgen.diffusion.models import tiled_vae
from texgen.diffusion.models.autoencoder import TextureAutoencoder
from texgen.diffusion.models.schedule import DDIMSchedule
from texgen.diffusion.models.unet import OfUNet, TappedUNet, self_attention_layers, tapped
from texgen.errors import ModelError
from tiling import Size, Wrap, canvas_size, cut

DECODER = ("block_decoder", "residual_decoder", "post_quant_conv", "decoder")
"""What of an autoencoder runs after the latents, bundled or diffusers'; one that a model lacks is skipped."""


@dataclass(kw_only=True)
class Backbone(OfUNet):
    """A latent diffusion model, frozen, ready to be driven.

    Attributes:
        name: What the user called it (bundled name, hub id, or the last part of a path).
        unet: The denoising network, in its dtype, on its device.
        autoencoder: Encoder and decoder in float32. A local one says how much context it reads (`halo`).
        scheduler: Deterministic DDIM with the model's own noise schedule and prediction type.
        condition: Keyword arguments of every UNet call, batch 1: the encoded empty prompt.
        fingerprint: Hash of the weight files, or of their names and sizes where those are large.
    """

    name: str
    unet: UNet2DConditionModel
    autoencoder: Any
    scheduler: DDIMScheduler
    condition: Mapping[str, Any]
    fingerprint: str

    def __post_init__(self) -> None:
        for module in (self.unet, self.autoencoder):
            module.requires_grad_(False).eval()

    @cached_property
    def factor(self) -> int:
        """Image pixels per latent pixel along one axis."""
        config = self.autoencoder.config
        if "block_size" in config:
            return int(config.block_size)
        return int(2 ** (len(config.block_out_channels) - 1))

    @property
    def native_tile(self) -> Size:
        """Native tile size in latent pixels."""
        side = self.unet.config.sample_size
        return Size(side, side) if isinstance(side, int) else Size(*side)

    @property
    def latent_channels(self) -> int:
        return int(self.unet.config.in_channels)

    @property
    def injects(self) -> bool:
        """Whether its denoiser has `injecting`."""
        return True

    @property
    def decodes_locally(self) -> bool:
        """Whether a pixel depends on the latents around it alone; if not, `texgen.diffusion.models.tiled_vae` makes it so."""
        return isinstance(self.autoencoder, TextureAutoencoder)

    @property
    def halo(self) -> int:
        """Latent pixels of context that a tile is decoded with."""
        return self.autoencoder.halo if self.decodes_locally else tiled_vae.HALO

    @cached_property
    def attention_layers(self) -> list[str]:
        """Self-attention layers in order of execution."""
        return self_attention_layers(self.unet, self.condition)

    def schedule(self, steps: int) -> DDIMSchedule:
        """The model's noise schedule in so many steps."""
        return DDIMSchedule(self.scheduler, steps)

    def denoiser(self) -> AbstractContextManager[TappedUNet]:
        """Within, the UNet with its self-attention open; afterwards it is as found."""
        return tapped(self.unet, self.condition)

    @torch.no_grad()
    def encode(self, image: Tensor) -> Tensor:
        """Image (1, 3, H, W) in [0, 1], sides multiples of `factor`, to latents (1, C, H/factor, W/factor), float32.

        The posterior's mean, times the scaling factor.
        """
        encoded = self.autoencoder.encode(image.to(*self._autoencoder_place) * 2 - 1)
        latents = encoded.latent_dist.mean if hasattr(encoded, "latent_dist") else encoded.latents
        shifted = latents.float() - (self.autoencoder.config.get("shift_factor") or 0.0)
        return shifted * self.autoencoder.config.scaling_factor

    @torch.no_grad()
    def decode(self, latents: Tensor) -> Tensor:
        """Latents (1, C, h, w) to an image (1, 3, h * factor, w * factor), float32, not clamped to [0, 1]."""
        return self.decode_signed(latents).float() / 2 + 0.5

    def decode_signed(self, latents: Tensor) -> Tensor:
        """The same in [-1, 1], with gradients, as the autoencoder gives it."""
        image: Tensor = self.autoencoder.decode(self._unscaled(latents)).sample
        return image

    def tile_decoder(self, canvas: Tensor, wrap: Wrap) -> Callable[[Tensor], Tensor]:
        """`decode` for tiles of a canvas (1, C, h, w): with `halo` around them they agree with one another.

        What a decoder that is not local looks at the whole canvas for is measured here, and held fixed.
        """
        if self.decodes_locally:
            return self.decode
        statistics = tiled_vae.gather_statistics(
            self.autoencoder, lambda tile: self._unscaled(cut(canvas, tile)), canvas_size(canvas), wrap
        )

        def decode(latents: Tensor) -> Tensor:
            with tiled_vae.fixed_statistics(self.autoencoder, statistics):
                return self.decode(latents)

        return decode

    def trainable_decoder(self) -> tuple[Backbone, Sequence[Tensor]]:
        """A copy whose decoder learns, in float32, and the decoder's parameters."""
        autoencoder = copy.deepcopy(self.autoencoder)
        if autoencoder.dtype != torch.float32:  # diffusers warns of every cast
            autoencoder.to(torch.float32)
        learner = replace(self, autoencoder=autoencoder)
        parameters = [each for part in learner._decoder_parts.values() for each in part.parameters()]
        return learner, [each.requires_grad_(True) for each in parameters]

    def decoder_weights(self) -> dict[str, Tensor]:
        """The decoder's tensors on the CPU, by their names in the autoencoder."""
        return {
            f"{part}.{name}": tensor.detach().cpu()
            for part, module in self._decoder_parts.items()
            for name, tensor in module.state_dict().items()
        }

    def with_decoder(self, weights: Mapping[str, Tensor]) -> Backbone:
        """A copy whose decoder has other weights.

        Raises:
            ModelError: The weights are of another autoencoder.
        """
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

    def tile_bytes(self, tile: Size) -> int:
        """Bytes that the activations of one tile (in latent pixels) take in a forward pass, without running it."""
        if tile not in self._traced:
            self._traced[tile] = self._activations(tile)
        return self._traced[tile] * self.dtype.itemsize

    @cached_property
    def _traced(self) -> dict[Size, int]:
        """Activations of a tile by its size, so that a model in use is traced once."""
        return {}

    def _activations(self, tile: Size) -> int:
        """How many numbers the layers give for one tile."""
        with torch.device("meta"):
            unet = UNet2DConditionModel.from_config(self.unet.config)
        total = 0

        def count(_module: nn.Module, _inputs: Any, output: Any) -> None:
            nonlocal total
            if isinstance(output, Tensor):
                total += output.numel()

        for module in unet.modules():
            if not any(module.children()):
                module.register_forward_hook(count)
        latents = torch.empty(1, self.latent_channels, *tile, device="meta")
        with torch.no_grad():
            unet(latents, torch.zeros((), device="meta"), **_on_meta(self.condition))
        return total

    def offload_network(self) -> bool:
        """Move the UNet to the CPU; False where it is there already."""
        return _offload(self.unet)

    def offload_autoencoder(self) -> bool:
        """Move the autoencoder to the CPU; False where it is there already."""
        return _offload(self.autoencoder)

    def _unscaled(self, latents: Tensor) -> Tensor:
        """Latents as the autoencoder's decoder takes them, on its device, in its dtype."""
        config = self.autoencoder.config
        latents = latents / config.scaling_factor + (config.get("shift_factor") or 0.0)
        return latents.to(*self._autoencoder_place)

    @property
    def _autoencoder_place(self) -> tuple[torch.device, torch.dtype]:
        """Its own: it may have been moved off the device."""
        parameter = next(self.autoencoder.parameters())
        return parameter.device, parameter.dtype

    @property
    def _decoder_parts(self) -> dict[str, nn.Module]:
        return {name: part for name in DECODER if (part := getattr(self.autoencoder, name, None)) is not None}


def _offload(module: nn.Module) -> bool:
    if next(module.parameters()).device.type == "cpu":
        return False
    module.to("cpu")
    torch.cuda.empty_cache()
    return True


def _on_meta(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.to("meta", torch.float32)
    return {name: _on_meta(inner) for name, inner in value.items()}
