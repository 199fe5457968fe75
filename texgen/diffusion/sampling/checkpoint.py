"""Checkpoints of an unfinished diffusion run: tensors of finished stages, and the canvas during sampling."""

from __future__ import annotations

import time
from collections.abc import Callable

from torch import Tensor

from texgen.diffusion.sampling.progress import Progress
from texgen.diffusion.tensor_files import load_tensors, save_tensors
from texgen.runs.resume import RunFolder
from tiling import Accumulator, canvas_size

GENERATIONS = ("canvas-0", "canvas-1")
ADAM = "adam."


class Unfinished:
    """Checkpoints of an unfinished run. Files are written whole or not at all; the canvas has two generations.

    Args:
        run: Folder of the run; only the process that owns it saves.
        minutes: Minutes between two checkpoints of the canvas.
    """

    def __init__(self, run: RunFolder, minutes: float = 1.0) -> None:
        self.run, self.minutes = run, minutes
        self.folder, self.kept = run.folder, run.kept
        self._saved_at, self._generation = time.monotonic(), 0

    def stage(self, name: str, make: Callable[[], dict[str, Tensor]]) -> dict[str, Tensor]:
        """The tensors of a stage, loaded if an earlier run saved them, else made and saved."""
        path = self.folder / f"{name}.safetensors"
        found = load_tensors(path)
        if found is not None:
            return found[0]
        made = make()
        if self.kept and self.run.owner:
            save_tensors(path, made, {})
        return made

    def progress(self) -> Progress | None:
        """The newest readable checkpoint of the canvas, or None."""
        found = [load_tensors(self.folder / f"{name}.safetensors") for name in GENERATIONS]
        ages = [(-1, -1) if f is None else (f[1]["index"], f[1]["batches"]) for f in found]
        newest = found[ages.index(max(ages))]
        if newest is None:
            return None
        self._generation = 1 - ages.index(max(ages))
        tensors, notes = newest
        progress = Progress(latents=tensors["latents"], **{**notes, "losses": tuple(notes["losses"])})
        progress.adam = {name.removeprefix(ADAM): each for name, each in tensors.items() if name.startswith(ADAM)}
        if "values" in tensors:
            progress.fused = Accumulator(tensors["values"].shape[1], canvas_size(tensors["values"]))
            progress.fused.values, progress.fused.weights = tensors["values"], tensors["weights"]
        return progress

    def offer(self, progress: Progress, now: bool = False) -> None:
        """Save the canvas if `minutes` have passed since the last checkpoint, or `now`."""
        if not (self.kept and self.run.owner) or not (now or time.monotonic() - self._saved_at > 60 * self.minutes):
            return
        tensors = {"latents": progress.latents, **{ADAM + name: each for name, each in progress.adam.items()}}
        if progress.fused is not None:
            tensors |= {"values": progress.fused.values, "weights": progress.fused.weights}
        notes = {"index": progress.index, "batches": progress.batches, "losses": list(progress.losses)}
        save_tensors(self.folder / f"{GENERATIONS[self._generation]}.safetensors", tensors, notes)
        self._generation = 1 - self._generation
        self._saved_at = time.monotonic()
