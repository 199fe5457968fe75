"""Stable Diffusion 3 and 3.5: joint attention with learnt position embeddings, three text encoders."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from diffusers import SD3Transformer2DModel
from torch import Tensor
from transformers import CLIPTextModelWithProjection, T5EncoderModel

from texgen.diffusion.models.joint import PartLoader, Projected, normed, project
from texgen.diffusion.models.text import folder_tokens, t5_empty_prompt
from texgen.errors import ModelError

CLIP_TOKENS, T5_TOKENS = 77, 256


class StableDiffusion3:
    """A `texgen.diffusion.models.joint.Family`.

    Position embeddings are cut from the middle of the model's own grid, for each tile of its own size.

    References:
        Esser et al., "Scaling Rectified Flow Transformers for High-Resolution Image Synthesis", ICML 2024,
        https://arxiv.org/abs/2403.03206.
    """

    transformer_class = SD3Transformer2DModel
    text = ("text_encoder", "text_encoder_2", "text_encoder_3")

    def native_side(self, config: Mapping[str, Any]) -> int:
        """As trained."""
        return int(config["sample_size"])

    def largest_side(self, config: Mapping[str, Any]) -> int:
        """Of the grid of position embeddings."""
        return int(config["pos_embed_max_size"] * config["patch_size"])

    def latent_channels(self, config: Mapping[str, Any]) -> int:
        """Channels of the latents."""
        return int(config["in_channels"])

    def sigmas(self, _steps: int) -> None:
        """The scheduler's own."""

    @torch.no_grad()
    def condition(self, folder: Path, config: Mapping[str, Any], load: PartLoader) -> dict[str, Tensor]:
        """Both CLIP encoders side by side, T5 behind them; pooled CLIP.

        Zeros stand for T5, or for both CLIP encoders, where the folder lacks them: in training each was left out of nearly half of
        the pictures.

        Raises:
            ModelError: One CLIP encoder without the other.
        """
        width = config["joint_attention_dim"]
        clip, pooled = torch.zeros(1, CLIP_TOKENS, width), torch.zeros(1, config["pooled_projection_dim"])
        long = torch.zeros(1, T5_TOKENS, width)
        there = [(folder / part).is_dir() for part in self.text]
        if there[0] != there[1]:
            raise ModelError(
                f"{folder}: has one CLIP text encoder of two; the folder is incomplete, download the model again."
            )
        if there[0]:
            outputs = [
                load(CLIPTextModelWithProjection, folder, part)(
                    folder_tokens(folder / tokenizer, ""), output_hidden_states=True
                )
                for part, tokenizer in zip(self.text, ("tokenizer", "tokenizer_2"), strict=False)
            ]
            found = torch.cat([output.hidden_states[-2] for output in outputs], -1)
            clip = F.pad(found, (0, width - found.shape[-1]))
            pooled = torch.cat([output[0] for output in outputs], -1)
        if there[2]:
            long = t5_empty_prompt(load(T5EncoderModel, folder, self.text[2]), T5_TOKENS)
        return {"encoder_hidden_states": torch.cat([clip, long], 1), "pooled_projections": pooled}

    def layers(self, transformer: Any) -> list[str]:
        """The joint attention of every block, behind it that of the image alone where a block has two (3.5 medium)."""
        return [
            f"transformer_blocks.{number}.{name}"
            for number, block in enumerate(transformer.transformer_blocks)
            for name in ("attn", "attn2")
            if getattr(block, name, None) is not None
        ]

    def velocity(self, transformer: Any, latents: Tensor, timestep: Tensor, condition: Mapping[str, Tensor]) -> Tensor:
        """The prediction (B, C, h, w)."""
        velocity: Tensor = transformer(latents, timestep=timestep, **condition).sample
        return velocity

    def projected(self, attention: Any, inputs: Mapping[str, Any], _text_tokens: int) -> Projected:
        """Image tokens have projections of their own."""
        query, key, value = project(attention, inputs["hidden_states"])
        return Projected(normed(attention.norm_q, query), normed(attention.norm_k, key), value)
