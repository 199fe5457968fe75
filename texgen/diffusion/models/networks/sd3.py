"""Stable Diffusion 3 and 3.5: joint attention with learnt position embeddings, three text encoders."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from diffusers import SD3Transformer2DModel
from diffusers.loaders import SD3LoraLoaderMixin
from torch import Tensor
from transformers import CLIPTextModelWithProjection, T5EncoderModel

from texgen.diffusion.knobs import GUIDANCE_SCALE
from texgen.diffusion.models.loading.components import text_encoder
from texgen.diffusion.models.networks.joint_transformer import Family, one_by_one
from texgen.diffusion.models.networks.network import Projected, project
from texgen.diffusion.models.prompts import folder_tokens, t5_tokens
from texgen.errors import ModelError

CLIP_TOKENS, T5_TOKENS = 77, 256


class StableDiffusion3(Family):
    """Stable Diffusion 3 and 3.5. Position embeddings of a tile are cropped from the middle of the model's grid.

    References:
        Esser et al., "Scaling Rectified Flow Transformers for High-Resolution Image Synthesis", ICML 2024,
        https://arxiv.org/abs/2403.03206.
    """

    transformer_class = SD3Transformer2DModel
    text = ("text_encoder", "text_encoder_2", "text_encoder_3")
    is_told_guidance = False
    lora_mixin = SD3LoraLoaderMixin

    def native_side(self, config: Mapping[str, Any]) -> int:
        """The side that the model was trained at."""
        return int(config["sample_size"])

    def largest_side(self, config: Mapping[str, Any]) -> int:
        """Side of the grid of position embeddings."""
        return int(config["pos_embed_max_size"] * config["patch_size"])

    def latent_channels(self, config: Mapping[str, Any]) -> int:
        return int(config["in_channels"])

    def sigmas(self, _steps: int) -> None:
        """None: the scheduler's own."""

    def guidance_scale(self, _config: Mapping[str, Any]) -> float:
        """The default of its pipeline."""
        return GUIDANCE_SCALE

    def tokens(self, folder: Path, _config: Mapping[str, Any], prompt: str) -> dict[str, Tensor]:
        """Ids of those of CLIP and T5 that the folder has.

        Raises:
            ModelError: One of the two CLIP encoders is missing, or a tokenizer.
            OptionError: The prompt is too long.
        """
        there = [(folder / part).is_dir() for part in self.text]
        if there[0] != there[1]:
            raise ModelError(
                f"{folder}: has one CLIP text encoder of two; the folder is incomplete, download the model again."
            )
        found = {}
        if there[0]:
            for part, tokenizer in zip(self.text, ("tokenizer", "tokenizer_2"), strict=False):
                found[part] = folder_tokens(folder / tokenizer, prompt)
        if there[2]:
            found[self.text[2]] = t5_tokens(folder / "tokenizer_3", prompt, T5_TOKENS)
        return found

    @torch.no_grad()
    def conditions(self, folder: Path, config: Mapping[str, Any], prompts: Sequence[str]) -> list[dict[str, Tensor]]:
        """Hidden states of both CLIP encoders, concatenated along the width, followed by those of T5; and pooled CLIP.

        Zeros replace T5, or both CLIP encoders, if the folder lacks them: in training each was left out for nearly half of
        the pictures.
        """
        width, told = config["joint_attention_dim"], [self.tokens(folder, config, prompt) for prompt in prompts]
        ids = {part: torch.cat([each[part] for each in told]) for part in told[0]}
        clip = torch.zeros(len(prompts), CLIP_TOKENS, width)
        pooled = torch.zeros(len(prompts), config["pooled_projection_dim"])
        long = torch.zeros(len(prompts), T5_TOKENS, width)
        if self.text[0] in ids:
            outputs = [
                text_encoder(CLIPTextModelWithProjection, folder, part)(ids[part], output_hidden_states=True)
                for part in self.text[:2]
            ]
            found = torch.cat([output.hidden_states[-2] for output in outputs], -1)
            clip = F.pad(found, (0, width - found.shape[-1]))
            pooled = torch.cat([output[0] for output in outputs], -1)
        if self.text[2] in ids:
            long = text_encoder(T5EncoderModel, folder, self.text[2])(ids[self.text[2]])[0].float()
        return one_by_one(torch.cat([clip, long], 1), pooled)

    def layers(self, transformer: Any) -> list[str]:
        """The joint attention of every block, followed by its image-only attention if it has one (3.5 medium)."""
        return [
            f"transformer_blocks.{number}.{name}"
            for number, block in enumerate(transformer.transformer_blocks)
            for name in ("attn", "attn2")
            if getattr(block, name, None) is not None
        ]

    def velocity(self, transformer: Any, latents: Tensor, timestep: Tensor, condition: Mapping[str, Tensor]) -> Tensor:
        velocity: Tensor = transformer(latents, timestep=timestep, **condition).sample
        return velocity

    def projected(self, attention: Any, inputs: Mapping[str, Any], _text_tokens: int) -> Projected:
        """Image tokens have their own projections."""
        query, key, value = project(attention, inputs["hidden_states"])
        if attention.norm_q is not None:  # 3.5 has norms, 3.0 has none
            query, key = attention.norm_q(query), attention.norm_k(key)
        return Projected(query, key, value)
