"""Materials without transitions to each other: each is made on a canvas of its own and cut along the borders of its label."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from texgen.files.mapped_arrays import bands, mapped, release
from texgen.runs.resume import RunFolder
from texgen.swatch.bank.bank import Bank
from texgen.swatch.field import Field, Kept
from texgen.swatch.prepared_job import PreparedJob
from texgen.swatch.presets import Settings
from texgen.swatch.progress import State
from texgen.swatch.synthesis import Synthesis
from tiling import Size

BAND = 512
"""Number of rows that are joined at once."""


class Patchwork:
    """Several syntheses, one after the other; each is visible where its label is wanted.

    If labels were made together, patches near a border would be compared with keys that show nothing of what lies beyond it, and at coarse scales
    a border is wide. Made apart, every region is as coherent as a texture of its material alone.

    Args:
        parts: Syntheses by their labels; they share the canvas and the bank.
        names: Of the labels, as users write them.
        wanted: Label of every pixel of the canvas, (h, w), uint8.
    """

    def __init__(self, parts: Mapping[int, Synthesis], names: Mapping[int, str], wanted: np.ndarray) -> None:
        self.parts, self.names, self.wanted = parts, names, wanted

    @property
    def energy(self) -> dict[str, Any]:
        """`Synthesis.energy` of every label."""
        return {self.names[label]: part.energy for label, part in self.parts.items()}

    def run(self) -> Iterator[State]:
        """Yield the states of all syntheses."""
        for number, part in enumerate(self.parts.values()):
            for state in part.run():
                done, total = number * state.total + state.done, len(self.parts) * state.total
                yield state._replace(done=done, total=total)

    def field(self, size: Size, kept: Kept | None = None) -> Field:
        """The joined field, see `Synthesis.field`."""
        first = next(iter(self.parts.values()))
        joined = mapped(first.folder / "joined.field", np.int32, first.result.shape)
        for rows in (band.rows for band in bands(len(joined), BAND, 0)):
            for label, part in self.parts.items():
                here = self.wanted[rows] == label
                joined[rows][here] = part.result[rows][here]
                release(part.result)
            release(joined)
        return replace(first.field(size, kept), places=joined)


def synthesis_of(prepared: PreparedJob, bank: Bank, settings: Settings, folder: RunFolder) -> Synthesis | Patchwork:
    """The synthesis for a job, or one per label."""
    job, steering = prepared.job, prepared.steering
    whole = Synthesis(bank, prepared.torus, settings, job.seed, folder.folder, steering, folder.kept)
    if not prepared.apart:
        return whole
    assert steering is not None and job.constraints.target is not None
    parts = {}
    for label in prepared.labels:
        place = folder.folder / f"label-{label}"
        place.mkdir(exist_ok=True)
        parts[label] = replace(whole, folder=place, steering=replace(steering, only=label))
    names = dict(enumerate(job.constraints.target.names))
    return Patchwork(parts, names, steering.at(0).labels)
