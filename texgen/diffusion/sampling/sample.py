"""AD-guided sampling over tiles: denoise a step, then distill (Algorithm 2)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from functools import partial

import torch
from torch import Tensor

from texgen.diffusion.denoising import Condition, Denoiser
from texgen.diffusion.guidance.distill import distill
from texgen.diffusion.guidance.exemplar_keys import choose_layers
from texgen.diffusion.guidance.prompt import guided
from texgen.diffusion.sampling.loop import ExemplarReader, Loop, normal, step_generator
from texgen.diffusion.sampling.progress import Progress, Step
from texgen.diffusion.sampling.tile_pass import Planes
from texgen.runs.torchrun import Work


def sample(loop: Loop, progress: Progress) -> Iterator[Step]:
    """Denoise a canvas while its attention is distilled towards the exemplars'.

    At every step each tile is denoised from t to t_prev by DDIM; then `guidance.iterations` steps of a fresh Adam move
    it down the AD loss against the exemplars noised to t_prev, and overlapping tiles are fused (MultiDiffusion). Noise
    of exemplars and content is drawn for each timestep, the same for all tiles.

    Args:
        loop: Inputs.
        progress: The canvas at the noise level of the first timestep, or a later state of this loop; updated in place.

    Yields:
        The canvas after each step.

    Raises:
        TexgenError: The model gave NaN or Inf.

    References:
        Attention Distillation, CVPR 2025, https://arxiv.org/abs/2502.20235, Algorithm 2; MultiDiffusion, ICML 2023,
        https://arxiv.org/abs/2302.08113.
    """
    with loop.model.denoiser(loop.recomputed) as denoiser:
        tiles = _Tiles(loop, denoiser)
        for timestep in loop.timesteps[progress.index :]:
            after = loop.schedule.previous(timestep)
            canvas = loop.planes(progress.latents, tiles.noised_content(after))
            losses = loop.tiles.run(denoiser, progress, canvas, partial(tiles.step, timestep))
            progress.advance(loop.correct(progress.mean(progress.latents), after))
            yield loop.report(
                progress, after, losses, loop.guidance.iterations if loop.guidance.active(timestep) else 0
            )


class _Tiles:
    """The work on the tiles of a canvas in one step."""

    def __init__(self, loop: Loop, denoiser: Denoiser) -> None:
        self.loop, self.denoiser, self.guidance = loop, denoiser, loop.guidance
        order = loop.model.attention_layers
        self.layers = choose_layers(order, self.guidance.layers)
        read = order if self.guidance.inject else self.layers
        self.reader = ExemplarReader(denoiser, loop.exemplars, read, self.noised_exemplars, loop.tiles.deterministic)

    def step(self, timestep: float, tiles: Planes) -> Work:
        """Denoise and distill tiles; returns them and their summed losses (first, last), if any."""
        after = self.loop.schedule.previous(timestep)
        latents = self._denoised(timestep, tiles)
        if self.guidance.adain:
            latents = adain(latents, self.noised_exemplars(after))
        if not self.guidance.active(timestep):
            return latents, ()
        read = self.reader.key_values(after)
        ideal = {name: read[name] for name in self.layers}
        return distill(self.denoiser, latents, after, ideal, self.guidance, tiles.content, tiles.labels)

    @torch.no_grad()
    def _denoised(self, timestep: float, tiles: Planes) -> Tensor:
        mode = self.guidance.inject
        scope = nullcontext()
        if mode is not None:
            scope = self.denoiser.injecting(self.reader.key_values(timestep), mode, tiles.labels)  # type: ignore[assignment]
        with scope:
            prediction = guided(partial(self._predicted, timestep, tiles), self.loop.led)
        return self.loop.schedule.step(prediction, timestep, tiles.latents)

    def _predicted(self, timestep: float, tiles: Planes, condition: Condition | None) -> Tensor:
        """Prediction for a condition and the control pictures of the tiles."""
        if tiles.control is not None and self.loop.control is not None:
            weights = self.loop.control.weights
            condition = self.loop.model.controlled(condition, tiles.latents, timestep, tiles.control, weights)
        return self.denoiser(tiles.latents, timestep, condition)

    def noised_exemplars(self, timestep: float) -> list[Tensor]:
        generator = step_generator(self.loop.seed, timestep)
        return [self._noised(crop, timestep, generator) for crop in self.loop.exemplars.crops]

    def noised_content(self, timestep: float) -> Tensor | None:
        if self.loop.content is None or not self.loop.keeps_content:
            return None
        return self._noised(self.loop.content, timestep, step_generator(self.loop.seed, timestep, 1))

    def _noised(self, latents: Tensor, timestep: float, generator: torch.Generator) -> Tensor:
        return self.loop.schedule.noised(latents, normal(latents.shape, generator), timestep)


def adain(latents: Tensor, exemplars: Sequence[Tensor]) -> Tensor:
    """Give each tile (B, C, h, w) the exemplars' mean and standard deviation per channel."""
    pooled = torch.cat([e.flatten(2) for e in exemplars], 2).to(latents.device)
    mean, deviation = pooled.mean(2)[..., None, None], pooled.std(2)[..., None, None]
    own_mean, own_deviation = latents.mean((2, 3), keepdim=True), latents.std((2, 3), keepdim=True)
    return (latents - own_mean) / (own_deviation + 1e-6) * deviation + mean
