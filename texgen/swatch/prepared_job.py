"""A job, prepared for the swatch model: the material of the bank, and the constraints on the canvas."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from pathlib import Path

import numpy as np

from texgen.files.mapped_arrays import bands, mapped, release
from texgen.job import Job
from texgen.materials.exemplar import NONE
from texgen.materials.guides import ROUGH, Guide
from texgen.materials.holes import ROWS
from texgen.materials.maps import Map
from texgen.swatch.bank.sources import Material, spread_of
from texgen.swatch.field import Kept
from texgen.swatch.steering import Given, Steering
from texgen.swatch.synthesis import torus_of

REACHED = (0.05, 0.95)
"""Quantiles of the swatch's low frequencies to which a layout is clipped: only few places lie beyond, and they would be repeated."""
LAYOUT_PX = 16.0
"""Deviation of the blur that leaves the low frequencies in which a layout and its texture agree."""
BORDER_PX, BORDER_SIDE = 8.0, 2048
"""Deviation of the blur that shows the distance to borders between labels, and approximate side of the target on which it is computed."""


class PreparedJob:
    """What is derived from a job before the search.

    Args:
        job: What to make. With an orientation, the attribute `job` has turned copies in place of the exemplars.
        symmetry: A key of `SYMMETRIES`.
        folder: Where large arrays are kept.
    """

    def __init__(self, job: Job, symmetry: str, folder: Path) -> None:
        self.job, self.symmetry, self.folder = _oriented(job), symmetry, folder
        self.torus = torus_of(job.canvas.size, job.canvas.wrap)

    @cached_property
    def material(self) -> Material:
        """The material of the bank."""
        exemplars = self.job.exemplars
        labels = [each.labels for each in exemplars]
        return Material(
            swatches=[each.pixels for each in exemplars],
            shares=self._shares,
            labels=labels if any(each is not None for each in labels) else None,
            symmetry=self.symmetry,
            maps=[each for each in self.job.maps if each.guides],
            guides=self.guides,
        )

    @cached_property
    def pictures(self) -> list[np.ndarray]:
        """Pictures of the exemplars, (H, W, C), and last the partly given one, if any."""
        kept = self.job.constraints.kept
        pictures = [each.pixels for each in self.job.exemplars]
        return pictures if kept is None else [*pictures, kept.image]

    @cached_property
    def kept(self) -> Kept | None:
        """Number and place of the given picture, if any."""
        given = self.job.constraints
        if given.place is not None:
            return Kept(0, given.place[1], given.place[0])
        if given.kept is not None:
            return Kept(len(self.job.exemplars), given.kept.place.top, given.kept.place.left)
        return None

    @cached_property
    def steering(self) -> Steering | None:
        """The constraints on the canvas; None if there are none."""
        if self.kept is None and self._target is None and not self.guides:
            return None
        return Steering(self.job.canvas.size, self.torus, self.folder, self._target, self._given, self.guides)

    @property
    def apart(self) -> bool:
        """Whether each label is made on a canvas of its own: there are several, and no swatch shows a transition between them."""
        return len(self.labels) > 1 and not self._shows_transitions

    @property
    def labels(self) -> list[int]:
        """Labels of the canvas."""
        found: list[int] = [0] if self._target is None else np.unique(self._target).tolist()
        return found

    @cached_property
    def guides(self) -> list[Guide]:
        """All guides, in the units of the colours: the user's, the low frequencies of a layout, and the borders of labels."""
        given = self.job.constraints
        guides = list(given.guides)
        if given.layout is not None and given.layout.weight > 0:
            swatches = [_blurred(each.pixels[..., :3], LAYOUT_PX) for each in self.job.exemplars]
            scale = given.layout.image.shape[0] / self.job.canvas.size.height
            shown = np.concatenate([swatch.reshape(-1, swatch.shape[2]) for swatch in swatches])
            plan = _blurred(given.layout.image, LAYOUT_PX * scale).clip(
                *np.quantile(shown, REACHED, axis=0).astype(np.float32)
            )
            guides.append(Guide(Map("layout", swatches), plan, given.layout.weight, ROUGH))
        guides += self._borders()
        deviation = spread_of([each.pixels for each in self.job.exemplars]) if guides else 1.0
        return [guide.scaled(deviation) for guide in guides]

    def _borders(self) -> list[Guide]:
        """The shares of labels around each pixel, if a swatch shows several labels: then its own transitions are preferred along the borders of the target."""
        target, exemplars = self._target, self.job.exemplars
        if target is None or not self._shows_transitions:
            return []
        step = max(1, max(target.shape) // BORDER_SIDE)
        known = self.labels
        swatches = [_shares_around(np.asarray(each.labels), known, BORDER_PX) for each in exemplars]
        return [Guide(Map("borders", swatches), _shares_around(target[::step, ::step], known, BORDER_PX / step))]

    @cached_property
    def _shows_transitions(self) -> bool:
        """Whether any swatch has several labels."""
        labels = [np.asarray(each.labels) for each in self.job.exemplars if each.labels is not None]
        return any(np.unique(each[each != NONE]).size > 1 for each in labels)

    @cached_property
    def _target(self) -> np.ndarray | None:
        """Label of every pixel of the result, (h, w), uint8."""
        target, canvas = self.job.constraints.target, self.job.canvas
        if target is None:
            return None
        return target.on_canvas(canvas.size, canvas.size, canvas.wrap, self.job.seed)

    @cached_property
    def _given(self) -> Given | None:
        if self.kept is None:
            return None
        number, top, left = self.kept
        picture, given = self.pictures[number], self.job.constraints.kept
        mask = np.ones(picture.shape[:2], bool) if given is None else given.mask
        maps = [(each.normaliser(self.material.deviation), each.images[number]) for each in self.material.maps]
        if not maps:
            return Given(top, left, picture, mask)
        channels = picture.shape[2] + sum(image.shape[2] for _, image in maps)
        pixels = mapped(self.folder / "picture", np.float32, (*mask.shape, channels))
        for band in bands(len(mask), ROWS, 0):
            first = picture.shape[2]
            pixels[band.rows][..., :first] = picture[band.rows]
            for normalised, image in maps:
                pixels[band.rows][..., first : first + image.shape[2]] = normalised(image[band.rows])
                first += image.shape[2]
            release(picture, pixels)
        return Given(top, left, pixels, mask)

    @property
    def _shares(self) -> list[float]:
        """Share of each exemplar on the canvas: as asked for, else by the area of its labels, else equal."""
        exemplars, target = self.job.exemplars, self._target
        if self.job.shares is not None:
            return list(self.job.shares)
        if target is None:
            return [1 / len(exemplars)] * len(exemplars)
        wanted = np.bincount(target.ravel(), minlength=256) / target.size
        shown = np.stack([np.bincount(np.ravel(each.labels), minlength=256) for each in exemplars])  # type: ignore[arg-type]
        parts = (wanted * shown / np.maximum(shown.sum(0), 1)).sum(1) + 1e-6
        return list(parts / parts.sum())


def _oriented(job: Job) -> Job:
    orientation, count = job.constraints.orientation, len(job.exemplars)
    if orientation is None:
        return job
    exemplars = orientation.exemplars(job.exemplars)
    guides = [*orientation.guides(job.constraints.guides, count), orientation.guide(exemplars)]
    turns = len(exemplars) // count
    return replace(
        job,
        exemplars=exemplars,
        maps=orientation.maps(job.maps, count),
        shares=None if job.shares is None else tuple(s / turns for s in job.shares for _ in range(turns)),
        constraints=replace(job.constraints, guides=guides),
    )


def _shares_around(labels: np.ndarray, known: list[int], deviation: float) -> np.ndarray:
    """Share of each label in the neighbourhood of each pixel, (H, W, labels), float32."""
    return _blurred(np.stack([labels == label for label in known], -1).astype(np.float32), deviation)


def _blurred(pixels: np.ndarray, deviation: float) -> np.ndarray:
    from scipy.ndimage import gaussian_filter

    return np.stack([gaussian_filter(pixels[..., c], deviation, mode="nearest") for c in range(pixels.shape[2])], -1)
