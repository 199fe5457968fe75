"""The training objective: predict the noise on a target that reads the keys and values of an exemplar beside it."""

from __future__ import annotations

import torch
from diffusers import DDIMScheduler
from torch import Tensor

from texgen.diffusion.models.unet import PairMode, TappedUNet


def pair_errors(
    tap: TappedUNet,
    scheduler: DDIMScheduler,
    latents: Tensor,
    timesteps: Tensor,
    mode: PairMode,
    generator: torch.Generator,
) -> Tensor:
    """Mean squared error of the UNet's prediction, per image.

    Both halves are noised, x_t = sqrt(abar_t) x + sqrt(1 - abar_t) noise, and go through the UNet in one batch. What is
    predicted is the model's own: v = sqrt(abar_t) noise - sqrt(1 - abar_t) x, or the noise.

    Args:
        tap: The tapped UNet; gradients reach its weights.
        scheduler: The noise schedule and prediction type.
        latents: (2 B, C, h, w): clean targets, then their exemplars.
        timesteps: (B,) of the pairs.
        mode: Whose keys and values the targets read.
        generator: CPU generator of the noise.

    Returns:
        (2 B,), targets first.
    """
    both = torch.cat([timesteps, timesteps]).to(latents.device)
    noise = torch.randn(latents.shape, generator=generator).to(latents.device)
    noisy = scheduler.add_noise(latents, noise, both)
    wanted = noise
    if scheduler.config.prediction_type == "v_prediction":
        wanted = scheduler.get_velocity(latents, noise, both)
    with tap.pairing(mode):
        predicted = tap(noisy, both)
    return (predicted - wanted).square().mean((1, 2, 3))
