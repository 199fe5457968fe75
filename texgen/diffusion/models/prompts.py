"""Prompts: tokenizers, and text encoders that turn a prompt into the condition of a UNet."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import snapshot_download
from tokenizers import Tokenizer
from torch import Tensor
from transformers import CLIPTokenizer

from texgen.diffusion.models.loading.checks import told_as
from texgen.errors import ModelError, OptionError
from tiling import Size

BEGIN, END, LENGTH = 49406, 49407, 77
T5_END, T5_PAD = 1, 0
CLIP = "openai/clip-vit-large-patch14"
"""Hub id of the tokenizer that all Stable Diffusion models use; only their pad tokens differ."""
VOCABULARY = ["vocab.json", "merges.txt", "tokenizer_config.json", "special_tokens_map.json"]
Condition = dict[str, Any]
"""Keyword arguments of a UNet's call, batch 1."""


@dataclass(frozen=True)
class Prompts:
    """The text encoders of a model, which are loaded when a prompt is read, and freed afterwards.

    Attributes:
        encoders: Loads the encoders: CLIP; for Stable Diffusion XL CLIP and OpenCLIP, or OpenCLIP alone.
        tokens: Gives the ids (1, length) of a prompt for each encoder.
        is_xl: Whether the condition is that of Stable Diffusion XL.
        zeros: Whether a missing negative prompt is encoded as zeros (diffusers' `force_zeros_for_empty_prompt`).
    """

    encoders: Callable[[], Sequence[Any]]
    tokens: Callable[[str], Sequence[Tensor]]
    is_xl: bool
    zeros: bool = False

    @torch.no_grad()
    def condition(self, prompt: str, size_px: Size, encoders: Sequence[Any] | None = None) -> Condition:
        """The condition of a prompt, for a picture of a size.

        For Stable Diffusion 1.x and 2.x it is the encoder's last hidden state, (1, length, width). For XL it is the concatenated
        penultimate hidden states, the pooled text, and the size ids of a picture that was neither shrunk nor cropped.

        Args:
            prompt: The prompt.
            size_px: Size of the picture, or tile.
            encoders: The encoders, if they are already loaded.
        """
        encoders = self.encoders() if encoders is None else encoders
        outputs = [
            encoder(ids, output_hidden_states=self.is_xl)
            for encoder, ids in zip(encoders, self.tokens(prompt), strict=True)
        ]
        if not self.is_xl:
            return {"encoder_hidden_states": outputs[0][0].float()}
        return {
            "encoder_hidden_states": torch.cat([output.hidden_states[-2] for output in outputs], -1).float(),
            "added_cond_kwargs": {"text_embeds": outputs[-1][0].float(), "time_ids": size_ids(size_px)},
        }

    def unconditional(self, negative: str | None, size_px: Size, encoders: Sequence[Any] | None = None) -> Condition:
        """The condition that guidance leads away from: that of the negative prompt or of the empty one; arguments as `condition`."""
        found = self.condition(negative or "", size_px, encoders)
        if negative is None and self.zeros:
            found["encoder_hidden_states"] = torch.zeros_like(found["encoder_hidden_states"])
            if self.is_xl:
                found["added_cond_kwargs"]["text_embeds"] = torch.zeros_like(found["added_cond_kwargs"]["text_embeds"])
        return found


def size_ids(size_px: Size) -> Tensor:
    """Size ids of Stable Diffusion XL for a picture that was neither shrunk nor cropped, (1, 6)."""
    return torch.tensor([[*size_px, 0, 0, *size_px]], dtype=torch.float32)


def folder_tokens(folder: Path, prompt: str) -> Tensor:
    """Ids (1, length) of a prompt, by the CLIP tokenizer in a folder."""
    with told_as(f"{folder}: cannot be loaded", "download the model again"):
        tokenizer = CLIPTokenizer.from_pretrained(folder, local_files_only=True)
    ends = tokenizer.bos_token_id, tokenizer.eos_token_id
    if ends != (BEGIN, END):  # transformers makes an empty tokenizer if files are missing
        raise ModelError(f"{folder}: holds no vocabulary of CLIP; download the model again.")
    length = min(tokenizer.model_max_length, LENGTH)
    ids: Tensor = tokenizer(
        prompt, padding="max_length", max_length=length, truncation=False, verbose=False, return_tensors="pt"
    ).input_ids
    _check_length(prompt, ids.shape[1] - 2, length - 2)
    return ids


def known_tokens(prompt: str, pad: int) -> Tensor:
    """Ids (1, 77) of a prompt for a model without a tokenizer: by CLIP's, from the hub or its cache. The empty prompt needs none."""
    if not prompt:
        return torch.tensor([[BEGIN, END] + [pad] * (LENGTH - 2)])
    try:
        folder = snapshot_download(CLIP, allow_patterns=VOCABULARY)
    except Exception as error:
        raise ModelError(
            f"a single file has no tokenizer, and that of {CLIP} is neither in the cache nor reachable; download it on a machine with a "
            "network and set HF_HOME to that cache, or give a diffusers folder."
        ) from error
    ids = folder_tokens(Path(folder), prompt)
    ids[0, int((ids[0] == END).int().argmax()) + 1 :] = pad
    return ids


def moved(condition: Mapping[str, Any], device: torch.device) -> Condition:
    """A condition on a device."""
    return {
        name: moved(value, device) if isinstance(value, Mapping) else value.to(device)
        for name, value in condition.items()
    }


def t5_tokens(folder: Path, prompt: str, length: int) -> Tensor:
    """T5's ids (1, length) of a prompt, by the tokenizer in a folder. The empty prompt needs none: it is an end token and padding.

    Raises:
        ModelError: The folder has no tokenizer.
        OptionError: The prompt is too long.
    """
    ids = [T5_END]
    if prompt:
        with told_as(f"{folder}: cannot be loaded", "download the model again"):
            tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        tokenizer.no_truncation()
        tokenizer.no_padding()
        ids = tokenizer.encode(prompt).ids
    _check_length(prompt, len(ids) - 1, length - 1)
    return torch.tensor([ids + [T5_PAD] * (length - len(ids))])


def _check_length(prompt: str, tokens: int, most: int) -> None:
    if tokens > most:
        raise OptionError(f"the prompt {prompt[:20]!r}... has {tokens} tokens, the model reads {most}; shorten it.")
