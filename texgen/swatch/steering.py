"""Constraints on a canvas at every scale: labels, guides, given pixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from texgen.errors import disk_errors
from texgen.files.mapped_arrays import bands, mapped, release
from texgen.materials.guides import Guide, strengths_at
from texgen.swatch.bank.pyramid import halved, halved_rows, with_edges
from tiling import Size, Tile, Wrap

BAND, REPEATED = 256, 64
"""Rows that are processed at once, and distance in pixels to which the border of given pixels is repeated around them."""

AROUND_SEEN = 8
"""Margin, in pixels, around visible pixels that is improved with them."""


class Control(NamedTuple):
    """Constraints on a canvas at one scale. An array with sides of 0 or 1 constrains nothing.

    Attributes:
        labels: Label that the key of each pixel must have, (h, w), uint8; (0, 0) if keys of all labels may be used.
        guide: Wanted values of the last channels of the canvas, (h, w, G), float32; (1, 1, 0) without guides.
        strengths: Of the guide's channels at this scale, (G,), see `Guide`.
        given: Values of the other channels where `known`, (h, w, C), float32; (1, 1, C) if nothing is given.
        known: Which pixels are given completely, (h, w), bool; (0, 0) if none are.
        seen: Which pixels will be visible, (h, w), bool; (0, 0) if all will. The others are started but not improved.
    """

    labels: np.ndarray
    guide: np.ndarray
    strengths: np.ndarray
    given: np.ndarray
    known: np.ndarray
    seen: np.ndarray

    @classmethod
    def none(cls) -> Control:
        """No constraints."""
        return cls(
            np.zeros((0, 0), np.uint8),
            np.zeros((1, 1, 0), np.float32),
            np.zeros(0, np.float32),
            np.zeros((1, 1, 1), np.float32),
            np.zeros((0, 0), bool),
            np.zeros((0, 0), bool),
        )

    def free(self, tile: Tile) -> int:
        """Number of pixels of a tile that are not given."""
        if not self.known.size:
            return tile.size.area
        return tile.size.area - int(np.count_nonzero(self.known[tile.top : tile.bottom, tile.left : tile.right]))

    def sees(self, tile: Tile, canvas: Size) -> bool:
        """Whether anything in or near a tile will be visible."""
        wide = tile.grown(AROUND_SEEN, canvas, Wrap(True, True))
        return not self.seen.size or bool(self.seen[wide.rows(canvas)[:, None], wide.columns(canvas)].any())


@dataclass(frozen=True)
class Given:
    """A picture on the canvas, of which some pixels are given.

    Attributes:
        top, left: Its place on the canvas.
        pixels: (H, W, C), float32: colours and the maps by which patches are compared, filled in where they are not given.
        mask: Which pixels are given, (H, W), bool.
    """

    top: int
    left: int
    pixels: np.ndarray
    mask: np.ndarray


@dataclass
class Steering:
    """Constraints on a canvas at full size, from which those at each scale are made.

    Attributes:
        size: Of the result.
        canvas: Of the torus on which the result is made, at least as large.
        folder: Where large arrays are kept.
        labels: Label of every pixel of the result, (h, w), uint8; None without labels.
        given: Given pixels; None without.
        guides: Scaled, see `Guide.scaled`.
        only: The label of which the whole canvas is made, to be visible where `labels` has it; None if all labels are made together.
    """

    size: Size
    canvas: Size
    folder: Path
    labels: np.ndarray | None = None
    given: Given | None = None
    guides: Sequence[Guide] = ()
    only: int | None = None

    def at(self, level: int) -> Control:
        """The constraints at a scale."""
        control = Control.none()
        if self.labels is not None:
            labels = self._labels(self.labels, level)
            if self.only is None:
                control = control._replace(labels=labels)
            else:
                control = control._replace(labels=np.full_like(labels, self.only), seen=labels == self.only)
        if self.given is not None:
            given, known = self._given(self.given, level)
            control = control._replace(given=given, known=known)
        if self.guides:
            control = control._replace(guide=self._guide(level), strengths=strengths_at(self.guides, level))
        return control

    def _labels(self, labels: np.ndarray, level: int) -> np.ndarray:
        """Labels at a scale: those of the middle of each pixel."""
        step = 1 << level
        rows, columns = (
            ((np.arange(n) * step + step // 2).clip(0, side - 1) * have // side)
            for n, side, have in zip(self._at(level), self.size, labels.shape, strict=True)
        )
        return np.ascontiguousarray(labels[rows[:, None], columns])

    def _given(self, given: Given, level: int) -> tuple[np.ndarray, np.ndarray]:
        """Given pixels and their mask on the canvas; each scale is halved from the next finer one."""
        size = self._at(level)
        kinds = (f"given-{level}", np.float32, (*size, given.pixels.shape[2] + 1)), (f"known-{level}", np.bool_, size)
        pixels, known = (self._finished(*kind) for kind in kinds)
        if pixels is not None and known is not None:
            return pixels, known
        pixels, known = (self._new(*kind) for kind in kinds)
        if level == 0:
            self._place(given, pixels, known)
        else:
            finer, finely = self._given(given, level - 1)
            for rows in (band.rows for band in bands(size.height, BAND, 0)):
                pixels[rows] = halved_rows(finer, rows.start, rows.stop)[:, : size.width]
                blocks = finely[2 * rows.start : 2 * rows.stop, : 2 * size.width]
                known[rows] = blocks.reshape(rows.stop - rows.start, 2, size.width, 2).all((1, 3))
                release(finer, finely, pixels, known)
        return self._kept(pixels), self._kept(known)

    def _place(self, given: Given, pixels: np.ndarray, known: np.ndarray) -> None:
        """Put the given pixels, with their distance to edges, on the canvas, and repeat their border around them."""
        (height, width), top, left = given.mask.shape, given.top, given.left
        bottom, right = top + height, left + width
        with_edges(given.pixels, pixels[top:bottom, left:right])
        first, last = max(left - REPEATED, 0), right + REPEATED
        for rows in (band.rows for band in bands(height, BAND, 0)):
            here = pixels[top:bottom][rows]
            here[:, first:left] = here[:, left : left + 1]
            here[:, right:last] = here[:, right - 1 : right]
            release(pixels)
        pixels[max(top - REPEATED, 0) : top, first:last] = pixels[top, first:last]
        pixels[bottom : bottom + REPEATED, first:last] = pixels[bottom - 1, first:last]
        known[top:bottom, left:right] = given.mask

    def _finished(self, name: str, dtype: Any, shape: tuple[int, ...]) -> Any:
        """An array that an earlier run finished, if there is one."""
        path = self.folder / name
        with disk_errors(path):
            return np.memmap(path, dtype, "r", shape=shape) if path.exists() else None

    def _new(self, name: str, dtype: Any, shape: tuple[int, ...]) -> Any:
        """An array to be filled and then passed to `_kept`."""
        return mapped((self.folder / name).with_suffix(".part"), dtype, shape)

    def _kept(self, array: Any) -> Any:
        """Give a finished array its final name."""
        array.flush()
        part = Path(array.filename)
        part.replace(part.with_suffix(""))
        return array

    def _guide(self, level: int) -> Any:
        channels = sum(guide.canvas.shape[2] for guide in self.guides)
        kind = f"guide-{level}", np.float32, (*self._at(level), channels)
        found, first = self._finished(*kind), 0
        if found is not None:
            return found
        found = self._new(*kind)
        for guide in self.guides:
            last = first + guide.canvas.shape[2]
            self._resize(guide.canvas, level, found[..., first:last])
            first = last
        found *= strengths_at(self.guides, level)
        return self._kept(found)

    def _at(self, level: int) -> Size:
        return Size(max(1, self.canvas.height >> level), max(1, self.canvas.width >> level))

    def _resize(self, image: np.ndarray, level: int, out: np.ndarray) -> None:
        """Stretch a map over the result, its border repeated to the end of the torus: halved while it is at least twice as fine, then bilinear."""
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
