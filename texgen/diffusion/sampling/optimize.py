"""Optimisation of latents by attention distillation over tiles (Algorithm 1)."""

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
    """Minimise the AD loss over the latents while the timestep given to the network falls.

    Features of exemplars, content and canvas are those of clean latents; one Adam runs throughout. Gradients of
    overlapping tiles are fused like values. There is one iteration per step; `guidance.iterations` is ignored.

    Args:
        loop: Inputs; its prompt and control pictures are ignored, since no noise is predicted.
        progress: The start (noise or the content), or a later state of this loop; updated in place.

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
            """Gradient of the summed loss with respect to the tiles, and the loss."""
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
