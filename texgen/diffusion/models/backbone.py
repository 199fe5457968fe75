"""A `texgen.diffusion.denoising.DenoisingModel` of diffusers' parts: UNet, autoencoder, scheduler, text condition."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from diffusers import AutoencoderTiny, DDIMScheduler, UNet2DConditionModel
from torch import Tensor, nn

from texgen.diffusion.guidance.exemplar_keys import choose_layers
from texgen.diffusion.models import tiled_vae
from texgen.diffusion.models.autoencoder import TextureAutoencoder
from texgen.diffusion.models.canvas_statistics import fixed_statistics
from texgen.diffusion.models.local import reach
from texgen.diffusion.models.schedule import DDIMSchedule
from texgen.diffusion.models.text import size_ids
from texgen.diffusion.models.tracing import kept_bytes
from texgen.diffusion.models.unet import OfUNet, TappedUNet, self_attention_layers, tapped
from texgen.errors import ModelError, OptionError
from tiling import Size, Tile, Wrap, canvas_size, cut

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
        fingerprint: Hash of the weight files, or of some places in each where those are large.
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
    def prediction_type(self) -> str:
        """What the UNet predicts, in diffusers' words."""
        return str(self.scheduler.config.prediction_type)

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
        return isinstance(self.autoencoder, TextureAutoencoder | AutoencoderTiny)

    @cached_property
    def halo(self) -> int:
        """Latent pixels of context that a tile is decoded with."""
        if isinstance(self.autoencoder, AutoencoderTiny):
            return reach(self.autoencoder.decoder.layers)
        return self.autoencoder.halo if self.decodes_locally else tiled_vae.HALO

    @cached_property
    def encoder_halo(self) -> int:
        """Latent pixels of context that a tile is encoded with."""
        if isinstance(self.autoencoder, AutoencoderTiny):
            return -(-reach(self.autoencoder.encoder.layers) // self.factor)
        return self.autoencoder.encoder_halo if self.decodes_locally else tiled_vae.HALO

    @cached_property
    def attention_layers(self) -> list[str]:
        """Self-attention layers in order of execution."""
        return self_attention_layers(self.unet, self.condition)

    def resize(self, side_px: int) -> None:
        """Work in tiles of another size than the model says.

        Raises:
            OptionError: The UNet cannot halve it as often as it must.
        """
        least = self.factor * 2 ** (len(self.unet.config.block_out_channels) - 1)
        if side_px % least:
            raise OptionError(f"native_size={side_px} must be a multiple of {least} px for {self.name}.")
        self.unet.register_to_config(sample_size=side_px // self.factor)
        added = self.condition.get("added_cond_kwargs")
        if added is not None:
            added["time_ids"] = size_ids(side_px).to(added["time_ids"])

    def schedule(self, steps: int) -> DDIMSchedule:
        """The model's noise schedule in so many steps."""
        return DDIMSchedule(self.scheduler, steps)

    def denoiser(self, recomputed: bool = False) -> AbstractContextManager[TappedUNet]:
        """Within, the UNet with its self-attention open; afterwards it is as found."""
        return tapped(self.unet, self.condition, recomputed)

    @torch.no_grad()
    def encode(self, image: Tensor) -> Tensor:
        """Image (1, 3, H, W) in [0, 1], sides multiples of `factor`, to latents (1, C, H/factor, W/factor), float32.

        The posterior's mean, times the scaling factor.

        Raises:
            ModelError: The autoencoder gave NaN or Inf.
        """
        encoded = self.autoencoder.encode(image.to(*self._autoencoder_place) * 2 - 1)
        latents = encoded.latent_dist.mean if hasattr(encoded, "latent_dist") else encoded.latents
        shifted = latents.float() - (self.autoencoder.config.get("shift_factor") or 0.0)
        return self._numbers(shifted * self.autoencoder.config.scaling_factor, "encoding")

    def tile_encoder(self, paint: Callable[[Tile], Tensor], canvas: Size, wrap: Wrap) -> Callable[[Tensor], Tensor]:
        """`encode` for tiles of a canvas (in latent pixels): with `encoder_halo` around them they agree with one another.

        What an encoder that is not local looks at the whole canvas for is measured here, and held fixed.

        Args:
            paint: Pixels (1, 3, H, W) in [0, 1] of a tile in latent pixels, which may pass the border of an axis that wraps.
            canvas: In latent pixels.
            wrap: Axes that close to a ring.
        """
        if self.decodes_locally:
            return self.encode
        factor = self.factor
        statistics = tiled_vae.gather_statistics(
            self.autoencoder,
            lambda tile: paint(Tile(*(side // factor for side in tile))) * 2 - 1,
            canvas.scaled(factor),
            wrap,
            samples=[tile.scaled(factor) for tile in tiled_vae.encoder_samples(canvas)],
            part="encoder",
        )

        def encode(image: Tensor) -> Tensor:
            with fixed_statistics(self.autoencoder, statistics):
                return self.encode(image)

        return encode

    @torch.no_grad()
    def decode(self, latents: Tensor) -> Tensor:
        """Latents (1, C, h, w) to an image (1, 3, h * factor, w * factor), float32, not clamped to [0, 1].

        Raises:
            ModelError: The autoencoder gave NaN or Inf.
        """
        return self._numbers(self.decode_signed(latents).float() / 2 + 0.5, "decoding")

    def _numbers(self, values: Tensor, stage: str) -> Tensor:
        """What the autoencoder gave, if it is numbers: the others would be stored as black pixels."""
        if not bool(torch.isfinite(values).all()):
            raise ModelError(
                f"{self.name}: the autoencoder gave NaN or Inf in {stage}; its weights are broken or overflow: use another autoencoder."
            )
        return values

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
            with fixed_statistics(self.autoencoder, statistics):
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

    def tile_bytes(self, tile: Size, recomputed: bool = False) -> int:
        """Bytes that an AD iteration keeps for the gradient of one tile (in latent pixels), without running it."""
        if (tile, recomputed) not in self._traced:
            layers = choose_layers(self.attention_layers)
            self._traced[tile, recomputed] = kept_bytes(self.unet, self.condition, layers, tile, recomputed)
        return self._traced[tile, recomputed]

    @cached_property
    def _traced(self) -> dict[tuple[Size, bool], int]:
        """Memory of a tile by its size, so that a model in use is traced once."""
        return {}

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
