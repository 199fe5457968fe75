"""The one shape every model has here: UNet, autoencoder, scheduler, text condition, native tile and factor."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from diffusers import DDIMScheduler, UNet2DConditionModel
from torch import Tensor

from texgen.diffusion.guidance.attention import self_attention_layers
from texgen.diffusion.models import tiled_vae
from texgen.diffusion.models.autoencoder import TextureAutoencoder
from tiling import Size


@dataclass(kw_only=True)
class Backbone:
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

    @property
    def device(self) -> torch.device:
        device: torch.device = self.unet.device
        return device

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
        image = self.autoencoder.decode(self.unscaled(latents)).sample
        return image.float() / 2 + 0.5

    def unscaled(self, latents: Tensor) -> Tensor:
        """Latents as the autoencoder's decoder takes them, on its device, in its dtype."""
        config = self.autoencoder.config
        latents = latents / config.scaling_factor + (config.get("shift_factor") or 0.0)
        return latents.to(*self._autoencoder_place)

    @property
    def _autoencoder_place(self) -> tuple[torch.device, torch.dtype]:
        """Its own: it may have been moved off the device."""
        parameter = next(self.autoencoder.parameters())
        return parameter.device, parameter.dtype
