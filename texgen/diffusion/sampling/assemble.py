"""From a plan to a loop: start of the canvas, exemplars, tiles, and corrections after every step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from texgen.diffusion.denoising import DenoisingModel, Schedule
from texgen.diffusion.exemplar import Exemplar
from texgen.diffusion.guidance.exemplar_keys import Exemplars
from texgen.diffusion.guidance.prompt import Led
from texgen.diffusion.guidance.regional import Regions, middle_labels
from texgen.diffusion.kept_pixels import Given
from texgen.diffusion.plan import Plan
from texgen.diffusion.sampling.loop import Loop, normal
from texgen.diffusion.sampling.progress import Progress
from texgen.diffusion.sampling.spectrum import SpectrumMatcher, spectrum_matcher
from texgen.diffusion.sampling.start import Start
from texgen.diffusion.sampling.tile_pass import TilePass
from texgen.materials.exemplar import NONE
from texgen.runs.torchrun import Team
from tiling import Tile, canvas_size, cut, fixed_schedule, make_window, rolled_schedule


class Seeds(NamedTuple):
    """Seeds of everything random in a run."""

    start: int
    noise: int
    tiles: int
    exemplars: int

    @classmethod
    def of(cls, seed: int) -> Seeds:
        """Independent seeds from a single one."""
        return cls(*np.random.SeedSequence(seed).generate_state(4).tolist())


@dataclass(frozen=True, kw_only=True)
class Assembly:
    """Everything from which a loop is made.

    Attributes:
        model: The model.
        plan: The plan of the job.
        exemplar: The encoded exemplars.
        start: Start of the canvas.
        layout: Latents of the layout or content, if any.
        given: Latent pixels that stay, if any.
        led: The prompt, if any.
        seeds: Seeds of the run.
    """

    model: DenoisingModel
    plan: Plan
    exemplar: Exemplar
    start: Start
    layout: Tensor | None
    given: Given | None
    led: Led | None
    seeds: Seeds

    def loop(self, team: Team, checkpoint: Callable[[Progress], None]) -> Loop:
        """The loop, to be run by `sample` or `optimize`."""
        plan = self.plan
        schedule = self.model.schedule(plan.preset.steps)
        timesteps = schedule.timesteps if plan.optimizes else schedule.last(plan.preset.strength)
        tiles = TilePass(
            plans=self._plans(len(timesteps)),
            window=make_window(plan.preset.window, plan.tile),
            tile_batch=plan.tile_batch,
            team=team,
            checkpoint=checkpoint,
            deterministic=plan.deterministic,
        )
        labels = canvas_labels(plan, self.exemplar, middle_labels)
        return Loop(
            model=self.model,
            schedule=schedule,
            timesteps=timesteps,
            tiles=tiles,
            exemplars=Exemplars(
                crops=self.exemplar.crops,
                weights=_token_weights(self.exemplar, plan.shares),
                regions=None if labels is None else Regions(labels[None, None], self.exemplar.crop_labels),
            ),
            guidance=plan.guidance,
            content=self.start.latents if self.layout is None else self.layout,
            correct=self._corrections(schedule),
            seed=self.seeds.exemplars,
            led=self.led,
            control=plan.control,
            recomputed=plan.recomputed,
        )

    def first(self, loop: Loop) -> Tensor:
        """The canvas (1, C, h, w) from which the loop starts."""
        clean = self.start.latents
        if clean is None:
            return self._noise()
        if self.plan.optimizes:
            return loop.correct(clean, 0)
        if not loop.timesteps:
            return clean.clone()  # the result belongs to the user, `clean` may be shared by runs
        if self.plan.preset.strength == 1:
            return self._noise()  # `noised` would leave a trace of the start
        return loop.schedule.noised(clean, self._noise(), loop.timesteps[0])

    def history(self, loop: Loop) -> dict[str, Any]:
        """Counts of what a finished loop has done, for the recipe."""
        plans, guidance = loop.tiles.plans, loop.guidance
        distilled = [
            0 if not guidance.active(timestep) else guidance.iterations * len(tiles)
            for timestep, tiles in zip(loop.timesteps, plans, strict=True)
        ]
        return {
            "steps_run": len(loop.timesteps),
            "tile_steps": sum(map(len, plans)),
            "ad_iterations": sum(map(len, plans)) if self.plan.optimizes else sum(distilled),
        }

    def _plans(self, steps: int) -> Sequence[Sequence[Tile]]:
        """Tiles of every step, except those whose latent pixels are all given."""
        plan = self.plan
        if plan.preset.schedule == "fixed":
            plans = list(fixed_schedule(plan.canvas, plan.tile, plan.stride, plan.wrap, steps))
        else:
            plans = list(rolled_schedule(plan.canvas, plan.tile, plan.wrap, steps, self.seeds.tiles))
        if self.given is None:
            return plans
        given = self.given.mask
        return [[tile for tile in tiles if not bool(cut(given, tile).all())] for tiles in plans]

    def _corrections(self, schedule: Schedule) -> Callable[[Tensor, float], Tensor]:
        """A function that corrects a canvas at a timestep after every step: it matches the exemplars' spectrum and restores the given latent pixels."""
        wrap, given = self.plan.wrap, self.given
        matchers = self._matchers(schedule) if self.plan.preset.match_spectrum else []
        noise = None if given is None else self._noise()

        def correct(canvas: Tensor, timestep: float) -> Tensor:
            for matcher, mask in matchers:
                canvas = matcher(canvas, timestep, wrap, mask)
            if given is None or noise is None:
                return canvas
            known = schedule.noised(given.latents, noise, timestep) if timestep > 0 else given.latents
            return torch.where(given.mask, known, canvas)

        return correct

    def _matchers(self, schedule: Schedule) -> list[tuple[SpectrumMatcher, Tensor | None]]:
        """Spectrum matchers, one per label that is large enough, each with its mask (h, w) of the canvas."""
        sources = self.exemplar.sources
        latents = [source.latents for source in sources]
        if self.plan.target is None:
            usable = None
            if self.exemplar.maps is not None:
                usable = [self.exemplar.source_labels(source) != NONE for source in sources]
            whole = spectrum_matcher(latents, schedule, usable)
            return [] if whole is None else [(whole, None)]
        wanted = middle_labels(self.plan.target, self.exemplar.factor)
        labels = [self.exemplar.source_labels(source) for source in sources]
        found: list[tuple[SpectrumMatcher, Tensor | None]] = []
        for label in range(self.exemplar.label_count):
            matcher = spectrum_matcher(latents, schedule, [each == label for each in labels])
            if matcher is not None:
                found.append((matcher, wanted == label))
        return found

    def _noise(self) -> Tensor:
        """Noise of the canvas, the same at every call."""
        shape = (1, self.model.latent_channels, *self.plan.canvas)
        return normal(shape, torch.Generator().manual_seed(self.seeds.noise))


def canvas_labels(plan: Plan, exemplar: Exemplar, labels_of: Callable[[Tensor, int], Tensor]) -> Tensor | None:
    """Labels of the canvas on the latent grid, (h, w); None if the exemplar has none."""
    if exemplar.maps is None:
        return None
    if plan.target is None:
        return torch.zeros(tuple(plan.canvas), dtype=torch.uint8)
    return labels_of(plan.target, exemplar.factor)


def _token_weights(exemplar: Exemplar, shares: Sequence[float] | None) -> list[float] | None:
    """Weight of the tokens of each crop, so that the total weight of an exemplar's tokens is proportional to its share."""
    if shares is None:
        return None
    areas = [float(canvas_size(crop).area) for crop in exemplar.crops]
    whole = {n: sum(a for a, m in zip(areas, exemplar.numbers, strict=True) if m == n) for n in set(exemplar.numbers)}
    return [shares[number] * sum(areas) / whole[number] for number in exemplar.numbers]
