"""What a sampler leaves of latents: noised a little, and denoised by a frozen UNet."""

from __future__ import annotations

import torch
from torch import Tensor

from texgen.models import Backbone
from texgen.sample import noised, normal, strength_timesteps

STEPS, MOST = 50, 6
"""Scheduler steps for strength 1, and how many of them are run at most: those of the presets."""


@torch.no_grad()
def as_sampled(backbone: Backbone, latents: Tensor, generator: torch.Generator) -> Tensor:
    """Latents as a run of 1 to `MOST` steps leaves them; a decoder trained on them learns to take what is left of the noise.

    Args:
        backbone: Its UNet and scheduler are used, plainly: no exemplar is read.
        latents: (B, C, h, w), clean.
        generator: CPU generator of the strength and the noise.
    """
    count = int(torch.randint(1, MOST + 1, (), generator=generator))
    timesteps = strength_timesteps(backbone.scheduler, STEPS, count / STEPS)
    noise = normal(latents.shape, generator).to(latents.device)
    current = noised(backbone.scheduler, latents, noise, timesteps[0])
    condition = {name: value.expand(len(latents), *value.shape[1:]) for name, value in backbone.condition.items()}
    for timestep in timesteps:
        prediction = backbone.unet(current, timestep, **condition).sample.float()
        current = backbone.scheduler.step(prediction, timestep, current).prev_sample
    return current
