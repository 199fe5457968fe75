"""Optimisation by attention distillation over tiles: the latents themselves are moved (Algorithm 1)."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import torch

from texgen.diffusion.guidance.distill import gradient, guidance_loss
from texgen.diffusion.guidance.exemplar_keys import choose_layers
from texgen.diffusion.sampling.loop import ExemplarReader, Loop
from texgen.diffusion.sampling.progress import Progress, Step
from texgen.diffusion.sampling.tile_pass import Planes
from texgen.runs.torchrun import Work


def optimize(loop: Loop, progress: Progress) -> Iterator[Step]:
    """Move the latents down the AD loss while the timestep told to the network falls.

    Features of exemplars, content and canvas are those of clean latents; one Adam lives for the whole run. The
    gradients of overlapping tiles are fused like values. `guidance.iterations` is not used: there is one per step.

    Args:
        loop: What to do; noise predictions are not used.
        progress: The start (noise, or the content), or a later state of this loop; kept up to date.

    Yields:
        The canvas after each step.

    Raises:
        TexgenError: The model gave NaN or Inf.

    References:
        Attention Distillation, CVPR 2025, https://arxiv.org/abs/2502.20235, Algorithm 1.
    """
    layers = choose_layers(loop.model.attention_layers, loop.guidance.layers)
    canvas = progress.latents.detach().float().clone()
    optimizer = torch.optim.Adam([canvas], lr=loop.guidance.lr)
    if progress.adam:
        optimizer.state[canvas] = progress.adam
    with loop.model.denoiser(loop.recomputed) as denoiser:
        reader = ExemplarReader(
            denoiser, loop.exemplars, layers, lambda _timestep: loop.exemplars.crops, loop.tiles.deterministic
        )

        def pull(timestep: float, tiles: Planes) -> Work:
            """Of the summed loss by the tiles, and the loss."""
            latents = tiles.latents.requires_grad_(True)
            with torch.no_grad():
                content = None if tiles.content is None else denoiser.features(tiles.content, timestep, layers)
            features = denoiser.features(latents, timestep, layers)
            loss = guidance_loss(features, reader.key_values(timestep), loop.guidance, content, tiles.labels)
            return gradient(loss, latents, features), (float(loss.detach()),)

        for timestep in loop.timesteps[progress.index :]:
            planes = loop.planes(canvas, loop.content)
            losses = loop.tiles.run(denoiser, progress, planes, partial(pull, timestep))
            canvas.grad = progress.mean(torch.zeros_like(canvas))
            optimizer.step()
            canvas.copy_(loop.correct(canvas, 0))
            progress.adam = dict(optimizer.state[canvas])
            progress.advance(canvas.clone())
            yield loop.report(progress, timestep, losses, 1)
