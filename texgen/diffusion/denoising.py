"""The interface between synthesis and a diffusion model, as protocols; `texgen.diffusion.models` implements it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor

from texgen.diffusion.attention import ExemplarKeyValues, Features, InjectionMode
from texgen.job import Prompt
from tiling import Size, Tile, Wrap

Condition = Mapping[str, Any]
"""Inputs of a network other than the latents and the timestep, such as an encoded prompt."""
Made = TypeVar("Made")


class Schedule(Protocol):
    """A noise schedule with a fixed number of steps; immutable.

    A noisy picture is alpha_t latents + sigma_t noise. Timesteps are integers for diffusion models, real numbers for flow matching.

    Attributes:
        timesteps: Timesteps of all steps, decreasing.
    """

    timesteps: tuple[float, ...]

    def last(self, strength: float) -> tuple[float, ...]:
        """The last ceil(strength * steps) timesteps.

        References:
            Meng et al., "SDEdit: Guided Image Synthesis and Editing with Stochastic Differential Equations", ICLR 2022,
            https://arxiv.org/abs/2108.01073.
        """
        steps = len(self.timesteps)
        return self.timesteps[steps - min(math.ceil(round(strength * steps, 6)), steps) :]

    def previous(self, timestep: float) -> float:
        """The timestep after a step from this one, at least 0."""

    def levels(self, timestep: float) -> tuple[float, float]:
        """alpha and sigma of a timestep."""

    def noised(self, latents: Tensor, noise: Tensor, timestep: float) -> Tensor:
        """Clean latents noised to the level of a timestep."""

    def step(self, prediction: Tensor, timestep: float, latents: Tensor) -> Tensor:
        """One deterministic step from a timestep to the previous one."""


class Denoiser(Protocol):
    """A denoising network whose self-attention can be captured and injected."""

    @property
    def device(self) -> torch.device: ...

    @property
    def dtype(self) -> torch.dtype: ...

    def __call__(self, latents: Tensor, timestep: float, condition: Condition | None = None) -> Tensor:
        """Prediction for latents (B, C, h, w), float32, given a condition; None is the empty prompt."""

    def features(self, latents: Tensor, timestep: float, layers: Sequence[str]) -> Features:
        """Self-attention features of `layers`, which are names in order of execution; gradients flow back to the latents."""

    def injecting(
        self, key_values: ExemplarKeyValues, mode: InjectionMode, labels: Tensor | None = None
    ) -> AbstractContextManager[None]:
        """Context in which predictions attend to `key_values` instead of (`replace`) or in addition to (`beside`) their own keys and values.

        With `labels` of the latents, (B, 1, h, w), each token attends to the keys and values of its label.
        """

    def in_float32(self) -> AbstractContextManager[None]:
        """Context in which the network computes in float32."""


class DenoisingModel(Protocol):
    """A latent diffusion model, frozen.

    Attributes:
        name: The name that the user gave.
        fingerprint: Hash of its weights.
        compiled: Whether torch compiles parts of the network, which changes the last bits of the result.
    """

    name: str
    fingerprint: str
    compiled: bool

    @property
    def device(self) -> torch.device:
        """Device of the network."""

    @property
    def dtype(self) -> torch.dtype:
        """Dtype of the network."""

    @property
    def network(self) -> Any:
        """The denoising network; copies of the model share it."""

    @property
    def factor(self) -> int:
        """Image pixels per latent pixel along one axis."""

    @property
    def native_tile(self) -> Size:
        """Size of a tile as trained, in latent pixels."""

    @property
    def prediction_type(self) -> str:
        """What the network predicts: `epsilon`, `v_prediction` or `velocity`."""

    @property
    def latent_channels(self) -> int: ...

    @property
    def is_xl(self) -> bool:
        """Whether it is Stable Diffusion XL."""

    @property
    def attention_layers(self) -> Sequence[str]:
        """Self-attention layers in order of execution."""

    @property
    def injects(self) -> bool:
        """Whether its denoiser supports `injecting`."""

    @property
    def halo(self) -> int:
        """Context around a tile that decoding needs, in latent pixels."""

    @property
    def decodes_locally(self) -> bool:
        """Whether encoder and decoder are local: an output pixel depends only on input pixels around it, not on the whole picture."""

    @property
    def encoder_halo(self) -> int:
        """Context around a tile that encoding needs, in latent pixels."""

    def schedule(self, steps: int) -> Schedule:
        """The model's noise schedule with this number of steps."""

    def denoiser(self, recomputed: bool = False) -> AbstractContextManager[Denoiser]:
        """Context that gives the network with access to its self-attention; the network is unchanged afterwards.

        If `recomputed`, it saves memory by gradient checkpointing: blocks are computed again in the backward pass.
        """

    @property
    def controls(self) -> int:
        """Number of ControlNets; each reads one picture."""

    @property
    def guidance_scale(self) -> float:
        """Default guidance scale of a prompt."""

    def check_prompt(self, prompt: Prompt) -> None:
        """Refuse a prompt that the model cannot read.

        Raises:
            ModelError: The model has no text encoder or no tokenizer.
            OptionError: The prompt is too long, or the network does not support its guidance.
        """

    def conditions(self, prompt: Prompt, size_px: Size) -> tuple[Condition, Condition | None]:
        """Conditions of a prompt and of its negative, for a picture of this size; the second is None without guidance."""

    def controlled(
        self, condition: Condition | None, latents: Tensor, timestep: float, pictures: Tensor, weights: Sequence[float]
    ) -> Condition:
        """The condition, extended by what the ControlNets add to the network's prediction.

        Args:
            condition: Condition of the prediction; None is the empty prompt.
            latents: Input of the network, (B, C, h, w).
            timestep: The timestep.
            pictures: Pictures of the n ControlNets, concatenated along the channels, (B, 3 n, H, W) in [0, 1].
            weights: Weight of each ControlNet.
        """

    def encode(self, image: Tensor, tile: Tile | None = None) -> Tensor:
        """Encode an image (1, 3, H, W) in [0, 1], sides multiples of `factor`, to latents (1, C, h, w), float32.

        The latents are the posterior's mean, shifted and scaled as the network takes them.

        Raises:
            TexgenError: The autoencoder gave NaN or Inf; the message names the `tile`.
        """

    def tile_encoder(
        self, paint: Callable[[Tile], Tensor], canvas: Size, wrap: Wrap
    ) -> Callable[[Tensor, Tile], Tensor]:
        """`encode` for tiles of a canvas, without seams between tiles that are read with `encoder_halo` around them.

        Args:
            paint: Gives the pixels (1, 3, H, W) in [0, 1] of a tile in latent pixels; the tile may cross a border that wraps.
            canvas: Size of the canvas in latent pixels.
            wrap: Axes that wrap around.
        """

    def decode(self, latents: Tensor, tile: Tile | None = None) -> Tensor:
        """Decode latents (1, C, h, w) to an image (1, 3, H, W), float32, not clamped to [0, 1].

        Raises:
            TexgenError: The autoencoder gave NaN or Inf; the message names the `tile`.
        """

    def decode_signed(self, latents: Tensor) -> Tensor:
        """Decode latents to an image in [-1, 1], with gradients, as the autoencoder returns it."""

    def tile_decoder(self, canvas: Tensor, wrap: Wrap) -> Callable[[Tensor, Tile], Tensor]:
        """`decode` for tiles of a canvas (1, C, h, w), without seams between tiles that are read with `halo` around them."""

    def trainable_decoder(self) -> tuple[DenoisingModel, Sequence[Tensor]]:
        """A copy with a trainable decoder in float32, and the decoder's parameters."""

    def decoder_weights(self) -> dict[str, Tensor]:
        """The decoder's tensors on the CPU, by their names in the autoencoder."""

    def with_decoder(self, weights: Mapping[str, Tensor]) -> DenoisingModel:
        """A copy whose decoder has the given weights.

        Raises:
            ModelError: The weights belong to another autoencoder.
        """

    def once(self, what: str, depends_on: Sequence[Any], make: Callable[[], Made]) -> Made:
        """The last value made under this name if `depends_on` is the same, else a new one. Runs share it, so do not modify it."""

    def tile_bytes(self, tile: Size, recomputed: bool = False) -> int:
        """Bytes that an AD iteration keeps for the gradient of one tile (size in latent pixels), found without running the network."""

    def offload_network(self) -> bool:
        """Move the denoising network to the CPU; False if it is already there."""

    def offload_autoencoder(self) -> bool:
        """Move the autoencoder to the CPU; False if it is already there."""
