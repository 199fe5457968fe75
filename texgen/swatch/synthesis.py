"""From a start to a finished field, level by level, as a generator of states."""

from __future__ import annotations

import json
import mmap
import os
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from texgen.publish import publish
from texgen.swatch import kernels
from texgen.swatch.bank import Bank, Level
from texgen.swatch.compiled import is_compiled
from texgen.swatch.settings import Settings, at
from texgen.swatch.starts import start, start_level
from texgen.swatch.usage import penalties, trust, usage
from tiling import Size, Tile, plan_cores

TILE = 64
"""Side of the tiles that are searched one after the other."""
BAND = 8
"""Rows of tiles after which a state is given, and kept."""
FIRST_MEDIAN = 0.05
"""Distance of a patch to its key before the first search, relative to that of two random keys."""
VOTE = 0.5
"""Standard deviation of a patch's weights in a vote, in half patches."""
PROGRESS = "progress.json"
SAVE_SECONDS = 2
"""Between two savings within an iteration."""


class State(NamedTuple):
    """Where a synthesis stands.

    Attributes:
        done, total: Pixels searched so far and in all, the levels' own.
        level: 0 is full size.
        iteration: At this level, from 0.
        stage: `compile` once, where the kernels were not compiled on this machine before, then `search`.
    """

    done: int
    total: int
    level: int
    iteration: int
    stage: str = "search"


class Kept(NamedTuple):
    """A source that stays where it is: its number, and the top left corner of its place on the canvas."""

    source: int
    top: int
    left: int


@dataclass
class Synthesis:
    """A canvas on its way from the start to a finished field.

    The field gives every pixel of the canvas a pixel of the bank. An iteration reads one field and writes another, a tile at a time, so that it
    may stop after any band of tiles and go on from there, in this process or a later one, to the same bytes; the result does not
    depend on the number of threads.

    Attributes:
        bank: What is shown.
        canvas: A torus.
        settings: How.
        seed: Of all choices.
        folder: Where fields and progress are kept.
        kept: A source that is shown unchanged, if any.
        durable: Whether progress is written, for a later process.
        threads: That search at once.
        history: The attention distillation energy before and after each level, and the start that was chosen.
    """

    bank: Bank
    canvas: Size
    settings: Settings
    seed: int
    folder: Path
    kept: Kept | None = None
    durable: bool = False
    threads: int = 0
    origin: tuple[int, int] = (0, 0)
    history: dict[str, Any] = field(default_factory=dict)

    def run(self) -> Iterator[State]:
        """States until the field at full size is finished; it is `result` then."""
        first = start_level(self.settings, self.bank.levels)
        candidates = max(1, self.settings.candidates)
        work = [at(self.settings.iterations, level) * self._size(level).area for level in range(first + 1)]
        total = sum(work) + (candidates - 1) * work[first]
        progress = self._load()
        self.history = progress.get("history", {})
        if not is_compiled(kernels.improve):
            yield State(0, total, first, 0, "compile")
        done = 0
        with ThreadPoolExecutor(self.workers) as pool:
            energies = self.history.setdefault("candidates", [])
            for candidate in range(candidates):
                if len(energies) > candidate:
                    done += work[first]
                    continue
                level = self._level(first)
                begun = self._begun(level, candidate)
                for state in self._improved(pool, level, begun, f"candidate-{candidate}-", {}, 1000 * candidate):
                    yield State(done + state.done, total, first, state.iteration)
                done += work[first]
                energies.append(self._energy["after"])
                self.history.setdefault("starts", []).append(self._energy)
                self._save({})
            best = int(np.argmin(energies))
            self.history["chosen"] = best
            self.history["levels"] = {**self.history.get("levels", {}), str(first): self.history["starts"][best]}
            iterations = at(self.settings.iterations, first)
            current = self._array(f"candidate-{best}-{iterations % 2}", self._size(first))
            for number in range(first - 1, -1, -1):
                if str(number) in self.history["levels"]:
                    done += work[number]
                    current = self._array(
                        f"level-{number}-{at(self.settings.iterations, number) % 2}", self._size(number)
                    )
                    continue
                level = self._level(number)
                point = progress.get("point", {}) if progress.get("level") == number else {}
                finer = self._array(f"level-{number}-0", self._size(number))
                if not point:
                    self._refine(pool, current, finer, level)
                for state in self._improved(pool, level, finer, f"level-{number}-", point, 0):
                    yield State(done + state.done, total, number, state.iteration)
                done += work[number]
                self.history["levels"][str(number)] = self._energy
                self._save({})
                current = self._array(f"level-{number}-{at(self.settings.iterations, number) % 2}", self._size(number))
            self.result = current

    @property
    def workers(self) -> int:
        """Threads that work at once."""
        return self.threads or len(os.sched_getaffinity(0))

    def shown(self, top: int, bottom: int) -> np.ndarray:
        """Rows of the finished picture (bottom - top, W, C), float32: each pixel's own, blended where pieces meet."""
        level = self._level(0)
        found = np.empty((bottom - top, self.canvas.width, level.pixels.shape[2]), np.float32)
        weights = level.shown.astype(np.float32)
        kernels.voted(self.result, top, bottom, level.pixels, weights, vote_window(self.settings.blend), found)
        _release(self.result)
        return found[..., :-1]

    def _size(self, level: int) -> Size:
        return Size(max(1, self.canvas.height >> level), max(1, self.canvas.width >> level))

    def _level(self, number: int) -> Level:
        s = self.settings
        return self.bank.level(number, patch=s.patch, dims=at(s.dims, number), alike=at(s.similar, number))

    def _begun(self, level: Level, candidate: int) -> np.ndarray:
        path = f"candidate-{candidate}-0"
        begun = self._array(path, self._size(level.number))
        begun[:] = start(level, self._size(level.number), self.settings, self.seed * 1000 + candidate)
        self._pin(begun, level)
        return begun

    def _refine(self, pool: ThreadPoolExecutor, coarse: np.ndarray, fine: np.ndarray, level: Level) -> None:
        for top in range(0, len(fine), TILE * BAND):
            kernels.refined(coarse, fine, top, min(top + TILE * BAND, len(fine)), level.nearest)
            _release(coarse, fine)
        self._pin(fine, level)

    def _pin(self, current: np.ndarray, level: Level) -> None:
        """Give the place of the source that is kept its own coordinates."""
        if self.kept is None:
            return
        scale = 1 << level.number
        place = self.bank.places[self.kept.source]
        size = [side - 2 * place.margin for side in (place.height, place.width)]
        top, left = -(-self.kept.top // scale), -(-self.kept.left // scale)
        rows = np.arange(top, min((self.kept.top + size[0]) // scale, current.shape[0]))
        columns = np.arange(left, min((self.kept.left + size[1]) // scale, current.shape[1]))
        y = (place.margin + rows * scale - self.kept.top) // scale
        x = (place.left + place.margin + columns * scale - self.kept.left) // scale
        current[rows[:, None], columns] = (y[:, None] << 16) | x

    def _improved(
        self, pool: ThreadPoolExecutor, level: Level, begun: np.ndarray, name: str, point: dict[str, Any], salt: int
    ) -> Iterator[State]:
        """Search and vote at one level; the last field is `name` + the parity of the number of iterations."""
        settings, size = self.settings, self._size(level.number)
        count = at(settings.iterations, level.number)
        tiles = plan_cores(size, Size(TILE, TILE))
        across = -(-size.width // TILE)
        bands = [tiles[i : i + BAND * across] for i in range(0, len(tiles), BAND * across)]
        window = vote_window(settings.patch)
        median = point.get("median", FIRST_MEDIAN * level.spread)
        energies = list(point.get("energies", []))
        saved = time.monotonic()
        usage_weight, balance = at(settings.usage, level.number), at(settings.balance, level.number)
        for iteration in range(point.get("iteration", 0), count):
            old = self._array(f"{name}{iteration % 2}", size)
            new = self._array(f"{name}{(iteration + 1) % 2}", size)
            used = np.zeros(level.size, np.float32)
            if usage_weight or balance:
                counts = np.zeros(level.size, np.int64)
                for band in bands:
                    kernels.counted(old, band[0].top, band[-1].bottom, counts)
                    _release(old)
                used = usage(level, counts)
            improve = partial(
                kernels.improve, old, new, pixels=level.pixels, trust=trust(level, used, balance), keys=level.keys,
                penalty=penalties(level, used, usage_weight * median), similar=level.similar, basis=level.basis, offset=level.offset,
                window=window, probes=at(settings.probes, level.number), reach=float(at(settings.reach, level.number)),
                seed=np.uint64((self.seed * 1_000_003 + salt + level.number * 1009 + iteration) % 2**64),
                origin=np.array(self.origin, np.int64) >> level.number, backward=iteration % 2 == 1,
            )  # fmt: skip
            sums = (
                np.array(point.get("sums", [0.0, 0.0, 0.0])) if point.get("iteration", -1) == iteration else np.zeros(3)
            )
            first = point.get("band", 0) if point.get("iteration", -1) == iteration else 0
            for number in range(first, len(bands)):
                sums += _searched(pool, improve, bands[number])
                self._pin(new, level)
                _release(old, new)
                finished = number + 1 == len(bands)
                if finished:
                    median = 0.7 * sums[1] / size.area
                    energies.append([sums[0] / size.area / level.spread, sums[1] / size.area / level.spread])
                if self.durable and name.startswith("level") and (finished or time.monotonic() - saved > SAVE_SECONDS):
                    saved = time.monotonic()
                    self._save({
                        "level": level.number,
                        "point": {
                            "iteration": iteration + finished, "band": 0 if finished else number + 1, "median": median,
                            "energies": energies, "sums": [0.0] * 3 if finished else sums.tolist(),
                        },
                    })  # fmt: skip
                rows = bands[number][-1].bottom
                yield State((iteration * size.height + rows) * size.width, 0, level.number, iteration)
        self._energy = (
            {"before": energies[0][0], "after": energies[-1][1]} if energies else {"before": 0.0, "after": 0.0}
        )

    def _array(self, name: str, size: Size) -> np.ndarray:
        """A field on disk: small ones stay in the page cache, large ones need no memory."""
        path = self.folder / f"{name}.field"
        fresh = not path.exists() or path.stat().st_size != 4 * size.area
        return np.memmap(path, np.int32, "w+" if fresh else "r+", shape=tuple(size))

    def _load(self) -> dict[str, Any]:
        path = self.folder / PROGRESS
        if not (self.durable and path.exists()):
            return {}
        return json.loads(path.read_text())

    def _save(self, state: dict[str, Any]) -> None:
        if self.durable:
            publish(self.folder / PROGRESS, json.dumps({**state, "history": self.history}).encode())


def vote_window(side: int) -> np.ndarray:
    """Weight of each pixel of a patch in a vote, (side, side)."""
    profile = np.exp(-0.5 * (np.linspace(-1, 1, side) / VOTE) ** 2) if side > 1 else np.ones(1)
    return np.outer(profile, profile).astype(np.float32)


def _searched(pool: ThreadPoolExecutor, improve: Any, tiles: Sequence[Tile]) -> np.ndarray:
    """Search tiles on all threads; the sums do not depend on how they are dealt."""
    places, sums = np.array(tiles, np.int64), np.zeros((len(tiles), 3))
    chunk = max(1, min(32, len(tiles) // 8))
    parts = [slice(i, i + chunk) for i in range(0, len(tiles), chunk)]
    list(pool.map(lambda part: improve(tiles=places[part], sums=sums[part]), parts))
    return sums.sum(0)


def _release(*arrays: np.ndarray) -> None:
    """Give the pages of large mapped arrays back; what was written stays in the page cache or goes to the disk."""
    for array in arrays:
        mapped = getattr(array, "_mmap", None)
        if mapped is not None and array.nbytes > 1 << 26:
            mapped.madvise(mmap.MADV_DONTNEED)
