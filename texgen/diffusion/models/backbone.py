"""A `texgen.diffusion.denoising.DenoisingModel` with a UNet."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from diffusers import DDIMScheduler, UNet2DConditionModel

from texgen.diffusion.models.schedule import DDIMSchedule
from texgen.diffusion.models.steering import Steered
from texgen.diffusion.models.text import size_ids
from texgen.diffusion.models.unet import TappedUNet, self_attention_layers, tapped
from texgen.errors import OptionError
from tiling import Size


@dataclass(kw_only=True)
class Backbone(Steered):
    """A latent diffusion model with a UNet: Stable Diffusion 1.x, 2.x, XL, and the bundled one.

    Attributes:
        scheduler: Deterministic DDIM with the model's own noise schedule and prediction type.
    """

    scheduler: DDIMScheduler

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
    def is_xl(self) -> bool:
        """Whether the UNet is told the size of the picture, as that of Stable Diffusion XL alone is."""
        return self.unet.config.addition_embed_type == "text_time"

    @property
    def injects(self) -> bool:
        """Whether its denoiser has `injecting`."""
        return True

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
            added["time_ids"] = size_ids(Size(side_px, side_px)).to(added["time_ids"])

    def schedule(self, steps: int) -> DDIMSchedule:
        """The model's noise schedule in so many steps."""
        return DDIMSchedule(self.scheduler, steps)

    def opened(
        self, network: UNet2DConditionModel, condition: Mapping[str, Any], recomputed: bool = False
    ) -> AbstractContextManager[TappedUNet]:
        """Within, a UNet with its self-attention open; afterwards it is as found."""
        return tapped(network, condition, recomputed)
