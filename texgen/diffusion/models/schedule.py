"""DDIM over a model's own noise schedule, in a fixed number of steps."""

from __future__ import annotations

import copy
import math

import torch
from diffusers import DDIMScheduler
from torch import Tensor

from texgen.diffusion.denoising import Schedule


class DDIMSchedule(Schedule):
    """A scheduler of its own, set once.

    Args:
        scheduler: The model's; it stays as it is.
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
