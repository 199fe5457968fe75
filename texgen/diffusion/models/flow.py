"""Flow matching over a model's own noise schedule, in a fixed number of Euler steps."""

from __future__ import annotations

import copy
from collections.abc import Sequence

from diffusers import FlowMatchEulerDiscreteScheduler
from torch import Tensor

from texgen.diffusion.denoising import Schedule


class FlowSchedule(Schedule):
    """Straight paths: x_t = (1 - sigma_t) latents + sigma_t noise, sigma_t = t / 1000.

    The network predicts the velocity, noise - latents. A model's shift of sigma makes it spend more steps where there is much noise.

    Args:
        scheduler: The model's; it stays as it is.
        steps: Steps from noise to picture.
        tokens: Of a tile; a scheduler with `use_dynamic_shifting` shifts more for a larger one.
        sigmas: Before the shift, one a step, falling; by default the scheduler's own.

    References:
        Esser et al., "Scaling Rectified Flow Transformers for High-Resolution Image Synthesis", ICML 2024,
        https://arxiv.org/abs/2403.03206, section 2 and Eq. 23.
    """

    def __init__(
        self,
        scheduler: FlowMatchEulerDiscreteScheduler,
        steps: int,
        tokens: int,
        sigmas: Sequence[float] | None = None,
    ) -> None:
        own = copy.deepcopy(scheduler)
        shift = _dynamic_shift(own, tokens) if own.config.use_dynamic_shifting else None
        own.set_timesteps(steps, sigmas=sigmas, mu=shift)
        self.timesteps = tuple(own.timesteps.tolist())
        self._whole = own.config.num_train_timesteps
        self._after = dict(zip(self.timesteps, (*self.timesteps[1:], 0.0), strict=True))

    def previous(self, timestep: float) -> float:
        """The next of the timesteps; 0 after the last."""
        return self._after[timestep]

    def levels(self, timestep: float) -> tuple[float, float]:
        """1 - sigma_t and sigma_t."""
        sigma = timestep / self._whole
        return 1 - sigma, sigma

    def noised(self, latents: Tensor, noise: Tensor, timestep: float) -> Tensor:
        """(1 - sigma_t) latents + sigma_t noise."""
        kept, sigma = self.levels(timestep)
        return kept * latents + sigma * noise

    def step(self, prediction: Tensor, timestep: float, latents: Tensor) -> Tensor:
        """x + (sigma_prev - sigma_t) velocity."""
        return latents + (self.previous(timestep) - timestep) / self._whole * prediction


def _dynamic_shift(scheduler: FlowMatchEulerDiscreteScheduler, tokens: int) -> float:
    """On the line through (base_image_seq_len, base_shift) and (max_image_seq_len, max_shift)."""
    config = scheduler.config
    slope = (config.max_shift - config.base_shift) / (config.max_image_seq_len - config.base_image_seq_len)
    return float(config.base_shift + slope * (tokens - config.base_image_seq_len))
