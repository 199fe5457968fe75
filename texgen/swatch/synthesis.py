"""Synthesis: from a start to a finished field, level by level, as a generator of states."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from texgen.errors import disk_errors
from texgen.files.mapped_arrays import mapped, release
from texgen.files.publish import publish
from texgen.swatch.bank.bank import Bank
from texgen.swatch.bank.level import Level
from texgen.swatch.cpu_cores import cores, searched
from texgen.swatch.field import Field, Kept
from texgen.swatch.jit import is_compiled
from texgen.swatch.presets import Settings, at
from texgen.swatch.progress import Point, State
from texgen.swatch.search.bending import aligned
from texgen.swatch.search.refine import leave_given, refine
from texgen.swatch.search.search import Keys, Turn, improve
from texgen.swatch.search.usage_cost import counted, penalties, trust, usage
from texgen.swatch.search.votes import vote_window
from texgen.swatch.starts.candidates import best_of, copied_share
from texgen.swatch.starts.starts import AROUND_GIVEN, start_level, starter
from texgen.swatch.steering import Control, Steering
from tiling import Size, Tile, Wrap, plan_cores

TILE = 64
"""Side of the tiles that are searched at a time."""
BAND = 8
"""Number of rows of tiles after which a state is yielded and may be saved."""
FIRST_MEDIAN = 0.05
"""Assumed distance of a patch to its key before the first search, relative to that of two random keys."""
TRIAL = 2
"""Iterations after which candidates are compared."""
LITTLE = 1 << 20
"""If at most so many pixels are missing around given ones, starts with all sizes of pieces are compared."""
PIECE = 62
"""Side, in pixels, of the smallest piece that looks copied if it is shown whole."""
MARGIN = 32
"""Pixels that are made and thrown away beyond a border that does not wrap, since the field lives on a torus."""
PROGRESS = "progress.json"
LOOK_SECONDS = 1
"""Seconds between two states while a start is sewn."""
SAVE_SECONDS = 2
"""Seconds between two saved points within an iteration."""


def torus_of(size: Size, wrap: Wrap) -> Size:
    """Size of the torus on which a picture is made; the picture begins in its top left corner."""
    return Size(size.height + (0 if wrap.y else MARGIN), size.width + (0 if wrap.x else MARGIN))


@dataclass
class Synthesis:
    """A canvas on its way from a start to a finished field.

    The field maps every pixel of the canvas to a pixel of the bank. An iteration reads one field and writes another, tile by tile. It may therefore stop
    after any band of tiles and continue from there, in this process or a later one, with the same bytes as its result. The result does not depend on
    the number of threads, either.

    Attributes:
        bank: What the canvas is made of.
        canvas: Size of the torus.
        settings: Of the preset.
        seed: Of all random choices.
        folder: Where fields and progress are kept.
        steering: Constraints on the canvas, if any.
        durable: Whether progress is saved for a later process.
        threads: Number of threads; 0 stands for the number of cores.
        origin: Origin of the random numbers on the canvas, in pixels at full size.
        history: The attention distillation energy before and after each level, the results of the candidates, and which one was chosen.
        result: The finished field (h, w), packed.
    """

    bank: Bank
    canvas: Size
    settings: Settings
    seed: int
    folder: Path
    steering: Steering | None = None
    durable: bool = False
    threads: int = 0
    origin: tuple[int, int] = (0, 0)
    history: dict[str, Any] = field(default_factory=dict, init=False)
    result: np.ndarray = field(init=False)
    _last: tuple[int, Control] | None = None

    def run(self) -> Iterator[State]:
        """Yield states until the field at full size is finished and stored in `result`."""
        self._progress = self._load()
        self.history = self._progress.get("history", {"candidates": [], "points": [], "levels": {}})
        first = start_level(self.settings, self.bank.levels)
        candidates = self.candidates
        trial = min(TRIAL, self._count(first)) if candidates > 1 else self._count(first)
        work = [self._count(level) * self._size(level).area for level in range(first + 1)]
        tried = trial * self._size(first).area
        total = sum(work) + (candidates - 1) * tried
        if not is_compiled(improve):
            yield State(0, total, first, 0, "compile")
        with ThreadPoolExecutor(self.workers) as pool:
            yield from self._compared(pool, first, range(candidates), trial, total)
            best = self.history["chosen"] = best_of(self.history["candidates"])
            done, current = (candidates - 1) * tried, None
            for number in range(first, -1, -1):
                name = f"candidate-{best}-" if number == first else f"level-{number}-"
                if str(number) not in self.history["levels"]:
                    yield from self._finished(pool, number, name, current, done, total)
                done += work[number]
                current = self._field(f"{name}{self._count(number) % 2}", self._size(number))
            self.result = current  # type: ignore[assignment]

    def _compared(
        self, pool: ThreadPoolExecutor, first: int, candidates: range, trial: int, total: int
    ) -> Iterator[State]:
        """Start all candidates and improve them a little; record their energies and points in the history."""
        missing = candidates[len(self.history["points"]) :]
        if not missing:
            return
        level, area = self._level(first), self._size(first).area
        stop = np.zeros(1, np.bool_)
        start = starter(level, self._size(first), self.settings, self._control(first), self.seed, stop=stop)
        begun = [pool.submit(self._begin, level, start, candidate) for candidate in missing]
        try:
            for candidate, job in zip(missing, begun, strict=True):
                while not wait([job], LOOK_SECONDS).done:
                    yield State(candidate * trial * area, total, first, 0, "start")
                job.result()
                yield from self._tried(pool, level, candidate, trial, total)
        finally:
            stop[0] = True

    def _tried(self, pool: ThreadPoolExecutor, level: Level, candidate: int, trial: int, total: int) -> Iterator[State]:
        """Improve a candidate a little, and record it in the history."""
        first, size = level.number, self._size(level.number)
        point = Point(median=FIRST_MEDIAN * level.spread)
        for state in self._improved(pool, level, f"candidate-{candidate}-", point, trial):
            yield State(candidate * trial * size.area + state.done, total, first, state.iteration)
        field_ = self._field(f"candidate-{candidate}-{trial % 2}", size)
        copied = copied_share(field_, max(1, min(PIECE >> first, *size)))
        self.history["candidates"].append(
            {"energy": point.energies[-1][1] if point.energies else 0.0, "copied": copied}
        )
        self.history["points"].append(asdict(point))
        self._save()

    def _finished(
        self, pool: ThreadPoolExecutor, number: int, name: str, coarse: np.ndarray | None, done: int, total: int
    ) -> Iterator[State]:
        """Take a level from where it stands to its end."""
        level = self._level(number)
        if self._progress.get("level") == number:
            point = Point(**self._progress["point"])
        elif coarse is None:
            point = Point(**self.history["points"][self.history["chosen"]])
        else:
            point = Point(median=FIRST_MEDIAN * level.spread)
            for _ in self._refined(pool, coarse, level, name):
                yield State(done, total, number, 0)
        for state in self._improved(pool, level, name, point, self._count(number)):
            yield State(done + state.done, total, number, state.iteration)
        energies = point.energies or [(0.0, 0.0)]
        self.history["levels"][str(number)] = {"before": energies[0][0], "after": energies[-1][1]}
        self._save()

    def _refined(self, pool: ThreadPoolExecutor, coarse: np.ndarray, level: Level, name: str) -> Iterator[None]:
        """Start a level with the field of the next coarser one; at full size, pieces are aligned as well."""
        begun, control = self._field(name + "0", self._size(level.number)), self._control(level.number)
        rough = begun if level.number else self._field(name + "1", self._size(0))
        refine(coarse, rough, level, control)
        if level.number == 0:
            yield from aligned(pool, rough, begun, level, control)

    @property
    def energy(self) -> dict[str, Any]:
        """The part of the history that goes into the recipe."""
        return {name: self.history[name] for name in ("levels", "candidates", "chosen")}

    @property
    def candidates(self) -> int:
        """Number of starts that are compared: more if little is missing around given pixels."""
        given = None if self.steering is None else self.steering.given
        few = given is not None and self.canvas.area - int(given.mask.sum()) <= LITTLE
        return max(1, self.settings.candidates) * (len(AROUND_GIVEN) if few else 1)

    @property
    def workers(self) -> int:
        """Number of threads."""
        return self.threads or cores()

    def field(self, size: Size, kept: Kept | None = None) -> Field:
        """The finished field of a texture of a size, which begins in the top left corner of the canvas; `kept` is the picture that was partly given."""
        return Field(self.result, self.bank.atlas, size, self.settings.blend, kept)

    def _size(self, level: int) -> Size:
        return Size(max(1, self.canvas.height >> level), max(1, self.canvas.width >> level))

    def _level(self, number: int) -> Level:
        s = self.settings
        label = None if self.steering is None else self.steering.only
        return self.bank.level(number, patch=s.patch, dims=at(s.dims, number), alike=at(s.similar, number), label=label)

    def _begin(self, level: Level, start: Callable[[int], np.ndarray], candidate: int) -> None:
        begun = self._field(f"candidate-{candidate}-0", self._size(level.number))
        begun[:] = start(candidate)
        leave_given(begun, self._control(level.number))

    def _control(self, number: int) -> Control:
        """The constraints at a scale; the last ones are cached."""
        if self._last is None or self._last[0] != number:
            self._last = (number, Control.none() if self.steering is None else self.steering.at(number))
        return self._last[1]

    def _improved(self, pool: ThreadPoolExecutor, level: Level, name: str, point: Point, count: int) -> Iterator[State]:
        """Search and vote at one level, from `point`, which is updated, to iteration `count`. The fields are named `name` plus the parity of the iteration."""
        size = self._size(level.number)
        across = -(-size.width // TILE)
        tiles = plan_cores(size, Size(TILE, TILE))
        control = self._control(level.number)
        improved = {tile: free for tile in tiles if control.sees(tile, size) and (free := control.free(tile))}
        area = max(1, sum(improved.values()))  # a label may be too small to be seen at this scale
        bands = [tiles[i : i + BAND * across] for i in range(0, len(tiles), BAND * across)]
        saved, compared = time.monotonic(), len(self.history["points"]) == self.candidates
        while point.iteration < count:
            iteration = point.iteration
            old, new = (self._field(f"{name}{(iteration + turn) % 2}", size) for turn in (0, 1))
            improve = self._improve(level, old, new, point, bands)
            for number in range(point.band, len(bands)):
                band = [tile for tile in bands[number] if tile in improved]
                if len(band) < len(bands[number]):
                    rows = slice(bands[number][0].top, bands[number][-1].bottom)
                    new[rows] = old[rows]
                point.sums = [a + float(b) for a, b in zip(point.sums, searched(pool, improve, band), strict=True)]
                point.band = number + 1
                release(old, new, control.given, control.known)
                finished = point.band == len(bands)
                if finished:
                    point.iterated(area, level.spread)
                # the next iteration overwrites what this one read: after that, no earlier point can be resumed
                if compared and (finished or time.monotonic() - saved > SAVE_SECONDS):
                    self._save(level=level.number, point=asdict(point))
                    saved = time.monotonic()
                yield State(
                    (iteration * size.height + bands[number][-1].bottom) * size.width, 0, level.number, iteration
                )

    def _improve(self, level: Level, old: np.ndarray, new: np.ndarray, point: Point, bands: list[list[Tile]]) -> Any:
        """`search.improve` with the arguments of one iteration; only the tiles are missing."""
        number, settings = level.number, self.settings
        weight, balance = at(settings.usage, number), at(settings.balance, number)
        used = np.zeros(level.size, np.float32)
        if weight or balance:
            counts = np.zeros(level.size, np.int64)
            for band in bands:
                counted(old, band[0].top, band[-1].bottom, counts)
                release(old)
            used = usage(level, counts)
        keys = Keys(
            level.pixels, trust(level, used, balance), level.keys, penalties(level, used, weight * point.median), level.similar,
            level.labels, level.basis, level.offset, vote_window(settings.patch),
        )  # fmt: skip
        turn = Turn(
            probes=at(settings.probes, number),
            reach=float(at(settings.reach, number)),
            seed=np.uint64((self.seed * 1_000_003 + number * 1009 + point.iteration) % 2**64),
            origin=np.array(self.origin, np.int64) >> number,
            backward=point.iteration % 2 == 1,
        )
        return partial(improve, old, new, bank=keys, control=self._control(number), turn=turn)

    def _field(self, name: str, size: Size) -> np.ndarray:
        """A field in a mapped file: small ones stay in the page cache, large ones take no memory."""
        path = self.folder / f"{name}.field"
        fresh = not path.exists() or path.stat().st_size != 4 * size.area
        if fresh:
            return mapped(path, np.int32, tuple(size))
        with disk_errors(path):
            return np.memmap(path, np.int32, "r+", shape=tuple(size))

    def _count(self, level: int) -> int:
        return int(at(self.settings.iterations, level))

    def _load(self) -> dict[str, Any]:
        path = self.folder / PROGRESS
        return json.loads(path.read_text()) if self.durable and path.exists() else {}

    def _save(self, **state: Any) -> None:
        if self.durable:
            publish(self.folder / PROGRESS, json.dumps({**state, "history": self.history}).encode())
