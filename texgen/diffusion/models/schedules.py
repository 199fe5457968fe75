"""A model's own noise schedule in a fixed number of steps: DDIM for diffusion, Euler steps for flow matching."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence

import torch
from diffusers import DDIMScheduler, FlowMatchEulerDiscreteScheduler
from torch import Tensor

from texgen.diffusion.denoising import Schedule


class DDIMSchedule(Schedule):
    """DDIM with a diffusion model's noise schedule.

    Args:
        scheduler: Scheduler of the model; it is copied, not changed.
        steps: Steps over the whole range of timesteps.
    """

    def __init__(self, scheduler: DDIMScheduler, steps: int) -> None:
        self._scheduler = copy.deepcopy(scheduler)
        self._scheduler.set_timesteps(steps)
        self.timesteps = tuple(self._scheduler.timesteps.tolist())
        self._stride = scheduler.config.num_train_timesteps // steps

    def previous(self, timestep: float) -> float:
        """t - train timesteps // steps, at least 0."""
        return max(timestep - self._stride, 0)

    def levels(self, timestep: float) -> tuple[float, float]:
        """sqrt(abar_t) and sqrt(1 - abar_t)."""
        kept = float(self._scheduler.alphas_cumprod[int(timestep)])
        return math.sqrt(kept), math.sqrt(1 - kept)

    def noised(self, latents: Tensor, noise: Tensor, timestep: float) -> Tensor:
        """sqrt(abar_t) latents + sqrt(1 - abar_t) noise."""
        return self._scheduler.add_noise(latents, noise, torch.tensor([int(timestep)]))  # type: ignore[no-any-return]

    def step(self, prediction: Tensor, timestep: float, latents: Tensor) -> Tensor:
        """diffusers' own step (eta = 0)."""
        return self._scheduler.step(prediction, int(timestep), latents).prev_sample  # type: ignore[no-any-return]


class FlowSchedule(Schedule):
    """Flow matching along straight paths: x_t = (1 - sigma_t) latents + sigma_t noise, sigma_t = t / 1000.

    The network predicts the velocity, noise - latents. The model's shift of sigma puts more steps where there is much noise.

    Args:
        scheduler: Scheduler of the model; it is copied, not changed.
        steps: Steps from noise to picture.
        tokens: Tokens of a tile; a scheduler with `use_dynamic_shifting` shifts more for more tokens.
        sigmas: Values of sigma before the shift, one per step, decreasing; by default the scheduler's own.

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
        """The next timestep; 0 after the last."""
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
    """Shift for a number of tokens, on the line through (base_image_seq_len, base_shift) and (max_image_seq_len, max_shift)."""
    config = scheduler.config
    slope = (config.max_shift - config.base_shift) / (config.max_image_seq_len - config.base_image_seq_len)
    return float(config.base_shift + slope * (tokens - config.base_image_seq_len))
