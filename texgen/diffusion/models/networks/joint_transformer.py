"""Transformers with joint attention of image and text tokens, as a `texgen.diffusion.denoising.Denoiser`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from texgen.diffusion.attention import ExemplarKeyValues, Features, InjectionMode, LayerFeatures
from texgen.diffusion.denoising import Condition, Denoiser
from texgen.diffusion.models.networks.network import LastLayerReached, OfNetwork, Projected, recomputing, repeated
from texgen.errors import OptionError

PATCH = 2
"""Side of an image token in latent pixels."""


class Family(Protocol):
    """Functions specific to a kind of transformer."""

    @property
    def transformer_class(self) -> Any:
        """Its class in diffusers."""

    @property
    def text(self) -> Sequence[str]:
        """Names of the model's subfolders with text encoders."""

    def native_side(self, config: Mapping[str, Any]) -> int:
        """Native side of a tile, in latent pixels."""

    def largest_side(self, config: Mapping[str, Any]) -> int | None:
        """Largest side of a tile with position embeddings, in latent pixels; None if there is no limit."""

    def latent_channels(self, config: Mapping[str, Any]) -> int:
        """Channels of the latents that the transformer takes."""

    def sigmas(self, steps: int) -> list[float] | None:
        """Values of sigma that its pipeline gives the scheduler; None for the scheduler's own."""

    def guidance_scale(self, config: Mapping[str, Any]) -> float:
        """Default guidance scale; 1 if the network has no guidance."""

    @property
    def is_told_guidance(self) -> bool:
        """Whether the guidance scale is an input of the network (distilled guidance) instead of the weight of a second prediction."""

    @property
    def lora_mixin(self) -> Any:
        """diffusers' class that reads LoRAs for this transformer."""

    def tokens(self, folder: Path, config: Mapping[str, Any], prompt: str) -> dict[str, Tensor]:
        """Ids (1, length) of a prompt for each text encoder in the folder, by the name of its subfolder.

        Raises:
            ModelError: Text encoders or tokenizers that the model needs are missing.
            OptionError: The prompt is too long.
        """

    def conditions(self, folder: Path, config: Mapping[str, Any], prompts: Sequence[str]) -> list[dict[str, Tensor]]:
        """Conditions of prompts, batch 1 each.

        Raises:
            ModelError, OptionError: As `tokens`.
        """

    def layers(self, transformer: Any) -> list[str]:
        """Names of the attention modules that include image tokens, in order of execution."""

    def velocity(self, transformer: Any, latents: Tensor, timestep: Tensor, condition: Mapping[str, Tensor]) -> Tensor:
        """The predicted velocity, (B, C, h, w).

        Args:
            transformer: The network.
            latents: Noisy latents, (B, C, h, w), sides multiples of `PATCH`, in the network's dtype.
            timestep: Timesteps, (B,), from 1000 to 0.
            condition: Condition, batch B.
        """

    def projected(self, attention: Any, inputs: Mapping[str, Any], text_tokens: int) -> Projected:
        """Queries, keys and values of the image tokens, with the module's norms and rotary embedding applied.

        Args:
            attention: A module of `layers`.
            inputs: Keyword arguments of its call.
            text_tokens: Number of text tokens.
        """


def one_by_one(words: Tensor, pooled: Tensor) -> list[dict[str, Tensor]]:
    """The condition of each prompt: hidden states (prompts, tokens, C) and pooled projections (prompts, P), split by prompt."""
    return [
        {"encoder_hidden_states": each, "pooled_projections": whole}
        for each, whole in zip(torch.split(words, 1), torch.split(pooled, 1), strict=True)
    ]


class JointTransformer(OfNetwork, Denoiser):
    """A transformer whose joint attention can be captured; made by `opened`.

    In a UNet, attention distillation compares self-attention, which does not involve text, and ignores cross-attention. In joint
    attention both are one softmax, so only its image part is compared here: queries, keys and values of image tokens. A picture
    compared with itself thus has no loss. The forward pass itself includes the text, as trained.

    Positions start at the top left corner of each tile, for canvas and exemplars alike. Odd sides, in latent pixels, are padded by
    repeating the last row or column.

    References:
        Attention Distillation, CVPR 2025, https://arxiv.org/abs/2502.20235, Eq. 3, for U-Nets.
    """

    def __init__(
        self, transformer: Any, condition: Mapping[str, Tensor], family: Family, recomputed: bool = False
    ) -> None:
        self.transformer, self.condition, self.family, self.recomputed = transformer, condition, family, recomputed

    @property
    def network(self) -> Any:
        return self.transformer

    def __call__(self, latents: Tensor, timestep: float, condition: Condition | None = None) -> Tensor:
        """Velocity (B, C, h, w), float32, computed in the transformer's dtype."""
        height, width = latents.shape[-2:]
        missing = (0, -width % PATCH, 0, -height % PATCH)
        padded = F.pad(latents, missing, mode="replicate") if any(missing) else latents
        batch = len(latents)
        times = torch.as_tensor(timestep, dtype=torch.float32, device=latents.device).expand(batch)
        told = repeated(self.condition if condition is None else condition, batch, self.dtype)
        velocity = self.family.velocity(self.transformer, padded.to(self.dtype), times, told)
        return velocity[..., :height, :width].float()

    def features(self, latents: Tensor, timestep: float, layers: Sequence[str]) -> Features:
        """Attention among image tokens; without gradient checkpointing, the forward pass ends at the last layer."""
        seen: dict[str, Mapping[str, Any]] = {}
        last = None if self.recomputed else layers[-1]  # checkpointing cannot recompute a block that was interrupted

        def read(name: str) -> Any:
            def before(_attention: nn.Module, _args: Any, inputs: dict[str, Any]) -> None:
                seen[name] = inputs
                if name == last:
                    raise LastLayerReached

            return before

        with ExitStack() as hooks, suppress(LastLayerReached):
            for name in layers:
                hook = self.transformer.get_submodule(name).register_forward_pre_hook(read(name), with_kwargs=True)
                hooks.callback(hook.remove)
            self(latents, timestep)
        return {name: self._among_image_tokens(name, inputs) for name, inputs in seen.items()}

    def _among_image_tokens(self, layer: str, inputs: Mapping[str, Any]) -> LayerFeatures:
        text_tokens = self.condition["encoder_hidden_states"].shape[1]
        query, key, value = self.family.projected(self.transformer.get_submodule(layer), inputs, text_tokens)
        return LayerFeatures(query, key, value, F.scaled_dot_product_attention(query, key, value))

    def injecting(
        self, key_values: ExemplarKeyValues, mode: InjectionMode, labels: Tensor | None = None
    ) -> AbstractContextManager[None]:
        raise OptionError(f"inject={mode!r} is for models with a UNet, not for {type(self.transformer).__name__}.")


@contextmanager
def opened(
    transformer: Any, condition: Mapping[str, Tensor], family: Family, recomputed: bool = False
) -> Iterator[JointTransformer]:
    """Context that gives the transformer as a denoiser; it is unchanged afterwards.

    Args:
        transformer: The network.
        condition: Keyword arguments of its calls, batch 1.
        family: Family of the transformer.
        recomputed: See `recomputing`.
    """
    with recomputing(transformer, recomputed):
        yield JointTransformer(transformer, condition, family, recomputed)
