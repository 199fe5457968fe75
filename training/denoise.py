"""Latents that went through a sampler: slightly noised, then denoised by a frozen UNet."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from texgen.diffusion.denoising import Schedule
from texgen.diffusion.models import UNetModel
from texgen.diffusion.sampling.loop import normal

MAX_GAIN, FLAT = 16.0, 1e-6
STEPS, MOST = 50, 6
"""Scheduler steps at strength 1, and the largest number of them that are run."""


class Contrast(NamedTuple):
    """Raises the contrast of calm latents, which otherwise is far below the noise, to that of usual ones, and lowers it again.

    Attributes:
        mean: Mean of the latents, (B, C, 1, 1).
        gain: Factor that gives them unit mean square around the mean, clamped to 1 to `MAX_GAIN`, (B, 1, 1, 1).
    """

    mean: Tensor
    gain: Tensor

    def raised(self, latents: Tensor) -> Tensor:
        """mean + gain (latents - mean)."""
        return self.mean + self.gain * (latents - self.mean)

    def lowered(self, latents: Tensor) -> Tensor:
        """The inverse of `raised`."""
        return self.mean + (latents - self.mean) / self.gain


def unit_contrast(pooled: Tensor) -> Contrast:
    """The contrast of latents (B, C, n)."""
    mean = pooled.mean(2, keepdim=True)
    power = (pooled - mean).square().mean((1, 2), keepdim=True).clamp_min(FLAT)
    return Contrast(mean[..., None], power.rsqrt().clamp(1, MAX_GAIN)[..., None])


@torch.no_grad()
def as_sampled(backbone: UNetModel, latents: Tensor, generator: torch.Generator) -> Tensor:
    """Noise latents and denoise them in 1 to `MOST` steps; a decoder trained on the result learns to remove the remaining noise.

    The contrast of calm latents is raised before and lowered afterwards. No exemplar is used.

    Args:
        backbone: The model with UNet and scheduler.
        latents: Clean latents, (B, C, h, w).
        generator: CPU generator of the number of steps and of the noise.
    """
    count = int(torch.randint(1, MOST + 1, (), generator=generator))
    schedule = backbone.schedule(STEPS)
    timesteps = schedule.last(count / STEPS)
    level = unit_contrast(latents.flatten(2))
    noise = normal(latents.shape, generator).to(latents.device)
    current = schedule.noised(level.raised(latents), noise, timesteps[0])
    with backbone.denoiser() as denoiser:
        return level.lowered(denoised(schedule, current, timesteps, denoiser))


def denoised(
    schedule: Schedule, latents: Tensor, timesteps: Sequence[float], predict: Callable[[Tensor, float], Tensor]
) -> Tensor:
    """Denoise latents (B, C, h, w) through decreasing timesteps; `predict(latents, timestep)` gives the network's prediction."""
    for timestep in timesteps:
        latents = schedule.step(predict(latents, timestep), timestep, latents)
    return latents
