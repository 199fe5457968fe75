"""One run of a diffusion model, stage by stage, from swatches to a texture; finished stages of an interrupted run are reused."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from texgen.diffusion.decoding import tune
from texgen.diffusion.decoding.decode import CanvasDecoder
from texgen.diffusion.decoding.detail import Detail, find_detail
from texgen.diffusion.decoding.tune import tuned_decoder
from texgen.diffusion.denoising import DenoisingModel
from texgen.diffusion.encoding import encoded, encoded_image, fingerprint
from texgen.diffusion.environment import environment, machine
from texgen.diffusion.exemplar import PHASES, Exemplar, encode_exemplar
from texgen.diffusion.guidance.prompt import Led
from texgen.diffusion.guidance.regional import clear_labels
from texgen.diffusion.kept_pixels import Given, Kept, as_tensor
from texgen.diffusion.memory import is_out_of_memory, within_memory
from texgen.diffusion.model_lock import turn
from texgen.diffusion.plan import Plan
from texgen.diffusion.sampling.assemble import Assembly, Seeds, canvas_labels
from texgen.diffusion.sampling.checkpoint import Unfinished
from texgen.diffusion.sampling.loop import Loop
from texgen.diffusion.sampling.optimize import optimize
from texgen.diffusion.sampling.progress import Progress, Step
from texgen.diffusion.sampling.sample import sample
from texgen.diffusion.sampling.start import Start, scattered, swatch_start
from texgen.diffusion.tensor_files import cached
from texgen.errors import ResourceError
from texgen.files.pixels import PixelFile
from texgen.job import Job, Prompt
from texgen.materials.exemplar import Exemplar as Swatch
from texgen.model import Clock, Texture, Workplace
from texgen.runs.digests import digest
from texgen.runs.interrupt import StopSignals
from texgen.runs.log import tell
from texgen.runs.resume import RunFolder
from texgen.runs.torchrun import Team

TUNING_SEED = 0


@dataclass(frozen=True)
class DiffusionRun:
    """A run: encode, start, tune, sample, transfer detail, decode. Stages that an interrupted run finished are loaded.

    Attributes:
        model: The model.
        job: The job.
        plan: The plan of the job.
        team: The processes that share the work.
        minutes: Minutes between two checkpoints of the canvas.
    """

    model: DenoisingModel
    job: Job
    plan: Plan
    team: Team
    minutes: float

    @property
    def entry(self) -> dict[str, Any]:
        """Everything about the model and its settings that determines the result, as JSON."""
        plan = self.plan
        return {
            **environment(self.model),
            **asdict(plan.preset),
            "tile_overlap": [plan.tile[i] - plan.stride[i] for i in (0, 1)],
            "guidance": asdict(plan.guidance),
            "tile": list(plan.tile),
            "tile_batch": plan.tile_batch,
            "deterministic": plan.deterministic,
            **({} if plan.prompt is None else {"guidance_scale": plan.prompt.guidance_scale}),
        }

    def states(self, place: Workplace) -> Generator[Step, None, Texture]:
        """Yield every step of the loop and return the texture.

        Raises:
            ResourceError: Out of memory.
            KeyboardInterrupt: The user asked to stop.
        """
        try:
            with turn(self.model):
                return (yield from _Stages(self, place, Unfinished(place.folder, self.minutes)).made())
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            plan = self.plan
            raise ResourceError(
                f"out of memory with tile_batch={plan.tile_batch} at {plan.size_px}; use a smaller tile_batch, size or exemplar."
            ) from error


class _Stages:
    """The stages of a run, in a workplace."""

    def __init__(self, run: DiffusionRun, place: Workplace, unfinished: Unfinished) -> None:
        self.model, self.plan, self.job, self.team = run.model, run.plan, run.job, run.team
        self.place, self.unfinished = place, unfinished

    def made(self) -> Generator[Step, None, Texture]:
        """Run all stages, one after the other; yield the steps and return the texture."""
        plan, seeds = self.plan, Seeds.of(self.plan.seed)
        self._begin("encode")
        phases = PHASES if plan.reads_phases else 1
        exemplar = encode_exemplar(self.model, *_tensors(self.job.exemplars), plan.label_count, phases)
        led = None if plan.prompt is None else self._led(plan.prompt)
        layout = None if plan.layout is None else self._content(plan.layout)
        given = None if plan.kept is None else self._given(plan.kept)
        self._begin("start")
        start = self._started(exemplar, layout, seeds.start)
        self._begin("tune")
        decoder = self._decoder(exemplar)
        self._begin("sample")
        assembly = Assembly(
            model=self.model, plan=plan, exemplar=exemplar, start=start, layout=layout, given=given, led=led, seeds=seeds,
        )  # fmt: skip
        loop = assembly.loop(self.team, self._checkpoint)
        latents = yield from self._looped(loop, partial(assembly.first, loop))
        self._begin("detail")
        detail = self._detail(decoder, exemplar, latents, start)
        self._begin("decode")
        pixels = self._decoded(CanvasDecoder(decoder, latents, plan.wrap, detail, plan.kept))
        self.place.clock.end()
        coordinates = start.coordinates
        if coordinates is not None and given is not None:
            coordinates = torch.where(given.mask, -1 if given.coordinates is None else given.coordinates, coordinates)
        return Texture(pixels=pixels, coordinates=coordinates, latents=latents, history=assembly.history(loop))

    def _looped(self, loop: Loop, first: Callable[[], Tensor]) -> Generator[Step, None, Tensor]:
        """Yield the steps, from where an interrupted run stopped, and return the finished canvas."""
        progress = self.team.shared(self.unfinished.progress)
        if progress is None:
            progress = Progress(latents=first())
        steps = partial(optimize if self.plan.optimizes else sample, loop, progress)
        yield from within_memory(steps, self.model.offload_autoencoder)
        self.unfinished.offer(progress, now=bool(loop.timesteps))
        return progress.latents

    def _checkpoint(self, progress: Progress) -> None:
        stopping = self.unfinished.kept and self.team.any(self.place.stop.asked)
        self.unfinished.offer(progress, now=stopping)
        if stopping:
            raise KeyboardInterrupt

    def _led(self, prompt: Prompt) -> Led:
        """The prompt, encoded for pictures of a tile's size."""
        size_px = self.plan.tile.scaled(self.model.factor)
        read = partial(self.model.conditions, prompt, size_px)
        condition, away = self.model.once("prompt", [prompt, size_px], read)
        return Led(condition, away, prompt.guidance_scale or 1.0)

    def _content(self, layout: Tensor) -> Tensor:
        """Latents of a layout or content."""
        return self.model.once("content", fingerprint(layout), partial(encoded_image, self.model, layout))

    def _given(self, kept: Kept) -> Given:
        canvas, factor = self.plan.canvas, self.model.factor
        coordinates = kept.coordinates(canvas, factor) if self.plan.keeps_swatch else None
        depends_on = [*fingerprint(kept.image, kept.mask), kept.place, canvas]
        latents = self.model.once("kept", depends_on, partial(kept.latents, self.model, canvas))
        return Given(latents, kept.latent_mask(canvas, factor), coordinates)

    def _begin(self, stage: str) -> None:
        """Begin a stage, or stop if asked: the previous stage is finished, and saved if it takes long."""
        self.place.clock.begin(stage)
        if self.unfinished.kept and self.team.any(self.place.stop.asked):
            raise KeyboardInterrupt

    def _started(self, exemplar: Exemplar, layout: Tensor | None, seed: int) -> Start:
        plan = self.plan
        if plan.preset.start == "noise":
            return Start()
        if plan.preset.start == "layout":
            return Start(layout)

        def make() -> dict[str, Tensor]:
            if plan.preset.start == "scatter":
                assert plan.target is not None
                paint = scattered(exemplar, plan.target, seed)
                return {"latents": encoded(self.model, paint, plan.canvas, plan.wrap)}
            kept = self.unfinished.folder / "swatch" if self.unfinished.kept else None
            folder = RunFolder(kept, {}, resume=True)
            alone = self.team.size == 1  # if this process stopped, the others would wait for it
            stop = self.place.stop if alone else StopSignals()
            start = swatch_start(self.model, self.job, plan.canvas, seed, Workplace(folder, stop, Clock()))
            folder.remove()
            return start._asdict()

        return Start(**self.team.shared(lambda: self.unfinished.stage("start", make)))

    def _decoder(self, exemplar: Exemplar) -> DenoisingModel:
        """The model, with its decoder tuned to the exemplar if wanted; tuning does not depend on the run's seed."""
        preset = self.plan.preset
        if not preset.tune_decoder:
            return self.model
        recipe = replace(
            tune.Recipe() if self.model.decodes_locally and preset.tuning == "own" else tune.PUBLISHED,
            iterations=preset.tune_decoder,
        )

        def make() -> dict[str, Tensor]:
            tuned = tuned_decoder(self.model, exemplar, recipe, generator=torch.Generator().manual_seed(TUNING_SEED))
            return tuned.decoder_weights()

        pictures = digest([image.numpy() for image in exemplar.images])
        key = [*environment(self.model).values(), *machine(), pictures, asdict(recipe), tune.VERSION]
        kept = partial(cached, key, make)
        return self.model.with_decoder(self.team.shared(lambda: self.unfinished.stage("decoder", kept)))

    def _detail(self, decoder: DenoisingModel, exemplar: Exemplar, latents: Tensor, start: Start) -> Detail | None:
        """The detail to transfer from the exemplar, if wanted."""
        plan = self.plan
        if plan.preset.detail == "none":
            return None
        return find_detail(
            decoder, exemplar, latents, start.coordinates, plan.wrap, plan.preset.detail == "pixels",
            canvas_labels(plan, exemplar, clear_labels),
        )  # fmt: skip

    def _decoded(self, decoder: CanvasDecoder) -> PixelFile:
        """Decode the pixels; each process decodes its own bands and skips those that are finished."""
        bands, encoding = decoder.bands, self.job.encoding
        pixels = self.place.folder.pixels((*self.plan.size_px, encoding.channels), encoding.dtype)
        done = self.place.folder.bands(len(bands))
        mine = range(self.team.rank, len(bands), self.team.size)

        def missing() -> Iterator[int]:
            for index in mine:
                if not done.finished(index):
                    decoder.write(bands[index], pixels, encoding)
                    yield index

        for index in within_memory(missing, self.model.offload_network):
            done.finish(index)
            tell("decode", index + 1, len(bands), "band")
            if self.place.stop.asked:
                raise KeyboardInterrupt
        self.team.wait()
        return pixels


def _tensors(exemplars: Sequence[Swatch]) -> tuple[list[Tensor], list[Tensor] | None]:
    """Pictures (1, 3, H, W), and the labels of their pixels (H, W) or None."""
    labels = [torch.from_numpy(each.labels) for each in exemplars if each.labels is not None]
    return [as_tensor(each.pixels) for each in exemplars], labels or None
