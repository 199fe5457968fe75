"""Flux.1: blocks of two streams, then blocks of one, rotary position embeddings, latents packed by 2 x 2."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from diffusers import FluxTransformer2DModel
from diffusers.loaders import FluxLoraLoaderMixin
from diffusers.models.embeddings import apply_rotary_emb
from torch import Tensor
from transformers import CLIPTextModel, T5EncoderModel

from texgen.diffusion.models.loading.components import text_encoder
from texgen.diffusion.models.networks.joint_transformer import PATCH, Family, one_by_one
from texgen.diffusion.models.networks.network import Projected, project
from texgen.diffusion.models.prompts import folder_tokens, t5_tokens
from texgen.errors import ModelError

NATIVE_SIDE = 128
T5_TOKENS = {True: 512, False: 256}
"""Length of T5's prompt, by whether guidance is distilled (True: dev, False: schnell)."""
GUIDANCE, DISTILLED_SCALE = 1.0, 3.5
"""Guidance scales of a network with distilled guidance: for the empty prompt, and the default for a prompt."""


class Flux(Family):
    """Flux.1. Rows and columns of the rotary embedding start at 0 in every tile.

    References:
        Black Forest Labs, "FLUX.1", 2024, https://github.com/black-forest-labs/flux.
    """

    transformer_class = FluxTransformer2DModel
    text = ("text_encoder", "text_encoder_2")
    is_told_guidance = True
    lora_mixin = FluxLoraLoaderMixin

    def native_side(self, _config: Mapping[str, Any]) -> int:
        """1024 px, the pipeline's default."""
        return NATIVE_SIDE

    def largest_side(self, _config: Mapping[str, Any]) -> None:
        """None: rotary embeddings have no limit."""

    def latent_channels(self, config: Mapping[str, Any]) -> int:
        """Channels of a token over `PATCH` x `PATCH`, the latent pixels that it holds."""
        return int(config["in_channels"]) // PATCH**2

    def sigmas(self, steps: int) -> list[float]:
        """Evenly spaced from 1 to 1 / steps."""
        return torch.linspace(1, 1 / steps, steps, dtype=torch.float64).tolist()

    def guidance_scale(self, config: Mapping[str, Any]) -> float:
        """The pipeline's default if guidance is distilled (dev); 1 for schnell, which has no guidance."""
        return DISTILLED_SCALE if config["guidance_embeds"] else 1.0

    def tokens(self, folder: Path, config: Mapping[str, Any], prompt: str) -> dict[str, Tensor]:
        """Ids of CLIP and T5.

        Raises:
            ModelError: A text encoder or a tokenizer is missing; the model was not trained without them.
            OptionError: The prompt is too long.
        """
        for part in self.text:
            if not (folder / part).is_dir():
                raise ModelError(
                    f"{folder}: no {part}; Flux needs both text encoders, for the empty prompt: download the model again."
                )
        length = T5_TOKENS[bool(config["guidance_embeds"])]
        ids = folder_tokens(folder / "tokenizer", prompt), t5_tokens(folder / "tokenizer_2", prompt, length)
        return dict(zip(self.text, ids, strict=True))

    @torch.no_grad()
    def conditions(self, folder: Path, config: Mapping[str, Any], prompts: Sequence[str]) -> list[dict[str, Tensor]]:
        """Hidden states of T5, and pooled CLIP."""
        told = [self.tokens(folder, config, prompt) for prompt in prompts]
        clip, t5 = (torch.cat([each[part] for each in told]) for part in self.text)
        pooled = text_encoder(CLIPTextModel, folder, self.text[0])(clip).pooler_output
        long = text_encoder(T5EncoderModel, folder, self.text[1])(t5)[0].float()
        return one_by_one(long, pooled)

    def layers(self, transformer: Any) -> list[str]:
        """The attention of all blocks with two streams, then of all blocks with one."""
        return [
            f"{kind}.{number}.attn"
            for kind in ("transformer_blocks", "single_transformer_blocks")
            for number in range(len(getattr(transformer, kind)))
        ]

    def velocity(self, transformer: Any, latents: Tensor, timestep: Tensor, condition: Mapping[str, Tensor]) -> Tensor:
        rows, columns = (side // PATCH for side in latents.shape[-2:])
        places = torch.cartesian_prod(torch.arange(rows), torch.arange(columns))
        told = dict(condition)
        scale = told.pop("guidance", torch.full_like(timestep, GUIDANCE)).to(timestep)
        tokens = transformer(
            F.pixel_unshuffle(latents, PATCH).flatten(2).transpose(1, 2),
            timestep=timestep / 1000,
            guidance=scale if transformer.config.guidance_embeds else None,
            img_ids=F.pad(places, (1, 0)).to(latents),
            txt_ids=latents.new_zeros(condition["encoder_hidden_states"].shape[1], 3),
            **told,
        ).sample
        return F.pixel_shuffle(tokens.transpose(1, 2).unflatten(2, (rows, columns)), PATCH)

    def projected(self, attention: Any, inputs: Mapping[str, Any], text_tokens: int) -> Projected:
        """In blocks with one stream, text tokens come before image tokens; in the rotary embedding they always do."""
        image = inputs["hidden_states"]
        if inputs.get("encoder_hidden_states") is None:
            image = image[:, text_tokens:]
        turns = tuple(part[text_tokens:] for part in inputs["image_rotary_emb"])
        query, key, value = project(attention, image)
        return Projected(
            apply_rotary_emb(attention.norm_q(query), turns), apply_rotary_emb(attention.norm_k(key), turns), value
        )
