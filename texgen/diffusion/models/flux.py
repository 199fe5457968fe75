"""Flux.1: blocks of two streams, then blocks of one, rotary position embeddings, latents packed by 2 x 2."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from diffusers import FluxTransformer2DModel
from diffusers.models.embeddings import apply_rotary_emb
from torch import Tensor
from transformers import CLIPTextModel, T5EncoderModel

from texgen.diffusion.models.joint import PATCH, PartLoader, Projected, project
from texgen.diffusion.models.text import folder_tokens, t5_empty_prompt
from texgen.errors import ModelError

NATIVE_SIDE = 128
T5_TOKENS = {True: 512, False: 256}
"""By whether the guidance is distilled (dev), or the steps are (schnell)."""
GUIDANCE = 1.0
"""Told to a network whose guidance is distilled: none, as there is no prompt to be guided to."""


class Flux:
    """A `texgen.diffusion.models.joint.Family`.

    The rows and columns that the rotary embedding turns by begin at 0 in each tile.

    References:
        Black Forest Labs, "FLUX.1", 2024, https://github.com/black-forest-labs/flux.
    """

    transformer_class = FluxTransformer2DModel
    text = ("text_encoder", "text_encoder_2")

    def native_side(self, _config: Mapping[str, Any]) -> int:
        """1024 px, the pipeline's default."""
        return NATIVE_SIDE

    def largest_side(self, _config: Mapping[str, Any]) -> None:
        """Any: rotary embeddings have no end."""

    def latent_channels(self, config: Mapping[str, Any]) -> int:
        """A token holds `PATCH` x `PATCH` latent pixels."""
        return int(config["in_channels"]) // PATCH**2

    def sigmas(self, steps: int) -> list[float]:
        """From 1 to 1 / steps, evenly."""
        return torch.linspace(1, 1 / steps, steps, dtype=torch.float64).tolist()

    @torch.no_grad()
    def condition(self, folder: Path, config: Mapping[str, Any], load: PartLoader) -> dict[str, Tensor]:
        """T5; pooled CLIP.

        Raises:
            ModelError: A text encoder is missing: the model was not trained without.
        """
        for part in self.text:
            if not (folder / part).is_dir():
                raise ModelError(
                    f"{folder}: no {part}; Flux needs both text encoders, for the empty prompt: download the model again."
                )
        pooled = load(CLIPTextModel, folder, self.text[0])(folder_tokens(folder / "tokenizer", "")).pooler_output
        long = t5_empty_prompt(load(T5EncoderModel, folder, self.text[1]), T5_TOKENS[bool(config["guidance_embeds"])])
        return {"encoder_hidden_states": long, "pooled_projections": pooled}

    def layers(self, transformer: Any) -> list[str]:
        """The attention of all blocks with two streams, then of all with one."""
        return [
            f"{kind}.{number}.attn"
            for kind in ("transformer_blocks", "single_transformer_blocks")
            for number in range(len(getattr(transformer, kind)))
        ]

    def velocity(self, transformer: Any, latents: Tensor, timestep: Tensor, condition: Mapping[str, Tensor]) -> Tensor:
        """The prediction (B, C, h, w)."""
        rows, columns = (side // PATCH for side in latents.shape[-2:])
        places = torch.cartesian_prod(torch.arange(rows), torch.arange(columns))
        guidance = torch.full_like(timestep, GUIDANCE) if transformer.config.guidance_embeds else None
        tokens = transformer(
            F.pixel_unshuffle(latents, PATCH).flatten(2).transpose(1, 2),
            timestep=timestep / 1000,
            guidance=guidance,
            img_ids=F.pad(places, (1, 0)).to(latents),
            txt_ids=latents.new_zeros(condition["encoder_hidden_states"].shape[1], 3),
            **condition,
        ).sample
        return F.pixel_shuffle(tokens.transpose(1, 2).unflatten(2, (rows, columns)), PATCH)

    def projected(self, attention: Any, inputs: Mapping[str, Any], text_tokens: int) -> Projected:
        """In blocks of one stream the text comes before the image, as it always does in the rotary embedding."""
        image = inputs["hidden_states"]
        if inputs.get("encoder_hidden_states") is None:
            image = image[:, text_tokens:]
        turns = tuple(part[text_tokens:] for part in inputs["image_rotary_emb"])
        query, key, value = project(attention, image)
        return Projected(
            apply_rotary_emb(attention.norm_q(query), turns), apply_rotary_emb(attention.norm_k(key), turns), value
        )
