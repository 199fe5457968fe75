"""AD-guided sampling over tiles: the denoising loop, written once, as a generator over steps (Algorithm 2)."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from diffusers import DDIMScheduler
from torch import Tensor

from texgen.diffusion.guidance.attention import (
    ExemplarKeyValues,
    TappedUNet,
    choose_layers,
    exemplar_key_values,
    tapped,
)
from texgen.diffusion.guidance.content import content_loss
from texgen.diffusion.guidance.distill import ad_loss
from texgen.diffusion.guidance.regional import Regions
from texgen.diffusion.guidance.settings import Guidance
from texgen.diffusion.memory import is_out_of_memory
from texgen.diffusion.models import Backbone
from texgen.diffusion.sampling.determinism import deterministic
from texgen.errors import TexgenError
from texgen.runs.team import ALONE, Team, Work
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

    @property
    def done(self) -> int:
        """Steps done."""
        return self.index + 1

    @property
    def unit(self) -> str:
        """What is counted."""
        return "step"

    def event(self) -> dict[str, Any]:
        """What programs that follow the run are told, as JSON."""
        return {"index": self.done, "total": self.total, "timestep": self.timestep, "tiles": self.tiles}


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


def step_generator(seed: int, timestep: int, stream: int = 0) -> torch.Generator:
    """The random numbers of one timestep, a function of its arguments alone: a resumed run draws what an unbroken one would."""
    state = np.random.SeedSequence((seed, timestep, stream)).generate_state(1, np.uint64)
    return torch.Generator().manual_seed(int(state[0]))


@dataclass(kw_only=True)
class Progress:
    """Where a run stands between two batches of tiles: all that it needs to go on to the same bytes.

    Attributes:
        index: The step in work, from 0.
        latents: The canvas (1, C, h, w) that the step began with, float32.
        batches: Batches of tiles of this step that are done.
        fused: Their sums; None where there are none.
        losses: Sum over tiles of the loss before the first and at the last AD iteration.
    """

    latents: Tensor
    index: int = 0
    batches: int = 0
    fused: Accumulator | None = None
    losses: tuple[float, ...] = ()

    def add(self, batch: Sequence[Tile], values: Tensor, losses: Sequence[float], window: Tensor) -> None:
        """Take in a batch of tiles (B, C, h, w)."""
        if self.fused is None:
            self.fused = Accumulator(self.latents.shape[1], canvas_size(self.latents))
        for tile, value in zip(batch, values, strict=True):
            self.fused.add(tile, value[None], window)
        self.losses = tuple(a + b for a, b in zip(self.losses or (0.0,) * len(losses), losses, strict=True))
        self.batches += 1

    def advance(self, latents: Tensor) -> None:
        """Begin the next step with these latents."""
        self.index, self.latents, self.batches, self.fused, self.losses = self.index + 1, latents, 0, None, ()


def sample(
    backbone: Backbone,
    latents: Tensor | Progress,
    exemplars: Sequence[Tensor],
    *,
    timesteps: Sequence[int],
    plans: Sequence[Sequence[Tile]],
    window: Tensor,
    guidance: Guidance,
    seed: int,
    tile_batch: int = 1,
    content: Tensor | None = None,
    match: Callable[[Tensor, int], Tensor] | None = None,
    weights: Sequence[float] | None = None,
    regions: Regions | None = None,
    team: Team = ALONE,
    checkpoint: Callable[[Progress], None] | None = None,
) -> Iterator[Step]:
    """Denoise a canvas tile by tile, each tile pulled to the exemplar after every scheduler step.

    Per step t -> t_prev and per tile: a DDIM step; then `iterations` steps of a fresh Adam on the tile's latents against
    the AD loss (plus the content loss) on features at t_prev. Overlapping tiles are fused by their windows. The
    exemplar is noised once a step and its keys and values serve all tiles, so the result does not depend on
    `tile_batch` beyond numerical noise. The canvas stays on the CPU; a batch of tiles at a time is on the device.

    Args:
        backbone: The model.
        latents: The canvas (1, C, h, w) at the first timestep, or where an earlier run stopped.
        exemplars: Clean exemplar latents (1, C, h', w'), any number and sizes.
        timesteps: Falling timesteps of `backbone.scheduler`, as `strength_timesteps` gives them.
        plans: Tiles of each step; a cell that none covers stays as it is.
        window: (h, w) of a tile.
        guidance: Knobs.
        seed: Of the exemplar noise.
        tile_batch: Tiles worked on at once; larger needs more memory.
        content: Clean latents (1, C, h, w) that the content loss holds on to.
        match: Takes the fused canvas and its timestep after every step and gives it the exemplar's statistics, or the
            cells that are given.
        weights: Of each exemplar's tokens in attention; equal by default.
        regions: Labels of canvas and exemplars: a token reads exemplar tokens of its own label only.
        team: Processes that share the batches of tiles; the result does not depend on their number.
        checkpoint: Called with the progress after every batch of tiles.

    Yields:
        The canvas after each step.

    References:
        Attention Distillation, CVPR 2025, https://arxiv.org/abs/2502.20235, Algorithm 2; MultiDiffusion, ICML 2023,
        https://arxiv.org/abs/2302.08113.
    """
    scheduler = backbone.scheduler
    progress = latents if isinstance(latents, Progress) else Progress(latents=latents.float().cpu())
    layers = choose_layers(backbone.attention_layers, guidance.layers)
    with tapped(backbone.unet, backbone.condition) as tap:
        wanted = backbone.attention_layers if guidance.inject else layers if guidance.iterations else []
        read = partial(exemplar_key_values, layers=wanted, weights=weights, regions=regions)
        reader = _ExemplarReader(tap, scheduler, exemplars, read if wanted else None, seed)
        labels = None if regions is None else regions.canvas
        for index in range(progress.index, len(timesteps)):
            timestep, tiles = timesteps[index], plans[index]
            after = previous_timestep(scheduler, timestep)
            active = guidance.active(after)
            before = reader.read(timestep) if guidance.inject else None
            here = reader.read(after)
            ideal = {name: here.key_values[name] for name in layers} if active else {}
            held = None
            if content is not None and guidance.content_weight > 0:
                noise = normal(content.shape, step_generator(seed, after, 1))
                held = noised(scheduler, content.cpu(), noise, after)
            job = _TileJob(tap, scheduler, timestep, after, guidance, before, ideal, here.noisy)
            for _ in _batches(job, progress, held, labels, tiles, tile_batch, window, team):
                if checkpoint is not None:
                    checkpoint(progress)
            assert progress.fused is not None
            losses = tuple(total / len(tiles) for total in progress.losses)
            canvas = progress.fused.mean(progress.latents)
            progress.advance(canvas if match is None else match(canvas, after))
            yield Step(
                index=index,
                total=len(timesteps),
                timestep=after,
                latents=progress.latents,
                tiles=len(tiles),
                iterations=guidance.iterations if active else 0,
                losses=losses,
            )


def _batches(
    job: _TileJob,
    progress: Progress,
    content: Tensor | None,
    labels: Tensor | None,
    tiles: Sequence[Tile],
    tile_batch: int,
    window: Tensor,
    team: Team,
) -> Iterator[None]:
    """The rest of a step in rounds, one batch of tiles a process; taken in in the order of the tiles."""
    batches = [tiles[start : start + tile_batch] for start in range(0, len(tiles), tile_batch)]
    while progress.batches < len(batches):
        shared = batches[progress.batches : progress.batches + team.size]
        work = [partial(job.run_within_memory, progress.latents, content, labels, batch) for batch in shared]
        for batch, (values, losses) in zip(shared, team.divided(work), strict=True):
            progress.add(batch, values, losses, window)
        yield


class _Reading(NamedTuple):
    """The exemplars noised to a timestep, and their keys and values there."""

    noisy: Sequence[Tensor]
    key_values: ExemplarKeyValues


class _ExemplarReader:
    """Noises the exemplars once a step and reads their keys and values, for all tiles; the last reading is kept."""

    def __init__(
        self,
        tap: TappedUNet,
        scheduler: DDIMScheduler,
        exemplars: Sequence[Tensor],
        key_values: Callable[..., ExemplarKeyValues] | None,
        seed: int,
    ) -> None:
        self.tap, self.scheduler, self.exemplars, self.key_values, self.seed = (
            tap,
            scheduler,
            exemplars,
            key_values,
            seed,
        )
        self._last: tuple[int, _Reading] | None = None

    def read(self, timestep: int) -> _Reading:
        if self._last is None or self._last[0] != timestep:
            self._last = (timestep, self._read(timestep))
        return self._last[1]

    def _read(self, timestep: int) -> _Reading:
        generator = step_generator(self.seed, timestep)
        noisy = [noised(self.scheduler, e, normal(e.shape, generator), timestep) for e in self.exemplars]
        if self.key_values is None:
            return _Reading(noisy, {})
        on_device = [e.to(self.tap.unet.device) for e in noisy]
        with deterministic(self.tap.unet.device):
            return _Reading(noisy, self.key_values(self.tap, on_device, timestep))


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

    def run_within_memory(
        self, canvas: Tensor, content: Tensor | None, labels: Tensor | None, tiles: Sequence[Tile]
    ) -> Work:
        """`run` on tiles of a canvas (1, C, h, w); where they do not fit in memory together, in halves."""
        device = self.tap.unet.device
        try:
            held = None if content is None else cut_batch(content, tiles).to(device)
            mine = None if labels is None else cut_batch(labels, tiles)
            with deterministic(device):
                values, losses = self.run(cut_batch(canvas, tiles).to(device), held, mine, tiles)
            return values.cpu(), losses
        except (RuntimeError, MemoryError) as error:
            if len(tiles) == 1 or not is_out_of_memory(error):
                raise
        middle = len(tiles) // 2
        parts = (tiles[:middle], tiles[middle:])
        halves = [self.run_within_memory(canvas, content, labels, part) for part in parts]
        losses = tuple(sum(pair) for pair in zip(*(h[1] for h in halves), strict=True))
        return torch.cat([h[0] for h in halves]), losses

    def run(self, latents: Tensor, content: Tensor | None, labels: Tensor | None, tiles: Sequence[Tile]) -> Work:
        """The tiles after the step, (B, C, h, w), and their summed losses (first, last)."""
        values, losses = self._step(latents, content, labels)
        if not bool(torch.isfinite(values).all()) and self.tap.unet.dtype != torch.float32:
            with _in_float32(self.tap):
                values, losses = self._step(latents, content, labels)
        if not bool(torch.isfinite(values).all()):
            raise TexgenError(
                f"the model gave NaN or Inf at timestep {self.timestep} in tiles {list(tiles)}; try --dtype float32 or a smaller --lr."
            )
        return values, losses

    def _step(self, latents: Tensor, content: Tensor | None, labels: Tensor | None) -> tuple[Tensor, tuple[float, ...]]:
        scope: AbstractContextManager[None] = nullcontext()
        if self.guidance.inject is not None and self.injected is not None:
            scope = self.tap.injecting(self.injected.key_values, self.guidance.inject, labels)
        with torch.no_grad(), scope:
            prediction = self.tap(latents, self.timestep)
            latents = self.scheduler.step(prediction, self.timestep, latents).prev_sample
        if self.guidance.adain:
            latents = adain(latents, self.exemplars)
        if not self.ideal:
            return latents, ()
        return distill(self.tap, latents, self.after, self.ideal, self.guidance, content, labels)


def distill(
    tap: TappedUNet,
    latents: Tensor,
    timestep: int,
    ideal: ExemplarKeyValues,
    guidance: Guidance,
    content: Tensor | None = None,
    labels: Tensor | None = None,
) -> tuple[Tensor, tuple[float, ...]]:
    """`iterations` steps of a fresh Adam on latents (B, C, h, w) against the AD loss, in float32.

    Content latents and labels (B, 1, h, w) are those of the same tiles.

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
        loss = ad_loss(features, ideal, guidance.attn_scale, labels)
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
