"""Orientation of a material by a map: swatches are copied at several angles, and each place takes the copies that point the wanted way."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import cos, radians, sin, sqrt
from typing import Any

import numpy as np

from texgen.errors import InputError
from texgen.files.pixels import as_float
from texgen.materials.exemplar import Exemplar
from texgen.materials.guides import Guide
from texgen.materials.maps import Map, MapLike, read_map

UNDIRECTED, DIRECTED = 8, 16
"""Number of copies over half a turn, and over a full turn."""
LARGEST = 384
"""Largest side of a turned copy in pixels, as there are many of them."""
LEAST = 64
WEIGHT = 2.0
"""Weight of the orientation relative to the colours."""


@dataclass(frozen=True)
class Orientation:
    """Which way a material points at each place.

    Attributes:
        canvas: Cosine and sine of the angle by which the swatch is turned counterclockwise, or of twice the angle if undirected; (h, w, 2), float32.
        directed: Whether a half turn makes a difference.
    """

    canvas: np.ndarray
    directed: bool

    @classmethod
    def of(cls, source: MapLike) -> Orientation:
        """The orientation that a map describes.

        Args:
            source: A map of one channel holds angles: 0 to 1 (or to the largest integer) stand for 0 to 180 degrees counterclockwise, undirected. A map of
                two or more channels is a flow map: its first two are the components to the right and upwards of the vector into which the swatch's
                upward direction is turned; 0.5 stands for 0.

        Raises:
            InputError: The map cannot be read, or all its vectors are about 0.
        """
        unit = as_float(read_map(source, "orientation"))
        if unit.shape[2] == 1:
            angle = unit[..., 0] * np.float32(2 * np.pi)
            return cls(np.stack([np.cos(angle), np.sin(angle)], -1), False)
        right, up = unit[..., 0] * 2 - 1, unit[..., 1] * 2 - 1
        length = np.hypot(right, up)
        if float(length.max()) < 0.1:
            raise InputError("orientation: the vectors of the flow map are all about 0; grey 0.5 stands for 0.")
        length = np.maximum(length, 1e-3)
        return cls(np.stack([up / length, -right / length], -1).astype(np.float32), True)

    @property
    def angles(self) -> list[float]:
        """Angles by which the copies are turned, in degrees counterclockwise."""
        count = DIRECTED if self.directed else UNDIRECTED
        return [number * (360 if self.directed else 180) / count for number in range(count)]

    def entry(self) -> dict[str, Any]:
        """Description for the recipe."""
        return {"sha256": Map("orientation", [self.canvas]).entry()["sha256"], "directed": self.directed}

    def guide(self, exemplars: Sequence[Exemplar]) -> Guide:
        """A guide that compares the angle of each copy with the one that the canvas wants."""
        turns = len(self.angles)
        images = []
        for number, each in enumerate(exemplars):
            angle = radians(self.angles[number % turns] * (1 if self.directed else 2))
            images.append(np.tile(np.array([cos(angle), sin(angle)], np.float32), (*each.pixels.shape[:2], 1)))
        return Guide(Map("orientation", images), self.canvas, WEIGHT)

    def exemplars(self, exemplars: Sequence[Exemplar]) -> list[Exemplar]:
        """Turned copies of all exemplars; those of one exemplar follow each other.

        Raises:
            InputError: A swatch is too small to be turned.
        """
        found = []
        for each in exemplars:
            if side_of(each.pixels.shape) < LEAST:
                smallest = min(each.pixels.shape[:2])
                raise InputError(
                    f"a swatch whose shorter side is {smallest} px is too small to be turned; give one of {round(LEAST * sqrt(2)) + 1} px."
                )
            for angle in self.angles:
                labels = None if each.labels is None else turned_square(each.labels[..., None], angle, order=0)[..., 0]
                found.append(Exemplar(turned_square(each.pixels, angle).clip(0, 1), labels))
        return found

    def maps(self, maps: Sequence[Map], count: int) -> list[Map]:
        """Maps of `count` exemplars, turned with them; the image of a picture kept in part stays as it is."""
        return [
            replace(
                each,
                images=[
                    *(turned_map(each, image, angle) for image in each.images[:count] for angle in self.angles),
                    *each.images[count:],
                ],
            )
            for each in maps
        ]

    def guides(self, guides: Sequence[Guide], count: int) -> list[Guide]:
        """Guides of `count` exemplars, whose maps are turned with them."""
        return [replace(each, swatch=self.maps([each.swatch], count)[0]) for each in guides]

    def own(self, coordinates: np.ndarray, sizes: Sequence[tuple[int, int]]) -> np.ndarray:
        """Coordinates (3, H, W) in copies, converted to coordinates in the exemplars, whose sizes are (height, width)."""
        turns, found = len(self.angles), coordinates.copy()
        for number, size in enumerate(sizes):
            for turn, angle in enumerate(self.angles):
                mine = coordinates[0] == number * turns + turn
                y, x = _places(coordinates[1][mine], coordinates[2][mine], angle, size)
                found[:, mine] = np.full_like(y, number), np.rint(y), np.rint(x)
        return found


def side_of(size: Sequence[int]) -> int:
    """Side of the square that fits into a picture of (height, width, ...) at any angle, at most `LARGEST`."""
    return min(LARGEST, int(min(size[:2]) / sqrt(2)))


def _places(y: np.ndarray, x: np.ndarray, angle: float, size: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """Places of a turned copy's pixels in its original, which has the size (height, width, ...)."""
    middle = (side_of(size) - 1) / 2
    down, across = y - middle, x - middle
    c, s = cos(radians(angle)), sin(radians(angle))
    return s * across + c * down + (size[0] - 1) / 2, c * across - s * down + (size[1] - 1) / 2


def turned_square(image: np.ndarray, angle: float, order: int = 3) -> np.ndarray:
    """The square in the middle of a picture (H, W, C), turned counterclockwise by degrees, at the picture's own depth.

    Args:
        image: The picture.
        angle: Angle in degrees.
        order: Order of the splines that interpolate it; 0 takes the nearest pixel.
    """
    from scipy.ndimage import map_coordinates

    side = side_of(image.shape)
    down, across = np.indices((side, side))
    y, x = _places(down, across, angle, image.shape)
    values = [
        map_coordinates(np.float32(image[..., n]) if order else image[..., n], [y, x], order=order, mode="nearest")
        for n in range(image.shape[2])
    ]
    found = np.stack(values, -1)
    if image.dtype.kind == "u" and order:
        found = np.rint(found).clip(0, np.iinfo(image.dtype).max)
    return found.astype(image.dtype)


def turned_map(kind: Map, image: np.ndarray, angle: float) -> np.ndarray:
    """The same square of an image of a map; vectors turn with it."""
    found = turned_square(image, angle)
    return kind.rotated(found, angle) if kind.is_normal and angle else found
