"""Models with a UNet: Stable Diffusion 1.x, 2.x, XL, and the bundled model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from diffusers import DDIMScheduler, MultiControlNetModel, UNet2DConditionModel
from torch import Tensor, nn

from texgen.diffusion.knobs import GUIDANCE_SCALE
from texgen.diffusion.models.latent_model import LatentModel, offload
from texgen.diffusion.models.networks.network import repeated
from texgen.diffusion.models.networks.unet import TappedUNet, self_attention_layers, tapped
from texgen.diffusion.models.prompts import Condition, Prompts, moved, size_ids
from texgen.diffusion.models.schedules import DDIMSchedule
from texgen.errors import ModelError, OptionError
from texgen.job import Prompt
from tiling import Size


@dataclass(kw_only=True)
class UNetModel(LatentModel):
    """A latent diffusion model with a UNet.

    Attributes:
        unet: The denoising network.
        scheduler: Deterministic DDIM with the model's own noise schedule and prediction type.
        prompts: Text encoders, if any.
        controlnet: ControlNets, if any.
    """

    unet: UNet2DConditionModel
    scheduler: DDIMScheduler
    prompts: Prompts | None = None
    controlnet: MultiControlNetModel | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.controlnet is not None:
            self.controlnet.requires_grad_(False).eval()

    @property
    def network(self) -> UNet2DConditionModel:
        return self.unet

    def offload_network(self) -> bool:
        """Move the UNet and the ControlNets to the CPU; False if the UNet is already there."""
        if self.controlnet is not None:
            offload(self.controlnet)
        return super().offload_network()

    @property
    def native_tile(self) -> Size:
        side = self.unet.config.sample_size
        return Size(side, side) if isinstance(side, int) else Size(*side)

    @property
    def prediction_type(self) -> str:
        return str(self.scheduler.config.prediction_type)

    @property
    def latent_channels(self) -> int:
        return int(self.unet.config.in_channels)

    @property
    def is_xl(self) -> bool:
        """Whether the UNet takes the size of the picture as an input, which is true of Stable Diffusion XL only."""
        return self.unet.config.addition_embed_type == "text_time"

    @property
    def injects(self) -> bool:
        return True

    @cached_property
    def attention_layers(self) -> list[str]:
        return self_attention_layers(self.unet, self.condition)

    def resize(self, side_px: int) -> None:
        least = self.factor * 2 ** (len(self.unet.config.block_out_channels) - 1)
        if side_px % least:
            raise OptionError(f"native_size={side_px} must be a multiple of {least} px for {self.name}.")
        self.unet.register_to_config(sample_size=side_px // self.factor)
        added = self.condition.get("added_cond_kwargs")
        if added is not None:
            added["time_ids"] = size_ids(Size(side_px, side_px)).to(added["time_ids"])

    def schedule(self, steps: int) -> DDIMSchedule:
        return DDIMSchedule(self.scheduler, steps)

    def opened(
        self, network: UNet2DConditionModel, condition: Mapping[str, Any], recomputed: bool = False
    ) -> AbstractContextManager[TappedUNet]:
        return tapped(network, condition, recomputed)

    @property
    def controls(self) -> int:
        return 0 if self.controlnet is None else len(self.controlnet.nets)

    @property
    def guidance_scale(self) -> float:
        return GUIDANCE_SCALE

    def check_prompt(self, prompt: Prompt) -> None:
        for words in (prompt.text, prompt.negative or ""):
            self._prompts.tokens(words)

    def conditions(self, prompt: Prompt, size_px: Size) -> tuple[Condition, Condition | None]:
        encoders = self._prompts.encoders()
        told = moved(self._prompts.condition(prompt.text, size_px, encoders), self.device)
        if prompt.guidance_scale == 1:
            return told, None
        return told, moved(self._prompts.unconditional(prompt.negative, size_px, encoders), self.device)

    @torch.no_grad()
    def controlled(
        self,
        condition: Mapping[str, Any] | None,
        latents: Tensor,
        timestep: float,
        pictures: Tensor,
        weights: Sequence[float],
    ) -> Condition:
        assert self.controlnet is not None
        told, dtype = self.condition if condition is None else condition, self.dtype
        nn.Module.to(self.controlnet, latents.device, dtype)  # the UNet may have switched to float32
        down, middle = self.controlnet(
            latents.to(dtype),
            torch.tensor(timestep, device=latents.device),
            controlnet_cond=list(pictures.to(dtype).chunk(self.controls, 1)),
            conditioning_scale=list(weights),
            return_dict=False,
            **repeated(told, len(latents), dtype),
        )
        return {**told, "down_block_additional_residuals": down, "mid_block_additional_residual": middle}

    @property
    def _prompts(self) -> Prompts:
        if self.prompts is None:
            raise ModelError("this model has no text encoder and reads no prompt; use a Stable Diffusion or Flux.")
        return self.prompts
