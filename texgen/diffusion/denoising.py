"""What synthesis asks of a diffusion model; `texgen.diffusion.models` gives it."""

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
"""What a network is told beside the latents and the timestep."""
Made = TypeVar("Made")


class Schedule(Protocol):
    """A noise schedule walked in a fixed number of steps; frozen.

    A noisy picture is alpha_t latents + sigma_t noise. Diffusion has whole timesteps, flow matching those between them, too.

    Attributes:
        timesteps: Of all steps, falling.
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
        """The timestep that a step from this one leads to, at least 0."""

    def levels(self, timestep: float) -> tuple[float, float]:
        """alpha and sigma of a timestep."""

    def noised(self, latents: Tensor, noise: Tensor, timestep: float) -> Tensor:
        """Latents with as much noise as a timestep has."""

    def step(self, prediction: Tensor, timestep: float, latents: Tensor) -> Tensor:
        """One deterministic step from a timestep to the previous one."""


class Denoiser(Protocol):
    """A denoising network whose self-attention can be read and added to."""

    @property
    def device(self) -> torch.device: ...

    @property
    def dtype(self) -> torch.dtype: ...

    def __call__(self, latents: Tensor, timestep: float, condition: Condition | None = None) -> Tensor:
        """Prediction for latents (B, C, h, w), float32, under a condition; None is the empty prompt."""

    def features(self, latents: Tensor, timestep: float, layers: Sequence[str]) -> Features:
        """Self-attention features of `layers`, named in order of execution; gradients flow back to the latents."""

    def injecting(
        self, key_values: ExemplarKeyValues, mode: InjectionMode, labels: Tensor | None = None
    ) -> AbstractContextManager[None]:
        """Within, predictions attend to `key_values` instead of (`replace`) or `beside` their own keys and values.

        With `labels` (B, 1, h, w), those of the latents, each token attends to the pair of its label.
        """

    def in_float32(self) -> AbstractContextManager[None]:
        """Within, the network computes in float32."""


class DenoisingModel(Protocol):
    """A latent diffusion model, frozen.

    Attributes:
        name: What the user called it.
        fingerprint: Hash of its weights.
        compiled: Whether torch compiles parts of the network, which changes the last bits.
    """

    name: str
    fingerprint: str
    compiled: bool

    @property
    def device(self) -> torch.device:
        """Of the network."""

    @property
    def dtype(self) -> torch.dtype:
        """Of the network."""

    @property
    def network(self) -> Any:
        """That denoises; the same object in copies of the model."""

    @property
    def factor(self) -> int:
        """Image pixels per latent pixel along one axis."""

    @property
    def native_tile(self) -> Size:
        """In latent pixels."""

    @property
    def prediction_type(self) -> str:
        """What the network predicts: `epsilon`, `v_prediction`."""

    @property
    def latent_channels(self) -> int: ...

    @property
    def is_xl(self) -> bool:
        """Whether it is a Stable Diffusion XL."""

    @property
    def attention_layers(self) -> Sequence[str]:
        """Self-attention layers in order of execution."""

    @property
    def injects(self) -> bool:
        """Whether its denoiser has `injecting`."""

    @property
    def halo(self) -> int:
        """Latent pixels of context that a tile is decoded with."""

    @property
    def decodes_locally(self) -> bool:
        """Whether the autoencoder looks at nothing but the surroundings of a pixel, in both directions."""

    @property
    def encoder_halo(self) -> int:
        """Latent pixels of context that a tile is encoded with."""

    def schedule(self, steps: int) -> Schedule:
        """The model's noise schedule in so many steps."""

    def denoiser(self, recomputed: bool = False) -> AbstractContextManager[Denoiser]:
        """Within, the network with its self-attention open; afterwards it is as found.

        If `recomputed`, it keeps little for gradients, and computes its blocks again.
        """

    @property
    def controls(self) -> int:
        """Number of ControlNets: each reads a picture."""

    @property
    def guidance_scale(self) -> float:
        """Of a prompt, by default."""

    def check_prompt(self, prompt: Prompt) -> None:
        """Refuse a prompt that cannot be read.

        Raises:
            ModelError: There is no text encoder, or no tokenizer.
            OptionError: The prompt is too long, or guidance is not known to the network.
        """

    def conditions(self, prompt: Prompt, size_px: Size) -> tuple[Condition, Condition | None]:
        """Of a prompt, in a picture of a size, and of what guidance leads away from; None without guidance."""

    def controlled(
        self, condition: Condition | None, latents: Tensor, timestep: float, pictures: Tensor, weights: Sequence[float]
    ) -> Condition:
        """A condition with what the ControlNets add to the prediction for latents (B, C, h, w).

        Args:
            condition: Of the prediction; None is the empty prompt.
            latents: As the network gets them.
            timestep: The timestep.
            pictures: (B, 3 n, H, W) in [0, 1], those of the n ControlNets side by side.
            weights: Of each.
        """

    def encode(self, image: Tensor, tile: Tile | None = None) -> Tensor:
        """Image (1, 3, H, W) in [0, 1], sides multiples of `factor`, to latents (1, C, h, w), float32.

        The posterior's mean, times the scaling factor.

        Raises:
            TexgenError: The autoencoder gave NaN or Inf, in the `tile`.
        """

    def tile_encoder(
        self, paint: Callable[[Tile], Tensor], canvas: Size, wrap: Wrap
    ) -> Callable[[Tensor, Tile], Tensor]:
        """`encode` for tiles of a canvas: with `encoder_halo` around them they agree with one another.

        Args:
            paint: Pixels (1, 3, H, W) in [0, 1] of a tile in latent pixels, which may pass the border of an axis that wraps.
            canvas: In latent pixels.
            wrap: Axes that close to a ring.
        """

    def decode(self, latents: Tensor, tile: Tile | None = None) -> Tensor:
        """Latents (1, C, h, w) to an image (1, 3, H, W), float32, not clamped to [0, 1].

        Raises:
            TexgenError: The autoencoder gave NaN or Inf, in the `tile`.
        """

    def decode_signed(self, latents: Tensor) -> Tensor:
        """The same in [-1, 1], with gradients, as the autoencoder gives it."""

    def tile_decoder(self, canvas: Tensor, wrap: Wrap) -> Callable[[Tensor, Tile], Tensor]:
        """`decode` for tiles of a canvas (1, C, h, w): with `halo` around them they agree with one another."""

    def trainable_decoder(self) -> tuple[DenoisingModel, Sequence[Tensor]]:
        """A copy whose decoder learns, in float32, and the decoder's parameters."""

    def decoder_weights(self) -> dict[str, Tensor]:
        """The decoder's tensors on the CPU, by their names in the autoencoder."""

    def with_decoder(self, weights: Mapping[str, Tensor]) -> DenoisingModel:
        """A copy whose decoder has other weights.

        Raises:
            ModelError: The weights are of another autoencoder.
        """

    def once(self, what: str, depends_on: Sequence[Any], make: Callable[[], Made]) -> Made:
        """What was made last under this name, if it depends on the same; else it is made. Runs share it: nobody changes it."""

    def tile_bytes(self, tile: Size, recomputed: bool = False) -> int:
        """Bytes that an AD iteration keeps for the gradient of one tile (in latent pixels), without running it."""

    def offload_network(self) -> bool:
        """Move the denoising network to the CPU; False where it is there already."""

    def offload_autoencoder(self) -> bool:
        """Move the autoencoder to the CPU; False where it is there already."""
