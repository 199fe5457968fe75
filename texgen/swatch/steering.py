"""What steers a canvas, at every scale: labels, guides, and what is given."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from texgen.materials.guides import Guide
from texgen.swatch.kernels import KNOWN
from texgen.swatch.pyramid import halved
from tiling import Size

BAND = 256
"""Rows that a guide is resized at once."""


@dataclass
class Steering:
    """What the canvas wants of each pixel.

    Attributes:
        size: Of the result.
        canvas: Of the torus it is made on, at least as large.
        folder: Where large guides are kept.
        labels: The label (h, w), uint8, of every pixel of the result; None where there are none.
        known: Which pixels of the torus are given, (h, w), bool; None where none is.
        guides: Scaled, see `Guide.scaled`.
    """

    size: Size
    canvas: Size
    folder: Path
    labels: np.ndarray | None = None
    known: np.ndarray | None = None
    guides: Sequence[Guide] = ()

    def wanted(self, level: int) -> np.ndarray:
        """The label that each pixel of a scale wants, (h, w), uint8, `KNOWN` where all of it is given; (0, 0) where nothing is asked."""
        if self.labels is None and self.known is None:
            return np.zeros((0, 0), np.uint8)
        size, step = self._at(level), 1 << level
        found = np.zeros(size, np.uint8)
        if self.labels is not None:
            rows, columns = (
                ((np.arange(n) * step + step // 2).clip(0, side - 1) * have // side)
                for n, side, have in zip(size, self.size, self.labels.shape, strict=True)
            )
            found = self.labels[rows[:, None], columns]
        if self.known is not None:
            whole = self.known[: size.height * step, : size.width * step]
            found = np.where(whole.reshape(size.height, step, size.width, step).all((1, 3)), np.uint8(KNOWN), found)
        return np.ascontiguousarray(found)

    def guide(self, level: int) -> np.ndarray:
        """All guides at a scale, (h, w, G), float32; (1, 1, 0) where there are none."""
        channels = sum(guide.canvas.shape[2] for guide in self.guides)
        if not channels:
            return np.zeros((1, 1, 0), np.float32)
        size, path = self._at(level), self.folder / f"guide-{level}"
        shape = (*size, channels)
        fresh = not path.exists() or path.stat().st_size != 4 * size.area * channels
        if not fresh:
            return np.memmap(path, np.float32, "r", shape=shape)
        part = path.with_suffix(".part")
        found = np.memmap(part, np.float32, "w+", shape=shape)
        first = 0
        for guide in self.guides:
            last = first + guide.canvas.shape[2]
            self._resize(guide.canvas, level, found[..., first:last])
            first = last
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
