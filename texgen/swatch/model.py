"""The swatch model's interface to tasks: search a field, then render the pixels through it."""

from __future__ import annotations

from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from texgen.errors import InputError, OptionError
from texgen.files.pixels import PixelFile
from texgen.job import Job
from texgen.model import Texture, Workplace
from texgen.runs import digests
from texgen.runs.log import tell
from texgen.runs.torchrun import Team
from texgen.swatch import presets
from texgen.swatch.cpu_cores import cores
from texgen.swatch.knobs import Knobs

if TYPE_CHECKING:
    from texgen.materials.maps import Map
    from texgen.swatch.bank.bank import Bank
    from texgen.swatch.field import Field, Rendering
    from texgen.swatch.progress import State

NAME = "swatch"
BAND = 128
"""Rows that are rendered at once."""


@dataclass(frozen=True)
class SwatchModel:
    """A `texgen.model.Model`: attention distillation in closed form, over the swatch's own patches.

    Attributes:
        preset: Name of the preset.
        knobs: Settings that replace those of the preset.
    """

    preset: str
    knobs: Knobs

    def begin(self, job: Job, team: Team) -> SwatchRun:
        """Check and plan a job.

        Raises:
            OptionError: As `texgen.model.Model.begin`.
        """
        if team.size > 1:
            raise OptionError(
                "the swatch model uses all cores of one process; leave torchrun out, or choose another --model."
            )
        return SwatchRun(job, presets.choose(self.preset, self.knobs.start), self.knobs.symmetry)


@dataclass(frozen=True)
class SwatchRun:
    """A job of the swatch model."""

    job: Job
    settings: presets.Settings
    symmetry: str

    @property
    def entry(self) -> dict[str, Any]:
        """The part of the recipe that describes the model."""
        return {
            "numba": digests.package_version("numba"),
            "model": NAME,
            "settings": asdict(self.settings),
            "symmetry": self.symmetry,
        }

    def states(self, place: Workplace) -> Generator[State, None, Texture]:
        """Yield the states of the search; return the texture.

        Raises:
            KeyboardInterrupt: The user interrupted the run.
        """
        from texgen.swatch.bank.bank import bank_of  # numba is loaded when everything was checked
        from texgen.swatch.patchwork import synthesis_of
        from texgen.swatch.prepared_job import PreparedJob

        job, wanted, begin = self.job, self.job.canvas.size, place.clock.begin
        begin("load")
        prepared = PreparedJob(job, self.symmetry, place.folder.folder)
        bank = bank_of(prepared.material, prepared.torus, self.settings.patch, prepared.labels)
        if lacking := bank.lacks(prepared.labels):
            target = job.constraints.target
            what = "what lies outside of the hole" if target is None else f"label {target.names[lacking[0]]}"
            raise InputError(
                f"{what} is not to be seen in the swatch as it is used; at least {self.settings.patch} px of it are needed: "
                "check crop and scale."
            )
        synthesis = synthesis_of(prepared, bank, self.settings, place.folder)
        begin("start")
        for state in synthesis.run():
            begin(state.stage)
            yield state
            if place.stopping:
                raise KeyboardInterrupt
        begin("render")
        field = synthesis.field(wanted, prepared.kept)
        pixels = _shown(
            field.rendering(prepared.pictures), place, "pixels", (job.encoding.channels, job.encoding.dtype),
            lambda rows, _, top: job.encoding.stored(rows, top),
        )  # fmt: skip
        if prepared.job.maps:
            begin("maps")
        maps = {each.name: map_shown(field, each, place) for each in prepared.job.maps}
        place.clock.end()
        return Texture(
            pixels=pixels,
            coordinates=self._coordinates(field) if job.with_map else None,
            maps=maps,
            field=field,
            history={"repeat": _repeats(bank), "ad_energy": synthesis.energy},
        )

    def _coordinates(self, field: Field) -> np.ndarray:
        orientation = self.job.constraints.orientation
        sizes = [(each.pixels.shape[0], each.pixels.shape[1]) for each in self.job.exemplars]
        found = field.coordinates()
        return found if orientation is None else orientation.own(found, sizes)


def map_shown(field: Field, each: Map, place: Workplace) -> PixelFile:
    """A map of the exemplars, rendered through a field at its own bit depth."""
    rendering = field.rendering(each.images, each.turned)
    return _shown(
        rendering,
        place,
        f"map-{each.name}",
        (each.channels, each.dtype),
        lambda rows, mixed, _: each.finished(rows, mixed),
    )


def _shown(
    rendering: Rendering,
    place: Workplace,
    name: str,
    kind: tuple[int, np.dtype[Any]],
    finished: Callable[[np.ndarray, np.ndarray, int], np.ndarray],
) -> PixelFile:
    """Render all rows, band by band; bands that an earlier run finished are kept.

    Args:
        rendering: What to render.
        place: Where the pixels are kept.
        name: Of the files.
        kind: Number of channels, and type of the pixels.
        finished: Turns values (rows, W, C), whether each is blended (rows, W), and the number of the first row into pixels.
    """
    height, width = rendering.field.size
    pixels = place.folder.pixels((height, width, kind[0]), kind[1], name)
    tops = range(0, height, BAND)
    done = place.folder.bands(len(tops), "bands" if name == "pixels" else f"{name}-bands")

    def band(index: int) -> None:
        top = tops[index]
        pixels.write(top, finished(*rendering.rows(top, min(top + BAND, height)), top))
        done.finish(index)

    missing = [index for index in range(len(tops)) if not done.finished(index)]
    with ThreadPoolExecutor(cores()) as pool:
        for start in range(0, len(missing), 4 * cores()):
            list(pool.map(band, missing[start : start + 4 * cores()]))
            tell(
                "render" if name == "pixels" else "maps",
                min(tops[missing[start]] + 4 * cores() * BAND, height) * width,
                height * width,
            )
            if place.stopping:
                raise KeyboardInterrupt
    return pixels


def _repeats(bank: Bank) -> list[dict[str, Any] | None]:
    """How each swatch repeats itself; None for a swatch that is searched in windows."""
    found = {source.exemplar: source.repeat for source in bank.sources if source.turn == 0}
    return [None if repeat is None else {**repeat._asdict(), "wrap": list(repeat.wrap)} for repeat in found.values()]
