"""Models with a transformer: Stable Diffusion 3 and Flux."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, NoReturn

import torch
from diffusers import FlowMatchEulerDiscreteScheduler
from torch import Tensor

from texgen.diffusion.models.latent_model import LatentModel
from texgen.diffusion.models.networks.flux import Flux
from texgen.diffusion.models.networks.joint_transformer import PATCH, Family, JointTransformer, opened
from texgen.diffusion.models.networks.sd3 import StableDiffusion3
from texgen.diffusion.models.prompts import Condition, moved
from texgen.diffusion.models.schedules import FlowSchedule
from texgen.errors import ModelError, OptionError
from texgen.job import Prompt
from tiling import Size

FAMILIES: dict[str, Family] = {
    "SD3Transformer2DModel": StableDiffusion3(),
    "FluxTransformer2DModel": Flux(),
}
"""Families by the transformer's class name in a folder's model_index.json."""


@dataclass(kw_only=True)
class TransformerModel(LatentModel):
    """A latent flow matching model with a transformer.

    Attributes:
        transformer: The denoising network.
        scheduler: Euler steps along the flow.
        family: Functions specific to the kind of transformer.
        side: Side of a tile, in latent pixels.
        text_folder: Folder with the text encoders, which are loaded when prompts are read, and freed afterwards; None if there are none.
    """

    transformer: Any
    scheduler: FlowMatchEulerDiscreteScheduler
    family: Family
    side: int
    text_folder: Path | None = None

    prediction_type: ClassVar[str] = "velocity"
    is_xl: ClassVar[bool] = False
    injects: ClassVar[bool] = False
    controls: ClassVar[int] = 0

    @property
    def network(self) -> Any:
        return self.transformer

    @property
    def native_tile(self) -> Size:
        return Size(self.side, self.side)

    @property
    def latent_channels(self) -> int:
        return self.family.latent_channels(self.transformer.config)

    @cached_property
    def attention_layers(self) -> list[str]:
        """Attention layers that include image tokens, in order of execution."""
        return self.family.layers(self.transformer)

    def resize(self, side_px: int) -> None:
        token, largest = self.factor * PATCH, self.family.largest_side(self.transformer.config)
        if side_px % token or (largest is not None and side_px > largest * self.factor):
            limit = "" if largest is None else f", at most {largest * self.factor}"
            raise OptionError(f"native_size={side_px} must be a multiple of {token} px{limit}, for {self.name}.")
        self.side = side_px // self.factor

    def schedule(self, steps: int) -> FlowSchedule:
        """The noise schedule for tiles of the native size."""
        return FlowSchedule(self.scheduler, steps, (self.side // PATCH) ** 2, self.family.sigmas(steps))

    def opened(
        self, network: Any, condition: Mapping[str, Tensor], recomputed: bool = False
    ) -> AbstractContextManager[JointTransformer]:
        return opened(network, condition, self.family, recomputed)

    @property
    def guidance_scale(self) -> float:
        return self.family.guidance_scale(self.transformer.config)

    def check_prompt(self, prompt: Prompt) -> None:
        if self.text_folder is None:
            raise ModelError(
                f"{self.name} has no text encoders and reads no prompt; give the folder of the whole model."
            )
        if self.family.is_told_guidance and prompt.negative is not None:
            raise OptionError(
                f"negative_prompt: {self.name} has distilled guidance, and leads away from nothing; leave it out."
            )
        if self.guidance_scale == 1 and prompt.guidance_scale not in (None, 1):
            raise OptionError(f"guidance_scale={prompt.guidance_scale:g}: {self.name} has no guidance; leave it out.")
        for words in (prompt.text, prompt.negative or ""):
            self.family.tokens(self.text_folder, self.transformer.config, words)

    def conditions(self, prompt: Prompt, _size_px: Size) -> tuple[Condition, Condition | None]:
        """The second condition is None if the scale is an input of the network, or 1."""
        assert self.text_folder is not None
        guided = prompt.guidance_scale != 1 and not self.family.is_told_guidance
        words = [prompt.text, prompt.negative or ""] if guided else [prompt.text]
        encoded = self.family.conditions(self.text_folder, self.transformer.config, words)
        told = [moved(each, self.device) for each in encoded]
        if self.family.is_told_guidance:
            told[0]["guidance"] = torch.tensor([float(prompt.guidance_scale or 1)], device=self.device)
        return told[0], told[1] if guided else None

    def controlled(self, *_: Any) -> NoReturn:
        raise OptionError(f"control pictures are for models with a UNet; leave them out for {self.name}.")
