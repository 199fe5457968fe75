"""The interface between tasks and models: a job goes in, states come out during the run, and a texture at the end."""

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
    """Progress of a run."""

    @property
    def done(self) -> int:
        """Units of work done."""

    @property
    def total(self) -> int:
        """Units of work in all."""

    @property
    def unit(self) -> str:
        """Unit of `done` and `total`: `px` or `step`."""

    def event(self) -> dict[str, Any]:
        """Arguments for `texgen.runs.log.tell`: stage, done, total, unit, and further values of the stage."""


class Field(Protocol):
    """The origin of every pixel of a texture, see `texgen.swatch.field.Field`."""

    def save(self, path: Path, recipe: dict[str, Any]) -> None:
        """Write the field, so that more maps can be rendered through it later."""

    def coordinates(self, step: int = 1) -> np.ndarray:
        """Exemplar, y and x of every `step`-th pixel of every `step`-th row."""


@dataclass(frozen=True, kw_only=True)
class Texture:
    """The result of a run.

    Attributes:
        pixels: (height, width, channels), on disk.
        coordinates: Origins of every pixel or latent pixel, see `texgen.Result`.
        latents: (1, C, h, w), of a diffusion model.
        maps: Each map of the job by its name, (height, width, C), on disk.
        field: Origins of every pixel, of the swatch model.
        history: What the run did, for the recipe.
    """

    pixels: Pixels
    coordinates: np.ndarray | Tensor | None = None
    latents: Tensor | None = None
    maps: Mapping[str, Pixels] = dataclasses.field(default_factory=dict)
    field: Field | None = None
    history: Mapping[str, Any] = dataclasses.field(default_factory=dict)


class Clock:
    """Stopwatch of the stages of a run. It logs the beginning of each, see `texgen.runs.log`."""

    def __init__(self) -> None:
        self.laps: dict[str, float] = {}
        self._stage, self._since = "", 0.0

    def begin(self, stage: str) -> None:
        """End the current stage and begin this one, unless it is the same."""
        if stage != self._stage:
            self.end()
            self._stage, self._since = stage, time.perf_counter()
            tell(stage)

    def end(self) -> None:
        """End the current stage."""
        if self._stage:
            self.laps[self._stage] = round(self.laps.get(self._stage, 0.0) + time.perf_counter() - self._since, 3)
            self._stage = ""


@dataclass(frozen=True)
class Workplace:
    """What a run works with.

    Attributes:
        folder: Holds the finished part of the work.
        stop: Whether the user wants to stop. A run whose folder is kept stops at the next safe point and raises KeyboardInterrupt.
        clock: To be called at the beginning of every stage.
    """

    folder: RunFolder
    stop: StopSignals
    clock: Clock

    @property
    def stopping(self) -> bool:
        """Whether to stop at the next safe point."""
        return self.folder.kept and self.stop.asked


class Run(Protocol):
    """A job that a model has checked and planned.

    Attributes:
        entry: What the result depends on besides the job, such as the model and its options; for the recipe.
    """

    @property
    def entry(self) -> Mapping[str, Any]: ...

    def states(self, place: Workplace) -> Generator[State, None, Texture]:
        """Do the work, starting from what an earlier run left in the folder.

        Raises:
            InputError: A swatch has no part that can be used.
            ResourceError: Out of memory or disk.
            KeyboardInterrupt: The user interrupted the run.
        """


def followed(run: Run, place: Workplace, callback: Callable[[Any], None] | None = None) -> Texture:
    """Run to the end, logging every state. If the run fails with an input or option error before its first state, its folder is removed.

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
    """A model that makes textures."""

    def begin(self, job: Job, team: Team) -> Run:
        """Check and plan a job, without running any network.

        Raises:
            OptionError: Options make no sense for this job.
            InputError: Exemplars cannot be used.
        """
