"""The swatch model as a maker of textures: the field is searched, then pixels are shown through it."""

from __future__ import annotations

from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from texgen import recipe
from texgen.errors import OptionError
from texgen.image import MIN_SIDE
from texgen.job import Constraints, Job
from texgen.model import Texture, Workplace
from texgen.pixels import PixelFile
from texgen.swatch import settings as presets
from texgen.team import Team
from tiling import Size

if TYPE_CHECKING:
    from texgen.swatch.bank import Bank
    from texgen.swatch.synthesis import State, Synthesis

NAME = "swatch"
BAND = 128
"""Rows that are shown at once."""


@dataclass(frozen=True, kw_only=True)
class Knobs:
    """Settings as the user gave them; `texgen.Options` says what they mean. None takes the preset's."""

    WHOSE: ClassVar[str] = "the swatch model"
    MIN_SIDE: ClassVar[int] = MIN_SIDE

    start: str | None = None
    symmetry: str = "none"

    def check(self, size: Size, constraints: Constraints) -> None:
        """Refuse what needs no picture to be refused."""
        if min(size) < self.MIN_SIDE:
            raise OptionError(f"size={size} is too small; at least {self.MIN_SIDE} px a side.")
        if self.symmetry not in presets.SYMMETRIES:
            raise OptionError(
                f"symmetry={self.symmetry!r} is not known; choose one of {', '.join(presets.SYMMETRIES)}."
            )
        for name in ("layout", "target", "kept"):
            if getattr(constraints, name) is not None:
                raise OptionError("model='swatch' is for texgen.expand; leave model out, or name a diffusion model.")


@dataclass(frozen=True)
class SwatchModel:
    """A `texgen.model.Model`: attention distillation in closed form, over the swatch's own patches.

    Attributes:
        preset: Name of the preset.
        knobs: What is set otherwise than there.
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
        """What of the model decides the result."""
        return {
            "numba": recipe.package_version("numba"),
            "model": NAME,
            "settings": asdict(self.settings),
            "symmetry": self.symmetry,
        }

    def states(self, place: Workplace) -> Generator[State, None, Texture]:
        """Every state of the search, and the texture.

        Raises:
            KeyboardInterrupt: The user asked for it.
        """
        from texgen.swatch.bank import bank_of  # numba is loaded when everything was checked
        from texgen.swatch.synthesis import Kept, Synthesis, torus_of

        job, wanted = self.job, self.job.canvas.size
        canvas = torus_of(wanted, job.canvas.wrap)
        pictures = [each.pixels for each in job.exemplars]
        shares = job.shares or [1 / len(pictures)] * len(pictures)
        bank = bank_of(pictures, shares, canvas, self.settings.patch, self.symmetry)
        corner = job.constraints.place
        kept = None if corner is None else Kept(0, corner[1], corner[0])
        synthesis = Synthesis(
            bank, canvas, self.settings, job.seed, place.folder.folder, kept=kept, durable=place.folder.kept
        )
        place.clock.lap("load")
        for state in synthesis.run():
            yield state
            if place.stopping:
                raise KeyboardInterrupt
        place.clock.lap("search")
        pixels = place.folder.pixels((*wanted, 3), job.bits)
        self._show(synthesis, pixels, place)
        place.clock.lap("render")
        energy = {name: synthesis.history[name] for name in ("levels", "candidates", "chosen")}
        return Texture(
            pixels=pixels,
            coordinates=_coordinates(synthesis, wanted) if job.with_map else None,
            history={"repeat": _repeats(bank), "ad_energy": energy},
        )

    def _show(self, synthesis: Synthesis, pixels: PixelFile, place: Workplace) -> None:
        """Show the bank through the field, a band of rows after the other; bands of an earlier run are kept."""
        height, width, channels = pixels.shape
        most = np.iinfo(pixels.dtype).max
        tops = range(0, height, BAND)
        done = place.folder.bands(len(tops))

        def band(index: int) -> None:
            top = tops[index]
            values = synthesis.shown(top, min(top + BAND, height))[:, :width, :channels]
            self._keep(values, top)
            pixels.write(top, np.rint(np.clip(values, 0, 1) * most).astype(pixels.dtype))
            done.finish(index)

        missing = [index for index in range(len(tops)) if not done.finished(index)]
        with ThreadPoolExecutor(synthesis.workers) as pool:
            for start in range(0, len(missing), 4 * synthesis.workers):
                list(pool.map(band, missing[start : start + 4 * synthesis.workers]))
                if place.stopping:
                    raise KeyboardInterrupt

    def _keep(self, values: np.ndarray, top: int) -> None:
        """Put the exemplar that is kept into rows of the result from `top` on, to the last bit."""
        if self.job.constraints.place is None:
            return
        (left, first), swatch = self.job.constraints.place, self.job.exemplars[0].pixels
        above, below = max(top, first), min(top + len(values), first + len(swatch))
        if above < below:
            values[above - top : below - top, left : left + swatch.shape[1]] = swatch[above - first : below - first]


def _repeats(bank: Bank) -> list[dict[str, Any] | None]:
    """What each swatch was found to repeat of itself; None for one of which windows are used."""
    found = {source.exemplar: source.repeat for source in bank.sources if source.turn == 0}
    return [None if repeat is None else {**repeat._asdict(), "wrap": list(repeat.wrap)} for repeat in found.values()]


def _coordinates(synthesis: Synthesis, size: Size) -> np.ndarray:
    """Exemplar, y and x (3, H, W) of every pixel."""
    places = synthesis.bank.origins()
    field = np.asarray(synthesis.result)[: size.height, : size.width]
    return places[:, field >> 16, field & 0xFFFF]
