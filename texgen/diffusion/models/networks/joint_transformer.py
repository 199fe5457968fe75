"""A transformer whose image and text tokens attend jointly, as a `texgen.diffusion.denoising.Denoiser`."""

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
"""Latent pixels a side of an image token."""


class Family(Protocol):
    """What a kind of transformer has its own way of."""

    @property
    def transformer_class(self) -> Any:
        """Of diffusers."""

    @property
    def text(self) -> Sequence[str]:
        """Parts of the folder that encode text."""

    def native_side(self, config: Mapping[str, Any]) -> int:
        """Of a tile, in latent pixels."""

    def largest_side(self, config: Mapping[str, Any]) -> int | None:
        """Of a tile that there are position embeddings for, in latent pixels; None where there is no limit."""

    def latent_channels(self, config: Mapping[str, Any]) -> int:
        """Channels of the latents that the transformer takes."""

    def sigmas(self, steps: int) -> list[float] | None:
        """What its pipeline gives the scheduler; None for the scheduler's own."""

    def guidance_scale(self, config: Mapping[str, Any]) -> float:
        """By default; 1 where the network cannot be guided."""

    @property
    def is_told_guidance(self) -> bool:
        """Whether the scale is an input of the network (distilled guidance), and there is no second prediction."""

    @property
    def lora_mixin(self) -> Any:
        """Of diffusers, which reads LoRAs for such a transformer."""

    def tokens(self, folder: Path, config: Mapping[str, Any], prompt: str) -> dict[str, Tensor]:
        """Ids (1, length) of a prompt for each text encoder that is there, by its part of the folder.

        Raises:
            ModelError: Text encoders, or tokenizers, are missing that the model cannot do without.
            OptionError: The prompt is longer than is read.
        """

    def conditions(self, folder: Path, config: Mapping[str, Any], prompts: Sequence[str]) -> list[dict[str, Tensor]]:
        """Encoded prompts, batch 1 each.

        Raises:
            ModelError, OptionError: As `tokens`.
        """

    def layers(self, transformer: Any) -> list[str]:
        """Names of the attention modules that see the image tokens, in order of execution."""

    def velocity(self, transformer: Any, latents: Tensor, timestep: Tensor, condition: Mapping[str, Tensor]) -> Tensor:
        """The prediction.

        Args:
            transformer: The network.
            latents: (B, C, h, w), sides multiples of `PATCH`, in the network's dtype.
            timestep: (B,), from 1000 to 0.
            condition: Of batch B.
        """

    def projected(self, attention: Any, inputs: Mapping[str, Any], text_tokens: int) -> Projected:
        """Queries, keys and values of the image tokens, normalised and turned as the module compares them.

        Args:
            attention: One of `layers`.
            inputs: Keyword arguments that it was called with.
            text_tokens: Number of the text tokens.
        """


class JointTransformer(OfNetwork, Denoiser):
    """A transformer whose joint attention can be read; made by `opened`.

    In a U-Net attention distillation compares self-attention, which no text enters, and leaves cross-attention alone. In joint
    attention both are one softmax, so that what is compared here is its image part: queries of image tokens, keys and values of
    image tokens. Thus a picture compared with itself has no loss. The network itself goes on with text, as it was trained.

    Positions are those of a tile, which begin at its top left corner, for canvas and exemplars alike. Sides that are odd in latent
    pixels are repeated once at the end.

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
        """Velocity (B, C, h, w), in the transformer's dtype inside, float32 outside."""
        height, width = latents.shape[-2:]
        missing = (0, -width % PATCH, 0, -height % PATCH)
        padded = F.pad(latents, missing, mode="replicate") if any(missing) else latents
        batch = len(latents)
        times = torch.as_tensor(timestep, dtype=torch.float32, device=latents.device).expand(batch)
        told = repeated(self.condition if condition is None else condition, batch, self.dtype)
        velocity = self.family.velocity(self.transformer, padded.to(self.dtype), times, told)
        return velocity[..., :height, :width].float()

    def features(self, latents: Tensor, timestep: float, layers: Sequence[str]) -> Features:
        """Attention among the image tokens; nothing after the last layer is computed."""
        seen: dict[str, Mapping[str, Any]] = {}
        last = None if self.recomputed else layers[-1]  # a block that stops in its middle cannot be computed again

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
    """The transformer as a denoiser; afterwards it is as found.

    Args:
        transformer: The network.
        condition: Arguments of its calls, batch 1.
        family: Of the transformer.
        recomputed: See `recomputing`.
    """
    with recomputing(transformer, recomputed):
        yield JointTransformer(transformer, condition, family, recomputed)
