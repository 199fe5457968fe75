"""DDIM over a model's own noise schedule, in a fixed number of steps."""

from __future__ import annotations

import copy
import math

import torch
from diffusers import DDIMScheduler
from torch import Tensor


class DDIMSchedule:
    """A `texgen.diffusion.denoising.Schedule`: a scheduler of its own, set once.

    Args:
        scheduler: The model's; it stays as it is.
        steps: Steps over the whole range of timesteps.
    """

    def __init__(self, scheduler: DDIMScheduler, steps: int) -> None:
        self._scheduler = copy.deepcopy(scheduler)
        self._scheduler.set_timesteps(steps)
        self.timesteps: tuple[int, ...] = tuple(self._scheduler.timesteps.tolist())
        self._stride = scheduler.config.num_train_timesteps // steps

    def last(self, strength: float) -> tuple[int, ...]:
        """The last ceil(strength * steps) timesteps.

        References:
            Meng et al., "SDEdit: Guided Image Synthesis and Editing with Stochastic Differential Equations", ICLR 2022,
            https://arxiv.org/abs/2108.01073.
        """
        steps = len(self.timesteps)
        return self.timesteps[steps - min(math.ceil(round(strength * steps, 6)), steps) :]

    def previous(self, timestep: int) -> int:
        """t - train timesteps // steps, at least 0."""
        return max(timestep - self._stride, 0)

    def signal(self, timestep: int) -> float:
        """abar_t."""
        return float(self._scheduler.alphas_cumprod[timestep])

    def noised(self, latents: Tensor, noise: Tensor, timestep: int) -> Tensor:
        """sqrt(abar_t) latents + sqrt(1 - abar_t) noise."""
        return self._scheduler.add_noise(latents, noise, torch.tensor([timestep]))  # type: ignore[no-any-return]

    def step(self, prediction: Tensor, timestep: int, latents: Tensor) -> Tensor:
        """diffusers' own step."""
        return self._scheduler.step(prediction, timestep, latents).prev_sample  # type: ignore[no-any-return]
