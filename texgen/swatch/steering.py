"""What steers a canvas, at every scale: labels, guides, and what is given."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from texgen.materials.guides import Guide, strengths_at
from texgen.swatch.pyramid import halved, with_edges
from tiling import Size

BAND = 256
"""Rows that a guide is resized at once."""


class Control(NamedTuple):
    """What steers a canvas at one scale; of what does not, both sides of the picture are 0 or 1.

    Attributes:
        labels: That the key of each pixel must have, (h, w), uint8; (0, 0) where any may be taken.
        guide: What the last channels of the canvas should be, (h, w, G), float32; (1, 1, 0) without guides.
        strengths: Of the guide's channels here, (G,), see `Guide`.
        given: What the other channels are, (h, w, C), float32, where `known`; (1, 1, C) where nothing is given.
        known: Which pixels are given, as a whole, (h, w), bool; (0, 0) where nothing is.
    """

    labels: np.ndarray
    guide: np.ndarray
    strengths: np.ndarray
    given: np.ndarray
    known: np.ndarray

    @classmethod
    def none(cls) -> Control:
        """Of a canvas that nothing steers."""
        return cls(
            np.zeros((0, 0), np.uint8),
            np.zeros((1, 1, 0), np.float32),
            np.zeros(0, np.float32),
            np.zeros((1, 1, 1), np.float32),
            np.zeros((0, 0), bool),
        )


@dataclass(frozen=True)
class Given:
    """Pixels that are there already.

    Attributes:
        top, left: Of their place on the canvas.
        pixels: (H, W, C), float32: colours and the maps that patches are compared by; all of them, filled in where they are not given.
        mask: Which of them are given, (H, W), bool.
    """

    top: int
    left: int
    pixels: np.ndarray
    mask: np.ndarray


@dataclass
class Steering:
    """What the canvas wants of each pixel.

    Attributes:
        size: Of the result.
        canvas: Of the torus it is made on, at least as large.
        folder: Where large arrays are kept.
        labels: The label (h, w), uint8, of every pixel of the result; None where there are none.
        given: Pixels that are there already; None where there are none.
        guides: Scaled, see `Guide.scaled`.
    """

    size: Size
    canvas: Size
    folder: Path
    labels: np.ndarray | None = None
    given: Given | None = None
    guides: Sequence[Guide] = ()

    def at(self, level: int) -> Control:
        """What steers a scale."""
        control = Control.none()
        if self.labels is not None:
            control = control._replace(labels=self._labels(self.labels, level))
        if self.given is not None:
            given, known = self._given(self.given, level)
            control = control._replace(given=given, known=known)
        if self.guides:
            control = control._replace(guide=self._guide(level), strengths=strengths_at(self.guides, level))
        return control

    def _labels(self, labels: np.ndarray, level: int) -> np.ndarray:
        """Of the middle of each pixel."""
        step = 1 << level
        rows, columns = (
            ((np.arange(n) * step + step // 2).clip(0, side - 1) * have // side)
            for n, side, have in zip(self._at(level), self.size, labels.shape, strict=True)
        )
        return np.ascontiguousarray(labels[rows[:, None], columns])

    def _given(self, given: Given, level: int) -> tuple[np.ndarray, np.ndarray]:
        size, channels = self._at(level), given.pixels.shape[2] + 1
        paths = [self.folder / f"{name}-{level}" for name in ("given", "known")]
        shapes = [(*size, channels), tuple(size)]
        dtypes = [np.float32, np.bool_]
        if not all(path.exists() for path in paths):
            step = 1 << level
            place = zip((given.top, given.left), given.mask.shape, strict=True)
            around = [(first % step, -(first + side) % step) for first, side in place]
            pixels = np.pad(self._edged, [*around, (0, 0)], mode="edge")
            known = np.pad(given.mask, around)
            for _ in range(level):
                pixels = halved(pixels)
            blocks = known.reshape(known.shape[0] // step, step, known.shape[1] // step, step)
            known = np.asarray(blocks.all((1, 3)))
            top, left = given.top // step, given.left // step
            for path, shape, dtype, values in zip(paths, shapes, dtypes, (pixels, known), strict=True):
                part = path.with_suffix(".part")
                whole: Any = np.memmap(part, dtype, "w+", shape=shape)
                here = whole[top : top + values.shape[0], left : left + values.shape[1]]
                here[:] = values[: here.shape[0], : here.shape[1]]
                whole.flush()
                part.replace(path)
        given_, known_ = (np.memmap(p, d, "r", shape=s) for p, d, s in zip(paths, dtypes, shapes, strict=True))
        return given_, known_

    @cached_property
    def _edged(self) -> np.ndarray:
        """What is given with its edges, on the disk: all scales are made of it."""
        assert self.given is not None
        path, pixels = self.folder / "given", self.given.pixels
        shape = (*pixels.shape[:2], pixels.shape[2] + 1)
        whole = np.memmap(path, np.float32, "w+", shape=shape)
        whole[:] = with_edges(pixels)
        return whole

    def _guide(self, level: int) -> np.ndarray:
        channels = sum(guide.canvas.shape[2] for guide in self.guides)
        size, path = self._at(level), self.folder / f"guide-{level}"
        shape = (*size, channels)
        if path.exists():
            return np.memmap(path, np.float32, "r", shape=shape)
        part = path.with_suffix(".part")
        found = np.memmap(part, np.float32, "w+", shape=shape)
        first = 0
        for guide in self.guides:
            last = first + guide.canvas.shape[2]
            self._resize(guide.canvas, level, found[..., first:last])
            first = last
        found *= strengths_at(self.guides, level)
        found.flush()
        part.replace(path)
        return found

    def _at(self, level: int) -> Size:
        return Size(max(1, self.canvas.height >> level), max(1, self.canvas.width >> level))

    def _resize(self, image: np.ndarray, level: int, out: np.ndarray) -> None:
        """A map stretched over the result, its border repeated to the end of the torus: halved while it is twice as fine, then bilinear."""
        step = 1 << level
        while image.shape[0] >= 2 * self.size.height / step and image.shape[1] >= 2 * self.size.width / step:
            image = halved(image)
        places = [
            ((np.arange(n) + 0.5) * step / side * have - 0.5).clip(0, have - 1)
            for n, side, have in zip(out.shape, self.size, image.shape, strict=False)
        ]
        left = np.floor(places[1]).astype(np.int64)
        right, across = np.minimum(left + 1, image.shape[1] - 1), (places[1] - left).astype(np.float32)[:, None]
        for top in range(0, out.shape[0], BAND):
            y = places[0][top : top + BAND]
            above = np.floor(y).astype(np.int64)
            below, down = np.minimum(above + 1, image.shape[0] - 1), (y - above).astype(np.float32)[:, None, None]
            rows = image[above] * (1 - down) + image[below] * down
            out[top : top + BAND] = rows[:, left] * (1 - across) + rows[:, right] * across
