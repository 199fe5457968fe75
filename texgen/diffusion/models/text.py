"""The text condition: the empty prompt, encoded once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer, T5EncoderModel

BEGIN, END, LENGTH = 49406, 49407, 77


def zero_condition(width: int) -> dict[str, Any]:
    """The condition of a model without text encoder: one token of zeros, (1, 1, width)."""
    return {"encoder_hidden_states": torch.zeros(1, 1, width)}


def empty_prompt_ids(pad: int = END) -> Tensor:
    """CLIP's token ids of the empty prompt, (1, 77). The first encoders pad with the end token, OpenCLIP's with 0."""
    return torch.tensor([[BEGIN, END] + [pad] * (LENGTH - 2)])


def tokenized_empty_prompt(folder: Path) -> Tensor:
    """The same from a tokenizer's folder, (1, length)."""
    tokenizer = CLIPTokenizer.from_pretrained(folder, local_files_only=True)
    ids: Tensor = tokenizer(
        "", padding="max_length", max_length=tokenizer.model_max_length, truncation=True, return_tensors="pt"
    ).input_ids
    return ids


@torch.no_grad()
def stable_diffusion_condition(encoder: CLIPTextModel, ids: Tensor) -> dict[str, Any]:
    """Stable Diffusion 1.x and 2.x: the encoder's last hidden state, (1, length, width)."""
    return {"encoder_hidden_states": encoder(ids)[0].float()}


@torch.no_grad()
def stable_diffusion_xl_condition(
    encoders: tuple[CLIPTextModel | None, CLIPTextModelWithProjection],
    ids: tuple[Tensor | None, Tensor],
    native_side_px: int,
) -> dict[str, Any]:
    """Stable Diffusion XL: penultimate hidden states side by side, pooled text, and an uncropped native size."""
    outputs = [
        encoder(tokens, output_hidden_states=True)
        for encoder, tokens in zip(encoders, ids, strict=True)
        if encoder is not None
    ]
    return {
        "encoder_hidden_states": torch.cat([output.hidden_states[-2] for output in outputs], -1).float(),
        "added_cond_kwargs": {
            "text_embeds": outputs[-1][0].float(),
            "time_ids": size_ids(native_side_px),
        },
    }


def size_ids(side_px: int) -> Tensor:
    """What Stable Diffusion XL is told of a square picture that was neither shrunk nor cropped, (1, 6)."""
    return torch.tensor([[side_px, side_px, 0, 0, side_px, side_px]], dtype=torch.float32)


@torch.no_grad()
def t5_empty_prompt(encoder: T5EncoderModel, length: int) -> Tensor:
    """T5's last hidden state of the empty prompt, (1, length, width): its ids are an end token and padding, whatever the vocabulary."""
    ids = torch.full((1, length), encoder.config.pad_token_id)
    ids[0, 0] = encoder.config.eos_token_id
    hidden: Tensor = encoder(ids)[0]
    return hidden.float()
