"""What a sampler leaves of latents: noised a little, and denoised by a frozen UNet."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from diffusers import DDIMScheduler
from torch import Tensor

from texgen.attention import tapped
from texgen.exemplar import unit_contrast
from texgen.models import Backbone
from texgen.sample import noised, normal, strength_timesteps

STEPS, MOST = 50, 6
"""Scheduler steps for strength 1, and how many of them are run at most: one more than by the preset `best`."""


@torch.no_grad()
def as_sampled(backbone: Backbone, latents: Tensor, generator: torch.Generator) -> Tensor:
    """Latents as a run of 1 to `MOST` steps leaves them; a decoder trained on them learns to take what is left of the noise.

    As in the presets, calm latents are raised to unit contrast before, and lowered again; no exemplar is read.

    Args:
        backbone: Its UNet and scheduler are used.
        latents: (B, C, h, w), clean.
        generator: CPU generator of the strength and the noise.
    """
    count = int(torch.randint(1, MOST + 1, (), generator=generator))
    timesteps = strength_timesteps(backbone.scheduler, STEPS, count / STEPS)
    level = unit_contrast(latents.flatten(2))
    noise = normal(latents.shape, generator).to(latents.device)
    current = noised(backbone.scheduler, level.raised(latents), noise, timesteps[0])
    with tapped(backbone.unet, backbone.condition) as tap:
        return level.lowered(denoised(backbone.scheduler, current, timesteps, tap))


def denoised(
    scheduler: DDIMScheduler, latents: Tensor, timesteps: Sequence[int], predict: Callable[[Tensor, int], Tensor]
) -> Tensor:
    """Latents (B, C, h, w) taken through falling timesteps; `predict` is given them and the timestep."""
    for timestep in timesteps:
        latents = scheduler.step(predict(latents, timestep), timestep, latents).prev_sample
    return latents
