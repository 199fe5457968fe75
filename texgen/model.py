"""What tasks see of a model: a job goes in, states come out, a texture is there at the end."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from texgen.errors import InputError, OptionError
from texgen.files.pixels import Pixels
from texgen.job import Job
from texgen.runs.interrupt import StopSignals
from texgen.runs.log import tell
from texgen.runs.resume import RunFolder
from texgen.runs.torchrun import Team

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    from torch import Tensor


class State(Protocol):
    """Where a run stands."""

    @property
    def done(self) -> int:
        """Units of work done."""

    @property
    def total(self) -> int:
        """Units of work in all."""

    @property
    def unit(self) -> str:
        """What is counted: `px` or `step`."""

    def event(self) -> dict[str, Any]:
        """What `texgen.runs.log.tell` is told: stage, done, total, unit, and the stage's own."""


class Field(Protocol):
    """Where every pixel of a texture is from, see `texgen.swatch.field.Field`."""

    def save(self, path: Path, recipe: dict[str, Any]) -> None:
        """Write it, to show more maps through later."""

    def coordinates(self, step: int = 1) -> np.ndarray:
        """Exemplar, y and x of every `step`-th pixel of every `step`-th row."""


@dataclass(frozen=True, kw_only=True)
class Texture:
    """What a run ends with.

    Attributes:
        pixels: (height, width, 3), on disk.
        coordinates: Of every pixel or latent pixel, see `texgen.Result`.
        latents: (1, C, h, w), of a diffusion model.
        maps: Each map of the job by its name, (height, width, C), on disk.
        field: Where every pixel is from, of the swatch model.
        history: What was done, for the recipe.
    """

    pixels: Pixels
    coordinates: np.ndarray | Tensor | None = None
    latents: Tensor | None = None
    maps: Mapping[str, Pixels] = dataclasses.field(default_factory=dict)
    field: Field | None = None
    history: Mapping[str, Any] = dataclasses.field(default_factory=dict)


class Clock:
    """Seconds per stage, each of which is told of when it begins, see `texgen.runs.log`."""

    def __init__(self) -> None:
        self.laps: dict[str, float] = {}
        self._stage, self._since = "", 0.0

    def begin(self, stage: str) -> None:
        """End the stage in work, and begin this one, if it is another."""
        if stage != self._stage:
            self.end()
            self._stage, self._since = stage, time.perf_counter()
            tell(stage)

    def end(self) -> None:
        """End the stage in work."""
        if self._stage:
            self.laps[self._stage] = round(self.laps.get(self._stage, 0.0) + time.perf_counter() - self._since, 3)
            self._stage = ""


@dataclass(frozen=True)
class Workplace:
    """What a run works in.

    Attributes:
        folder: Where it keeps what is done.
        stop: Whether the user wants to stop; a run that is kept does so at the next good moment, by a KeyboardInterrupt.
        clock: To be told the beginning of every stage.
    """

    folder: RunFolder
    stop: StopSignals
    clock: Clock

    @property
    def stopping(self) -> bool:
        """Whether to stop at the next good moment."""
        return self.folder.kept and self.stop.asked


class Run(Protocol):
    """A job that a model has checked and planned.

    Attributes:
        entry: What of the model decides the result, for the recipe.
    """

    @property
    def entry(self) -> Mapping[str, Any]: ...

    def states(self, place: Workplace) -> Generator[State, None, Texture]:
        """Do the work, going on with what an earlier run left in the folder.

        Raises:
            InputError: A swatch of which nothing can be shown.
            ResourceError: Out of memory or disk.
            KeyboardInterrupt: The user asked for it.
        """


def followed(run: Run, place: Workplace, callback: Callable[[Any], None] | None = None) -> Texture:
    """Follow a run to its end; of one that is refused before its first state nothing is kept.

    Raises:
        InputError, ResourceError, KeyboardInterrupt: As `Run.states`.
    """
    states, begun = run.states(place), False
    try:
        while True:
            state = next(states)
            begun = True
            tell(**state.event())
            if callback is not None:
                callback(state)
    except StopIteration as end:
        texture: Texture = end.value
        return texture
    except (InputError, OptionError):
        if place.folder.owner and not begun:
            place.folder.remove()
        raise
    finally:
        states.close()


class Model(Protocol):
    """What makes textures."""

    def begin(self, job: Job, team: Team) -> Run:
        """Check and plan a job; no network is run.

        Raises:
            OptionError: Options that make no sense for this job.
            InputError: Exemplars that cannot be used.
        """
