"""The two loops of a run: what they are given, what is done between their steps, what is saved."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from texgen.diffusion.exemplar import Exemplar
from texgen.diffusion.guidance.regional import Regions, middle_labels
from texgen.diffusion.kept import Given
from texgen.diffusion.memory import off_device, within_memory
from texgen.diffusion.models import Backbone
from texgen.diffusion.plan import Plan
from texgen.diffusion.sampling.checkpoint import Unfinished
from texgen.diffusion.sampling.optimize import optimize
from texgen.diffusion.sampling.sample import Progress, Step, noised, normal, previous_timestep, sample
from texgen.diffusion.sampling.spectrum import SpectrumMatcher, spectrum_matcher
from texgen.diffusion.sampling.start import Start
from texgen.files.image import NONE
from texgen.runs.interrupt import StopSignals
from texgen.runs.team import Team
from tiling import Tile, canvas_size, cut, fixed_schedule, make_window, rolled_schedule


@dataclass(frozen=True, kw_only=True)
class Loops:
    """A canvas on its way from the start to finished latents.

    Attributes:
        backbone: The model that samples.
        plan: What was asked for.
        exemplar: Its latents.
        begun: The start.
        layout: Latents of the layout, if any.
        given: Cells that stay, if any.
        seeds: Of the canvas noise, the schedule, the exemplar noise.
        unfinished: Where progress is saved.
        team: The processes that share the tiles.
        stop: Whether the user wants to stop.
    """

    backbone: Backbone
    plan: Plan
    exemplar: Exemplar
    begun: Start
    layout: Tensor | None
    given: Given | None
    seeds: Sequence[int]
    unfinished: Unfinished
    team: Team
    stop: StopSignals

    def sampled(self, timesteps: Sequence[int]) -> Generator[Step, None, tuple[Tensor, dict[str, Any]]]:
        """Steps, and at the end the finished canvas and what was done: steps, tile steps, AD iterations."""
        plan = self.plan
        plans = _needed(_schedule(plan, len(timesteps), self.seeds[1]), self.given)
        progress = self.team.shared(self.unfinished.progress)
        if progress is None:
            progress = Progress(latents=self._noised(timesteps))
        active = [plan.guidance.active(previous_timestep(self.backbone.scheduler, t)) for t in timesteps]
        steps = partial(
            sample,
            self.backbone,
            progress,
            self.exemplar.crops,
            timesteps=timesteps,
            plans=plans,
            window=make_window(plan.preset.window, plan.tile),
            guidance=plan.guidance,
            seed=self.seeds[2],
            tile_batch=plan.tile_batch,
            content=self._content,
            match=self._match(),
            weights=_token_weights(self.exemplar, plan.shares),
            regions=self._regions,
            team=self.team,
            checkpoint=self._checkpoint,
        )
        yield from within_memory(steps, partial(off_device, self.backbone.autoencoder))
        self.unfinished.offer(progress, now=bool(timesteps))
        return progress.latents, {
            "steps_run": len(timesteps),
            "tile_steps": sum(map(len, plans)),
            "ad_iterations": plan.guidance.iterations * sum(len(p) for p, on in zip(plans, active, strict=True) if on),
        }

    def optimized(self, timesteps: Sequence[int]) -> Generator[Step, None, tuple[Tensor, dict[str, Any]]]:
        """Steps of Algorithm 1, and at the end the canvas and what was done; an interrupted run begins it anew, and so does one out
        of memory."""
        plan = self.plan
        plans = _schedule(plan, len(timesteps), self.seeds[1])
        steps = partial(
            optimize,
            self.backbone,
            self._noise() if self.begun.latents is None else self.begun.latents,
            self.exemplar.crops,
            timesteps=timesteps,
            plans=plans,
            window=make_window(plan.preset.window, plan.tile),
            guidance=plan.guidance,
            tile_batch=plan.tile_batch,
            content=self._content,
            weights=_token_weights(self.exemplar, plan.shares),
            regions=self._regions,
        )
        found = self.unfinished.saved("optimized")
        if found is None:
            for step in within_memory(steps, partial(off_device, self.backbone.autoencoder)):
                yield step
                if self.unfinished.kept and self.stop.asked:
                    raise KeyboardInterrupt
            found = self.unfinished.save("optimized", {"latents": step.latents.detach().clone()})
        done = {"steps_run": len(timesteps), "tile_steps": sum(map(len, plans)), "ad_iterations": sum(map(len, plans))}
        return found["latents"], done

    @property
    def _content(self) -> Tensor | None:
        return self.begun.latents if self.layout is None else self.layout

    @property
    def _regions(self) -> Regions | None:
        cells = canvas_labels(self.plan, self.exemplar, middle_labels)
        return None if cells is None else Regions(cells[None, None], self.exemplar.crop_labels)

    def _match(self) -> Callable[[Tensor, int], Tensor] | None:
        """What a canvas at a timestep is given after every step: the exemplar's spectrum, and the cells that stay."""
        scheduler, wrap = self.backbone.scheduler, self.plan.wrap
        matchers = self._matchers() if self.plan.preset.match_spectrum else []
        if not matchers and self.given is None:
            return None
        noise = None if self.given is None else self._noise()

        def match(canvas: Tensor, timestep: int) -> Tensor:
            for matcher, cells in matchers:
                canvas = matcher(canvas, timestep, wrap, cells)
            if self.given is None or noise is None:
                return canvas
            known = noised(scheduler, self.given.latents, noise, timestep) if timestep > 0 else self.given.latents
            return torch.where(self.given.cells, known, canvas)

        return match

    def _matchers(self) -> list[tuple[SpectrumMatcher, Tensor | None]]:
        """A matcher to each label that is large enough, and the cells (h, w) of the canvas that it is for."""
        latents, scheduler = [source.latents for source in self.exemplar.sources], self.backbone.scheduler
        if self.plan.target is None:
            usable = None
            if self.exemplar.maps is not None:
                usable = [self.exemplar.source_labels(source) != NONE for source in self.exemplar.sources]
            whole = spectrum_matcher(latents, scheduler, usable)
            return [] if whole is None else [(whole, None)]
        wanted = middle_labels(self.plan.target, self.exemplar.factor)
        labels = [self.exemplar.source_labels(source) for source in self.exemplar.sources]
        found: list[tuple[SpectrumMatcher, Tensor | None]] = []
        for label in range(self.exemplar.label_count):
            matcher = spectrum_matcher(latents, scheduler, [cells == label for cells in labels])
            if matcher is not None:
                found.append((matcher, wanted == label))
        return found

    def _noise(self) -> Tensor:
        """The canvas' own, the same whenever it is asked for."""
        return normal((1, self.backbone.latent_channels, *self.plan.canvas), _generator(self.seeds[0]))

    def _noised(self, timesteps: Sequence[int]) -> Tensor:
        if not timesteps and self.begun.latents is not None:
            return self.begun.latents
        if self.begun.latents is None or self.plan.preset.strength == 1:
            return self._noise()  # the schedule would leave a trace of the start
        return noised(self.backbone.scheduler, self.begun.latents, self._noise(), timesteps[0])

    def _checkpoint(self, progress: Progress) -> None:
        stopping = self.unfinished.kept and self.team.any(self.stop.asked)
        self.unfinished.offer(progress, now=stopping)
        if stopping:
            raise KeyboardInterrupt


def canvas_labels(plan: Plan, exemplar: Exemplar, labels_of: Callable[[Tensor, int], Tensor]) -> Tensor | None:
    """Labels of the canvas' cells (h, w), where the exemplar has any."""
    if exemplar.maps is None:
        return None
    if plan.target is None:
        return torch.zeros(tuple(plan.canvas), dtype=torch.uint8)
    return labels_of(plan.target, exemplar.factor)


def _schedule(plan: Plan, steps: int, seed: int) -> Sequence[Sequence[Tile]]:
    if plan.preset.schedule == "fixed":
        return list(fixed_schedule(plan.canvas, plan.tile, plan.stride, plan.wrap, steps))
    return list(rolled_schedule(plan.canvas, plan.tile, plan.wrap, steps, seed))


def _needed(plans: Sequence[Sequence[Tile]], given: Given | None) -> Sequence[Sequence[Tile]]:
    """The plans without tiles of which every cell is given."""
    if given is None:
        return plans
    return [[tile for tile in tiles if not bool(cut(given.cells, tile).all())] for tiles in plans]


def _token_weights(exemplar: Exemplar, shares: Sequence[float] | None) -> list[float] | None:
    """Weights of the tokens of each crop, so that those of an exemplar together weigh its share."""
    if shares is None:
        return None
    areas = [float(canvas_size(crop).area) for crop in exemplar.crops]
    whole = {n: sum(a for a, m in zip(areas, exemplar.numbers, strict=True) if m == n) for n in set(exemplar.numbers)}
    return [shares[number] * sum(areas) / whole[number] for number in exemplar.numbers]


def _generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)
