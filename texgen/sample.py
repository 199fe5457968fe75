"""AD-guided sampling over tiles: the denoising loop, written once, as a generator over steps (Algorithm 2)."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import NamedTuple

import torch
from diffusers import DDIMScheduler
from torch import Tensor

from texgen.attention import ExemplarKeyValues, TappedUNet, choose_layers, exemplar_key_values, tapped
from texgen.errors import TexgenError
from texgen.guidance.content import content_loss
from texgen.guidance.distill import ad_loss
from texgen.guidance.settings import Guidance
from texgen.models import Backbone
from tiling import Accumulator, Tile, canvas_size, cut_batch


@dataclass(frozen=True, kw_only=True)
class Step:
    """The state after a step.

    Attributes:
        index: From 0.
        total: Number of steps.
        timestep: The timestep the canvas is at now.
        latents: The canvas (1, C, h, w), float32.
        tiles: Tiles worked on in this step.
        iterations: AD iterations run on each of them.
        losses: Mean loss per tile before the first and at the last iteration; empty where there was none.
    """

    index: int
    total: int
    timestep: int
    latents: Tensor
    tiles: int
    iterations: int
    losses: tuple[float, ...]


def strength_timesteps(scheduler: DDIMScheduler, steps: int, strength: float) -> list[int]:
    """The last ceil(strength * steps) of `steps` timesteps, falling.

    References:
        Meng et al., "SDEdit: Guided Image Synthesis and Editing with Stochastic Differential Equations", ICLR 2022,
        https://arxiv.org/abs/2108.01073.
    """
    scheduler.set_timesteps(steps)
    count = min(math.ceil(round(strength * steps, 6)), steps)
    timesteps: list[int] = scheduler.timesteps.tolist()
    return timesteps[steps - count :]


def previous_timestep(scheduler: DDIMScheduler, timestep: int) -> int:
    """t_prev = t - num_train_timesteps // num_inference_steps, at least 0."""
    return max(timestep - scheduler.config.num_train_timesteps // scheduler.num_inference_steps, 0)


def noised(scheduler: DDIMScheduler, latents: Tensor, noise: Tensor, timestep: int) -> Tensor:
    """sqrt(abar_t) latents + sqrt(1 - abar_t) noise."""
    return scheduler.add_noise(latents, noise, torch.tensor([timestep]))  # type: ignore[no-any-return]


def normal(shape: Iterable[int], generator: torch.Generator) -> Tensor:
    """Gaussian noise on the CPU, so that a seed means the same on every device."""
    return torch.randn(tuple(shape), generator=generator)


def sample(
    backbone: Backbone,
    latents: Tensor,
    exemplars: Sequence[Tensor],
    *,
    timesteps: Sequence[int],
    plans: Iterable[Sequence[Tile]],
    window: Tensor,
    guidance: Guidance,
    generator: torch.Generator,
    tile_batch: int = 1,
    content: Tensor | None = None,
    match: Callable[[Tensor, int], Tensor] | None = None,
) -> Iterator[Step]:
    """Denoise a canvas tile by tile, each tile pulled to the exemplar after every scheduler step.

    Per step t -> t_prev and per tile: a DDIM step; then `iterations` steps of a fresh Adam on the tile's latents against
    the AD loss (plus the content loss) on features at t_prev. Overlapping tiles are fused by their windows. The
    exemplar is noised once a step and its keys and values serve all tiles, so the result does not depend on
    `tile_batch` beyond numerical noise.

    Args:
        backbone: The model.
        latents: The canvas (1, C, h, w) at the first timestep.
        exemplars: Clean exemplar latents (1, C, h', w'), any number and sizes.
        timesteps: Falling timesteps of `backbone.scheduler`, as `strength_timesteps` gives them.
        plans: Tiles of each step, covering the canvas.
        window: (h, w) of a tile.
        guidance: Knobs.
        generator: CPU generator of the exemplar noise.
        tile_batch: Tiles worked on at once; larger needs more memory.
        content: Clean latents (1, C, h, w) that the content loss holds on to.
        match: Takes the fused canvas and its timestep after every step and gives it the exemplar's statistics.

    Yields:
        The canvas after each step.

    References:
        Attention Distillation, CVPR 2025, https://arxiv.org/abs/2502.20235, Algorithm 2; MultiDiffusion, ICML 2023,
        https://arxiv.org/abs/2302.08113.
    """
    scheduler, canvas = backbone.scheduler, canvas_size(latents)
    layers = choose_layers(backbone.attention_layers, guidance.layers)
    latents = latents.float()
    with tapped(backbone.unet, backbone.condition) as tap:
        wanted = backbone.attention_layers if guidance.inject else layers if guidance.iterations else []
        reader = _ExemplarReader(tap, scheduler, exemplars, wanted, generator)
        before = reader.read(timesteps[0]) if guidance.inject and timesteps else None
        for index, (timestep, tiles) in enumerate(zip(timesteps, plans, strict=False)):
            after = previous_timestep(scheduler, timestep)
            active = guidance.iterations > 0 and (guidance.start_time is None or after < guidance.start_time)
            here = reader.read(after)
            ideal = {name: here.key_values[name] for name in layers} if active else {}
            held = None
            if content is not None and guidance.content_weight > 0:
                held = noised(scheduler, content.cpu(), normal(content.shape, generator), after)
            job = _TileJob(tap, scheduler, timestep, after, guidance, before, ideal, here.noisy)
            latents, losses = _fused(
                job, latents, held, tiles, tile_batch, Accumulator(latents.shape[1], canvas, latents.device), window
            )
            if match is not None:
                latents = match(latents, after)
            before = here
            yield Step(
                index=index,
                total=len(timesteps),
                timestep=after,
                latents=latents,
                tiles=len(tiles),
                iterations=guidance.iterations if active else 0,
                losses=losses,
            )


def _fused(
    job: _TileJob,
    latents: Tensor,
    content: Tensor | None,
    tiles: Sequence[Tile],
    tile_batch: int,
    fused: Accumulator,
    window: Tensor,
) -> tuple[Tensor, tuple[float, ...]]:
    """One step of the whole canvas in batches of tiles: the fused canvas and the mean losses per tile."""
    device = job.tap.unet.device
    losses: list[tuple[float, ...]] = []
    for start in range(0, len(tiles), tile_batch):
        batch = tiles[start : start + tile_batch]
        held = None if content is None else cut_batch(content, batch).to(device)
        values, loss = job.run(cut_batch(latents, batch).to(device), held, batch)
        losses.append(loss)
        for tile, value in zip(batch, values, strict=True):
            fused.add(tile, value[None], window)
    return fused.mean(), tuple(sum(values) / len(tiles) for values in zip(*losses, strict=True))


class _Reading(NamedTuple):
    """The exemplars noised to a timestep, and their keys and values there."""

    noisy: Sequence[Tensor]
    key_values: ExemplarKeyValues


@dataclass(frozen=True)
class _ExemplarReader:
    """Noises the exemplars once a step and reads their keys and values, for all tiles."""

    tap: TappedUNet
    scheduler: DDIMScheduler
    exemplars: Sequence[Tensor]
    layers: Sequence[str]
    generator: torch.Generator

    def read(self, timestep: int) -> _Reading:
        noisy = [noised(self.scheduler, e, normal(e.shape, self.generator), timestep) for e in self.exemplars]
        if not self.layers:
            return _Reading(noisy, {})
        on_device = [e.to(self.tap.unet.device) for e in noisy]
        return _Reading(noisy, exemplar_key_values(self.tap, on_device, timestep, self.layers))


@dataclass(frozen=True)
class _TileJob:
    """One step of one batch of tiles."""

    tap: TappedUNet
    scheduler: DDIMScheduler
    timestep: int
    after: int
    guidance: Guidance
    injected: _Reading | None
    ideal: ExemplarKeyValues
    exemplars: Sequence[Tensor]

    def run(self, latents: Tensor, content: Tensor | None, tiles: Sequence[Tile]) -> tuple[Tensor, tuple[float, ...]]:
        """The tiles after the step, (B, C, h, w), and their summed losses (first, last)."""
        values, losses = self._step(latents, content)
        if not bool(torch.isfinite(values).all()) and self.tap.unet.dtype != torch.float32:
            with _in_float32(self.tap):
                values, losses = self._step(latents, content)
        if not bool(torch.isfinite(values).all()):
            raise TexgenError(
                f"the model gave NaN or Inf at timestep {self.timestep} in tiles {list(tiles)}; try --dtype float32 or a smaller --lr."
            )
        return values, losses

    def _step(self, latents: Tensor, content: Tensor | None) -> tuple[Tensor, tuple[float, ...]]:
        scope: AbstractContextManager[None] = nullcontext()
        if self.guidance.inject is not None and self.injected is not None:
            scope = self.tap.injecting(self.injected.key_values, self.guidance.inject)
        with torch.no_grad(), scope:
            prediction = self.tap(latents, self.timestep)
            latents = self.scheduler.step(prediction, self.timestep, latents).prev_sample
        if self.guidance.adain:
            latents = adain(latents, self.exemplars)
        if not self.ideal:
            return latents, ()
        return distill(self.tap, latents, self.after, self.ideal, self.guidance, content)


def distill(
    tap: TappedUNet,
    latents: Tensor,
    timestep: int,
    ideal: ExemplarKeyValues,
    guidance: Guidance,
    content: Tensor | None = None,
) -> tuple[Tensor, tuple[float, ...]]:
    """`iterations` steps of a fresh Adam on latents (B, C, h, w) against the AD loss, in float32.

    Returns:
        The moved latents, and the summed loss over tiles at the first and last iteration.
    """
    latents = latents.detach().clone().requires_grad_(True)
    layers = list(ideal)
    optimizer = torch.optim.Adam([latents], lr=guidance.lr)
    losses: list[float] = []
    with torch.no_grad():
        content_features = None if content is None else tap.features(content, timestep, layers)
    for _ in range(guidance.iterations):
        features = tap.features(latents, timestep, layers)
        loss = ad_loss(features, ideal, guidance.attn_scale)
        if content_features is not None:
            loss = loss + guidance.content_weight * content_loss(features, content_features)
        (latents.grad,) = torch.autograd.grad(loss, latents)
        optimizer.step()
        losses.append(float(loss.detach()))
    return latents.detach(), (losses[0], losses[-1])


def adain(latents: Tensor, exemplars: Sequence[Tensor]) -> Tensor:
    """Give each tile (B, C, h, w) the exemplars' mean and standard deviation per channel."""
    pooled = torch.cat([e.flatten(2) for e in exemplars], 2).to(latents.device)
    mean, deviation = pooled.mean(2)[..., None, None], pooled.std(2)[..., None, None]
    own_mean, own_deviation = latents.mean((2, 3), keepdim=True), latents.std((2, 3), keepdim=True)
    return (latents - own_mean) / (own_deviation + 1e-6) * deviation + mean


@contextmanager
def _in_float32(tap: TappedUNet) -> Iterator[None]:
    dtype = tap.unet.dtype
    tap.unet.to(torch.float32)
    try:
        yield
    finally:
        tap.unet.to(dtype)
