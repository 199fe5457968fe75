"""What a sampler leaves of latents: noised a little, and denoised by a frozen UNet."""

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
"""Scheduler steps for strength 1, and how many of them are run at most: a light touch."""


class Contrast(NamedTuple):
    """The latents of calm swatches lie far below the noise they are sampled with; raising their contrast makes them like any other.

    Attributes:
        mean: Of the latents, (B, C, 1, 1).
        gain: Brings them to unit mean square around it, (B, 1, 1, 1); 1 to `MAX_GAIN`, never less.
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
    """Latents as a run of 1 to `MOST` steps leaves them; a decoder trained on them learns to remove the noise that is left.

    Calm latents are raised to unit contrast before and lowered after; no exemplar is read.

    Args:
        backbone: Its UNet and scheduler are used.
        latents: (B, C, h, w), clean.
        generator: CPU generator of the strength and the noise.
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
    """Latents (B, C, h, w) taken through falling timesteps; `predict` is given them and the timestep."""
    for timestep in timesteps:
        latents = schedule.step(predict(latents, timestep), timestep, latents)
    return latents
