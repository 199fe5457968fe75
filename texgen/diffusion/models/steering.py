"""What steers a UNet's predictions beside the exemplar: prompts, and control pictures through ControlNets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from diffusers import MultiControlNetModel, UNet2DConditionModel
from torch import Tensor, nn

from texgen.diffusion.knobs import GUIDANCE_SCALE
from texgen.diffusion.models.latent import LatentModel, offload
from texgen.diffusion.models.network import repeated
from texgen.diffusion.models.text import Condition, Prompts, moved
from texgen.errors import ModelError
from texgen.job import Prompt
from tiling import Size


@dataclass(kw_only=True)
class Steered(LatentModel):
    """A latent diffusion model with a UNet, and what that is told.

    Attributes:
        unet: The denoising network, in its dtype, on its device.
        prompts: Its text encoders; None where it has none.
        controlnet: Its ControlNets; None where it has none.
    """

    unet: UNet2DConditionModel
    prompts: Prompts | None = None
    controlnet: MultiControlNetModel | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.controlnet is not None:
            self.controlnet.requires_grad_(False).eval()

    @property
    def network(self) -> UNet2DConditionModel:
        """The UNet."""
        return self.unet

    def offload_network(self) -> bool:
        """Move the UNet and its ControlNets to the CPU; False where it is there already."""
        if self.controlnet is not None:
            offload(self.controlnet)
        return super().offload_network()

    @property
    def controls(self) -> int:
        """Number of ControlNets: each reads a picture."""
        return 0 if self.controlnet is None else len(self.controlnet.nets)

    @property
    def guidance_scale(self) -> float:
        """By default."""
        return GUIDANCE_SCALE

    def check_prompt(self, prompt: Prompt) -> None:
        """Refuse a prompt that cannot be read.

        Raises:
            ModelError: There is no text encoder, or no tokenizer.
            OptionError: The prompt is too long.
        """
        for words in (prompt.text, prompt.negative or ""):
            self._prompts.check(words)

    def conditions(self, prompt: Prompt, size_px: Size) -> tuple[Condition, Condition | None]:
        """What the UNet is told of a prompt in a picture of a size, and what guidance leads away from; None without guidance."""
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
        """A condition with what the ControlNets add to the UNet's prediction for latents (B, C, h, w).

        Args:
            condition: Of the prediction; None is the empty prompt.
            latents: As the UNet gets them.
            timestep: The timestep.
            pictures: (B, 3 n, H, W) in [0, 1], those of the n ControlNets side by side.
            weights: Of each.
        """
        assert self.controlnet is not None
        told, dtype = self.condition if condition is None else condition, self.dtype
        nn.Module.to(self.controlnet, latents.device, dtype)  # follows the UNet where that computes in float32
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
