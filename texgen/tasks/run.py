"""One run of a task: stages that are as an earlier run left them, or made; and the result."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from texgen import publish
from texgen.adapt import adapted, with_weights
from texgen.checkpoint import Unfinished
from texgen.coarse import coarse_start
from texgen.decode import CanvasDecoder
from texgen.detail import find_detail
from texgen.errors import OptionError
from texgen.exemplar import Exemplar, contrast, encode_exemplar
from texgen.interrupt import StopSignals
from texgen.memory import off_device, within_memory
from texgen.models import Backbone
from texgen.pixels import PixelFile, Pixels
from texgen.sample import Progress, Step, noised, normal, previous_timestep, sample, strength_timesteps
from texgen.spectrum import spectrum_matcher
from texgen.start import Start, layout_start, noise_start, quilt_start
from texgen.tasks.request import Clock, Plan
from texgen.team import Team
from tiling import Tile, fixed_schedule, make_window, rolled_schedule


@dataclass(frozen=True, kw_only=True)
class Result:
    """An expanded texture.

    Attributes:
        pixels: (height, width, 3), 8 or 16 bits, on disk: slices of rows read it, as they would an array.
        latents: The canvas it was decoded from, (1, C, h, w).
        coordinates: (3, h, w), int64: exemplar number, y and x in exemplar pixels each canvas cell came from in the
            quilted start; None without one.
        recipe: Everything needed to make it again; equal for equal runs.
        timings: Seconds per stage.
        unfinished: The folder that held the run; it goes with `discard`, or with this object where it is temporary.
    """

    pixels: Pixels
    latents: Tensor
    coordinates: Tensor | None
    recipe: dict[str, Any]
    timings: dict[str, float] = field(default_factory=dict)
    unfinished: Unfinished | None = None

    @property
    def image(self) -> Image.Image:
        """The whole picture in memory, 8 bits RGB (Pillow has no 16)."""
        whole = self.pixels[0 : self.pixels.shape[0]]
        return Image.fromarray(whole if whole.dtype == np.uint8 else (whole // 257).astype(np.uint8))

    def save(self, path: str | Path, metadata: bool = True, pyramid: bool = False) -> None:
        """Write the picture by suffix, the recipe inside it, and a JSON sidecar (`out.png.json`) with timings.

        Args:
            path: PNG, TIFF, JPEG or WebP. The first two are written in rows: memory does not grow with the picture.
            metadata: Whether to write the recipe.
            pyramid: Give a TIFF halved levels, for viewers.

        Raises:
            OptionError: A suffix or place that cannot be written, 16 bits where the format holds 8.
            ResourceError: The disk is full.
        """
        path = Path(path)
        height, width, _ = self.pixels.shape
        publish.check_target(path, height, width, bits=self.pixels.dtype.itemsize * 8, pyramid=pyramid)
        publish.save_image(path, self.pixels, self.recipe if metadata else None, pyramid)
        if metadata:
            publish.save_json(path.with_name(path.name + ".json"), {**self.recipe, "timings": self.timings})

    def discard(self) -> None:
        """Take away the folder that held the run, and the pixels with it; to be called when all is saved."""
        if self.unfinished is not None:
            self.unfinished.remove()

    def save_map(self, path: str | Path) -> None:
        """Write `coordinates` as a float32 TIFF of three pages: exemplar number, y, x.

        Raises:
            OptionError: The canvas did not start from a quilt.
        """
        if self.coordinates is None:
            raise OptionError("a start of noise has no coordinate map; use start='quilt'.")
        publish.save_map(Path(path), self.coordinates.numpy())


@dataclass(frozen=True)
class Run:
    """Encode, start, sample, decode: each stage as an earlier run left it, or made."""

    backbone: Backbone
    plan: Plan
    bits: int
    unfinished: Unfinished
    team: Team
    callback: Callable[[Step], None] | None
    clock: Clock

    def result(self, job: dict[str, Any], prepared: Sequence[Tensor], stop: StopSignals) -> Result:
        """The texture of prepared swatches."""
        plan, seeds = self.plan, np.random.SeedSequence(self.plan.seed).generate_state(5).tolist()
        exemplar = encode_exemplar(self.backbone, prepared)
        self._done("encode", stop)
        layout = None if plan.layout is None else self.backbone.encode(plan.layout.image).cpu()
        begun = self._started(exemplar, layout, _generator(seeds[0]))
        self._done("start", stop)
        timesteps = strength_timesteps(self.backbone.scheduler, plan.preset.steps, plan.preset.strength)
        level = contrast(exemplar.sources) if plan.preset.raise_contrast else None
        raised = exemplar if level is None else exemplar.raised(level)
        sampler = self._sampler(raised, timesteps, _generator(seeds[4]))
        self._done("adapt", stop)
        if level is not None:
            begun = begun._replace(latents=None if begun.latents is None else level.raised(begun.latents))
            layout = None if layout is None else level.raised(layout)
        latents, history = self._sampled(sampler, raised, begun, layout, timesteps, seeds[1:4], stop)
        if level is not None:
            latents = level.lowered(latents)
        self._done("sample", stop)
        detail = None
        if plan.preset.detail != "none":
            replacing = plan.preset.detail == "pixels"
            detail = find_detail(self.backbone, exemplar, latents, begun.coordinates, plan.wrap, replacing)
        self._done("detail", stop)
        pixels = self._decoded(CanvasDecoder(self.backbone, latents, plan.wrap, detail), stop)
        self.clock.lap("decode")
        return Result(
            pixels=pixels, latents=latents, coordinates=begun.coordinates, recipe={**job, **history},
            timings=self.clock.laps, unfinished=self.unfinished,
        )  # fmt: skip

    def _done(self, stage: str, stop: StopSignals) -> None:
        """A stage is finished, and saved where it is long: a good moment to stop if asked."""
        self.clock.lap(stage)
        if self.unfinished.kept and self.team.any(stop.asked):
            raise KeyboardInterrupt

    def _started(self, exemplar: Exemplar, layout: Tensor | None, generator: torch.Generator) -> Start:
        if self.plan.preset.start == "noise":
            return noise_start()
        if self.plan.preset.start == "layout":
            assert layout is not None
            return layout_start(layout)

        def make() -> dict[str, Tensor]:
            place = (exemplar, self.plan.canvas, self.plan.wrap, generator)
            if self.plan.preset.start == "coarse":
                sewn = coarse_start(self.backbone, *place)
            else:
                sewn = quilt_start(*place, layout, 0.0 if self.plan.layout is None else self.plan.layout.weight)
            assert sewn.latents is not None and sewn.coordinates is not None
            return {"latents": sewn.latents, "coordinates": sewn.coordinates}

        return Start(**self.team.shared(lambda: self.unfinished.stage("start", make)))

    def _sampler(self, exemplar: Exemplar, timesteps: Sequence[int], generator: torch.Generator) -> Backbone:
        """The backbone itself, or tuned to the exemplar."""
        steps = self.plan.preset.adapt
        if not steps or not timesteps:
            return self.backbone

        def make() -> dict[str, Tensor]:
            tuned = adapted(self.backbone, exemplar.sources, steps=steps, below=timesteps[0], generator=generator)
            return {name: tensor.cpu() for name, tensor in tuned.unet.state_dict().items()}

        return with_weights(self.backbone, self.team.shared(lambda: self.unfinished.stage("adapted", make)))

    def _sampled(
        self,
        sampler: Backbone,
        exemplar: Exemplar,
        begun: Start,
        layout: Tensor | None,
        timesteps: Sequence[int],
        seeds: Sequence[int],
        stop: StopSignals,
    ) -> tuple[Tensor, dict[str, Any]]:
        """The finished canvas, and what was done: steps, tile steps, AD iterations."""
        plan = self.plan
        plans = _schedule(plan, len(timesteps), seeds[1])
        progress = self.team.shared(self.unfinished.progress)
        if progress is None:
            progress = Progress(latents=self._noised(begun, timesteps, seeds[0]))
        matcher = None
        if plan.preset.match_spectrum:
            matcher = spectrum_matcher([source.latents for source in exemplar.sources], self.backbone.scheduler)
        active = [plan.guidance.active(previous_timestep(self.backbone.scheduler, t)) for t in timesteps]
        steps = partial(
            sample,
            sampler,
            progress,
            exemplar.crops,
            timesteps=timesteps,
            plans=plans,
            window=make_window(plan.preset.window, plan.tile),
            guidance=plan.guidance,
            seed=seeds[2],
            tile_batch=plan.tile_batch,
            content=layout,
            match=None if matcher is None else partial(matcher, wrap=plan.wrap),
            team=self.team,
            checkpoint=partial(self._checkpoint, stop),
        )
        for step in within_memory(steps, partial(off_device, self.backbone.autoencoder)):
            if self.callback is not None:
                self.callback(step)
        self.unfinished.offer(progress, now=bool(timesteps))
        return progress.latents, {
            "steps_run": len(timesteps),
            "tile_steps": sum(map(len, plans)),
            "ad_iterations": plan.guidance.iterations * sum(len(p) for p, on in zip(plans, active, strict=True) if on),
        }

    def _noised(self, begun: Start, timesteps: Sequence[int], seed: int) -> Tensor:
        if not timesteps and begun.latents is not None:
            return begun.latents
        noise = normal((1, self.backbone.latent_channels, *self.plan.canvas), _generator(seed))
        if begun.latents is None or self.plan.preset.strength == 1:
            return noise  # the schedule would leave a trace of the start
        return noised(self.backbone.scheduler, begun.latents, noise, timesteps[0])

    def _checkpoint(self, stop: StopSignals, progress: Progress) -> None:
        stopping = self.unfinished.kept and self.team.any(stop.asked)
        self.unfinished.offer(progress, now=stopping)
        if stopping:
            raise KeyboardInterrupt

    def _decoded(self, decoder: CanvasDecoder, stop: StopSignals) -> PixelFile:
        """The pixels; each process decodes its own bands, and none that is finished."""
        bands = decoder.bands
        pixels = self.unfinished.pixels((*self.plan.size_px, 3), self.bits)
        done = self.unfinished.bands(len(bands))
        mine = range(self.team.rank, len(bands), self.team.size)

        def missing() -> Iterator[int]:
            for index in mine:
                if not done.finished(index):
                    decoder.write(bands[index], pixels)
                    yield index

        for index in within_memory(missing, partial(off_device, self.backbone.unet)):
            done.finish(index)
            if stop.asked:
                raise KeyboardInterrupt
        self.team.wait()
        return pixels


def _schedule(plan: Plan, steps: int, seed: int) -> Sequence[Sequence[Tile]]:
    if plan.preset.schedule == "fixed":
        return list(fixed_schedule(plan.canvas, plan.tile, plan.stride, plan.wrap, steps))
    return list(rolled_schedule(plan.canvas, plan.tile, plan.wrap, steps, seed))


def _generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)
