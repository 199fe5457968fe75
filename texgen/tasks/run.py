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
from texgen.collage import assembled, clear_labels, middle_labels
from texgen.decode import CanvasDecoder, Finish
from texgen.detail import find_detail
from texgen.errors import OptionError
from texgen.exemplar import Exemplar, contrast, encode_exemplar
from texgen.interrupt import StopSignals
from texgen.keep import Kept
from texgen.memory import off_device, within_memory
from texgen.models import Backbone
from texgen.pixels import PixelFile, Pixels
from texgen.quilt import Given
from texgen.regional import Regions
from texgen.sample import Progress, Step, noised, normal, previous_timestep, sample, strength_timesteps
from texgen.spectrum import SpectrumMatcher, spectrum_matcher
from texgen.start import Start, collage_start, layout_start, noise_start, quilt_start, scatter_start
from texgen.tasks.request import Clock, Plan
from texgen.team import Team
from texgen.tune import decoder_weights, tuned_decoder, with_decoder
from tiling import Tile, canvas_size, cut, fixed_schedule, make_window, rolled_schedule


TUNING_SEED = 0


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

    def result(
        self, job: dict[str, Any], prepared: Sequence[Tensor], maps: Sequence[Tensor] | None, stop: StopSignals
    ) -> Result:
        """The texture of prepared swatches, and of the labels of their pixels where there are any."""
        plan, seeds = self.plan, np.random.SeedSequence(self.plan.seed).generate_state(5).tolist()
        exemplar = encode_exemplar(self.backbone, prepared, maps)
        self._done("encode", stop)
        layout = None if plan.layout is None else self.backbone.encode(plan.layout.image).cpu()
        given = None if plan.kept is None else self._given(plan.kept)
        begun = self._started(exemplar, layout, given, seeds[0])
        self._done("start", stop)
        timesteps = strength_timesteps(self.backbone.scheduler, plan.preset.steps, plan.preset.strength)
        level = contrast(exemplar.sources) if plan.preset.raise_contrast else None
        raised = exemplar if level is None else exemplar.raised(level)
        sampler = self._sampler(raised, timesteps, _generator(seeds[4]))
        decoder = self._decoder(exemplar)
        self._done("adapt", stop)
        if level is not None:
            begun = begun._replace(latents=None if begun.latents is None else level.raised(begun.latents))
            layout = None if layout is None else level.raised(layout)
            given = None if given is None else given._replace(latents=level.raised(given.latents))
        latents, history = self._sampled(sampler, raised, begun, layout, given, timesteps, seeds[1:4], stop)
        if level is not None:
            latents = level.lowered(latents)
        self._done("sample", stop)
        detail = self._detail(decoder, exemplar, latents, begun, timesteps)
        self._done("detail", stop)
        pixels = self._decoded(CanvasDecoder(decoder, latents, plan.wrap, detail, plan.kept), stop)
        self.clock.lap("decode")
        return Result(
            pixels=pixels, latents=latents, coordinates=begun.coordinates, recipe={**job, **history},
            timings=self.clock.laps, unfinished=self.unfinished,
        )  # fmt: skip

    def _given(self, kept: Kept) -> Given:
        return Given(kept.latents(self.backbone, self.plan.canvas), kept.cells(self.plan.canvas, self.backbone.factor))

    def _done(self, stage: str, stop: StopSignals) -> None:
        """A stage is finished, and saved where it is long: a good moment to stop if asked."""
        self.clock.lap(stage)
        if self.unfinished.kept and self.team.any(stop.asked):
            raise KeyboardInterrupt

    def _started(self, exemplar: Exemplar, layout: Tensor | None, given: Given | None, seed: int) -> Start:
        plan, generator = self.plan, _generator(seed)
        if plan.preset.start == "noise":
            return noise_start()
        if plan.preset.start == "layout":
            assert layout is not None
            return layout_start(layout)

        def make() -> dict[str, Tensor]:
            place = (plan.canvas, plan.wrap)
            if plan.preset.start == "scatter":
                assert plan.target is not None
                begun = scatter_start(self.backbone, exemplar, plan.target, *place, seed)
            elif plan.target is not None:
                begun = collage_start(self.backbone, exemplar, plan.target, *place, generator)
            elif plan.preset.start == "coarse":
                begun = coarse_start(self.backbone, exemplar, *place, generator)
            else:
                weight = 0.0 if plan.layout is None else plan.layout.weight
                begun = quilt_start(exemplar, *place, generator, layout, weight, given, plan.shares)
            return {name: tensor for name, tensor in begun._asdict().items() if tensor is not None}

        found = self.team.shared(lambda: self.unfinished.stage("start", make))
        return Start(**{"coordinates": None, **found})

    def _sampler(self, exemplar: Exemplar, timesteps: Sequence[int], generator: torch.Generator) -> Backbone:
        """The backbone itself, or tuned to the exemplar."""
        steps = self.plan.preset.adapt
        if not steps or not timesteps:
            return self.backbone

        def make() -> dict[str, Tensor]:
            tuned = adapted(self.backbone, exemplar.sources, steps=steps, below=timesteps[0], generator=generator)
            return {name: tensor.cpu() for name, tensor in tuned.unet.state_dict().items()}

        return with_weights(self.backbone, self.team.shared(lambda: self.unfinished.stage("adapted", make)))

    def _decoder(self, exemplar: Exemplar) -> Backbone:
        """The backbone that decodes: itself, or with its decoder tuned to the exemplar, whatever the seed of the run."""
        iterations = self.plan.preset.tune_decoder
        if not iterations:
            return self.backbone

        def make() -> dict[str, Tensor]:
            tuned = tuned_decoder(self.backbone, exemplar, iterations=iterations, generator=_generator(TUNING_SEED))
            return decoder_weights(tuned)

        return with_decoder(self.backbone, self.team.shared(lambda: self.unfinished.stage("decoder", make)))

    def _detail(
        self, decoder: Backbone, exemplar: Exemplar, latents: Tensor, begun: Start, timesteps: Sequence[int]
    ) -> Finish | None:
        """What is carried over from the exemplar; a collage that was not sampled is its own detail."""
        plan = self.plan
        if plan.preset.detail == "none":
            return None
        if plan.preset.detail == "pixels" and begun.layers is not None and not timesteps:
            assert plan.target is not None
            return assembled(exemplar, begun.layers, plan.target, plan.wrap)
        return find_detail(
            decoder, exemplar, latents, begun.coordinates, plan.wrap, plan.preset.detail == "pixels",
            self._cells(exemplar, clear_labels),
        )  # fmt: skip

    def _cells(self, exemplar: Exemplar, labels_of: Callable[[Tensor, int], Tensor]) -> Tensor | None:
        """Labels of the canvas' cells (h, w), where there are any."""
        if exemplar.maps is None:
            return None
        if self.plan.target is None:
            return torch.zeros(tuple(self.plan.canvas), dtype=torch.uint8)
        return labels_of(self.plan.target, self.backbone.factor)

    def _sampled(
        self,
        sampler: Backbone,
        exemplar: Exemplar,
        begun: Start,
        layout: Tensor | None,
        given: Given | None,
        timesteps: Sequence[int],
        seeds: Sequence[int],
        stop: StopSignals,
    ) -> tuple[Tensor, dict[str, Any]]:
        """The finished canvas, and what was done: steps, tile steps, AD iterations."""
        plan = self.plan
        plans = _needed(_schedule(plan, len(timesteps), seeds[1]), given)
        noise = normal((1, self.backbone.latent_channels, *plan.canvas), _generator(seeds[0])) if timesteps else None
        progress = self.team.shared(self.unfinished.progress)
        if progress is None:
            progress = Progress(latents=self._noised(begun, noise, timesteps))
        cells = self._cells(exemplar, middle_labels)
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
            content=begun.latents if layout is None else layout,
            match=self._match(exemplar, given, noise),
            weights=_token_weights(exemplar, plan.shares),
            regions=None if cells is None else Regions(cells[None, None], exemplar.crop_labels),
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

    def _match(
        self, exemplar: Exemplar, given: Given | None, noise: Tensor | None
    ) -> Callable[[Tensor, int], Tensor] | None:
        """What a canvas at a timestep is given after every step: the exemplar's spectrum, and the cells that stay."""
        scheduler, wrap = self.backbone.scheduler, self.plan.wrap
        matchers = self._matchers(exemplar) if self.plan.preset.match_spectrum else []
        if not matchers and given is None:
            return None

        def match(canvas: Tensor, timestep: int) -> Tensor:
            for matcher, cells in matchers:
                canvas = matcher(canvas, timestep, wrap, cells)
            if given is None:
                return canvas
            assert noise is not None
            known = noised(scheduler, given.latents, noise, timestep) if timestep > 0 else given.latents
            return torch.where(given.cells, known, canvas)

        return match

    def _matchers(self, exemplar: Exemplar) -> list[tuple[SpectrumMatcher, Tensor | None]]:
        """A matcher to each label that is large enough, and the cells (h, w) of the canvas that it is for."""
        latents, scheduler = [source.latents for source in exemplar.sources], self.backbone.scheduler
        if self.plan.target is None:
            whole = spectrum_matcher(latents, scheduler)
            return [] if whole is None else [(whole, None)]
        wanted, shown = middle_labels(self.plan.target, exemplar.factor), map(exemplar.source_labels, exemplar.sources)
        found: list[tuple[SpectrumMatcher, Tensor | None]] = []
        labels = list(shown)
        for label in range(exemplar.label_count):
            matcher = spectrum_matcher(latents, scheduler, [cells == label for cells in labels])
            if matcher is not None:
                found.append((matcher, wanted == label))
        return found

    def _noised(self, begun: Start, noise: Tensor | None, timesteps: Sequence[int]) -> Tensor:
        if noise is None:
            assert begun.latents is not None
            return begun.latents
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
