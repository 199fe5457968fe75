"""A job as the swatch model sees it: what the bank is made of, and what steers the canvas."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

import numpy as np

from texgen.image import NONE
from texgen.job import Job
from texgen.materials.guides import Guide
from texgen.materials.maps import Map
from texgen.swatch.bank import Material, spread_of
from texgen.swatch.field import Field, Kept
from texgen.swatch.kernels import KNOWN
from texgen.swatch.steering import Steering
from texgen.swatch.synthesis import torus_of
from tiling import Size

LAYOUT_PX = 8.0
"""Deviation of the blur that leaves the low frequencies which a layout and its texture share."""


class Setup:
    """What is derived of a job before the search.

    Args:
        job: What is wanted.
        symmetry: How the material may be shown beside as it is.
        folder: Where large guides are kept.
    """

    def __init__(self, job: Job, symmetry: str, folder: Path) -> None:
        self.job, self.symmetry, self.folder = job, symmetry, folder
        self.torus = torus_of(job.canvas.size, job.canvas.wrap)

    @cached_property
    def material(self) -> Material:
        """Exemplars, and last the picture that is given in part, if any."""
        exemplars, maps = self.job.exemplars, [each for each in self.job.maps if each.guides]
        swatches, labels = [each.pixels for each in exemplars], [each.labels for each in exemplars]
        shares, guides = self._shares, [guide.swatch for guide in self.guides]
        known = self._known
        if known is not None:
            pixels, mask = known
            swatches, shares = [*swatches, pixels], [*shares, 0.0]
            labels.append(np.where(mask, KNOWN, NONE).astype(np.uint8))
            maps, guides = (
                [Map(m.name, [*m.images, np.zeros((*mask.shape, m.channels), m.dtype)], m.guides) for m in each]
                for each in (maps, guides)
            )
        labelled = any(each is not None for each in labels)
        return Material(
            swatches=swatches, shares=shares, labels=labels if labelled else None, symmetry=self.symmetry, maps=maps, guides=guides
        )  # fmt: skip

    @cached_property
    def steering(self) -> Steering | None:
        """Labels, guides, and what is given; None where there is nothing of it."""
        kept, target = self.kept, self._target
        if kept is None and target is None and not self.guides:
            return None
        known = None if kept is None else kept.on(self.torus, Size(*self.material.swatches[kept.exemplar].shape[:2]))
        return Steering(self.job.canvas.size, self.torus, self.folder, target, known, self.guides)

    @cached_property
    def kept(self) -> Kept | None:
        """What is given, and where."""
        given = self.job.constraints
        if given.place is not None:
            return Kept(0, given.place[1], given.place[0])
        if self._known is None:
            return None
        assert given.kept is not None
        return Kept(len(self.job.exemplars), given.kept.place.top, given.kept.place.left, self._known[1])

    @property
    def labels(self) -> list[int]:
        """That the canvas wants."""
        found: list[int] = [0] if self._target is None else np.unique(self._target).tolist()
        return found

    @cached_property
    def guides(self) -> list[Guide]:
        """In the colours' units; a layout is one, of low frequencies."""
        given, deviation = self.job.constraints, spread_of([each.pixels for each in self.job.exemplars])
        guides = list(given.guides)
        if given.layout is not None and given.layout.weight > 0:
            swatches = [_blurred(each.pixels, LAYOUT_PX) for each in self.job.exemplars]
            plan = given.layout.image[0].permute(1, 2, 0).numpy()
            scale = plan.shape[0] / self.job.canvas.size.height
            guides.append(Guide(Map("layout", swatches), _blurred(plan, LAYOUT_PX * scale), given.layout.weight))
        return [guide.scaled(deviation) for guide in guides]

    def coordinates(self, field: Field) -> np.ndarray:
        """Exemplar, y and x (3, H, W) of every pixel; -1 of a picture that was given."""
        found = field.coordinates()
        return np.where(found[:1] < len(self.job.exemplars), found, np.int32(-1))

    @cached_property
    def _target(self) -> np.ndarray | None:
        """The label (h, w), uint8, of every pixel of the result."""
        target, canvas = self.job.constraints.target, self.job.canvas
        if target is None:
            return None
        labels: np.ndarray = target.on_canvas(canvas.size, canvas.size, canvas.wrap, self.job.seed).numpy()
        return labels

    @cached_property
    def _known(self) -> tuple[np.ndarray, np.ndarray] | None:
        """Pixels (H, W, 3) and mask (H, W) of the picture that is given; what is not, is filled in smoothly."""
        kept = self.job.constraints.kept
        if kept is None:
            return None
        from texgen.keep import filled_in

        pixels = filled_in(kept.image, kept.mask)[0].permute(1, 2, 0).contiguous().numpy()
        return pixels, kept.mask.numpy()

    @property
    def _shares(self) -> list[float]:
        """Of each exemplar on the canvas: as asked, by the area of its labels, or all alike."""
        exemplars, target = self.job.exemplars, self._target
        if self.job.shares is not None:
            return list(self.job.shares)
        if target is None:
            return [1 / len(exemplars)] * len(exemplars)
        wanted = np.bincount(target.ravel(), minlength=256) / target.size
        shown = np.stack([np.bincount(np.ravel(each.labels), minlength=256) for each in exemplars])  # type: ignore[arg-type]
        parts = (wanted * shown / np.maximum(shown.sum(0), 1)).sum(1) + 1e-6
        return list(parts / parts.sum())


def _blurred(pixels: np.ndarray, deviation: float) -> np.ndarray:
    from scipy.ndimage import gaussian_filter

    return np.stack([gaussian_filter(pixels[..., c], deviation, mode="nearest") for c in range(pixels.shape[2])], -1)
