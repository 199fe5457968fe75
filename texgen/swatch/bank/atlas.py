"""The layout of the swatches on the sheet that a field points into, and of any other map of theirs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from texgen.materials.maps import turned
from texgen.swatch.bank.repeat import Repeat
from tiling import Size, Wrap

MASK = 0xFFFF
BEYOND = 64
"""Pixels from its opposite side around a part that tiles, in addition to what the patches need."""


def pack(y: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Coordinates on the sheet as one int32: y in the upper 16 bits, x in the lower."""
    return ((y << 16) | x).astype(np.int32)


class Part(NamedTuple):
    """A part of an exemplar as it is searched.

    Attributes:
        exemplar: Number of the exemplar.
        top, left, height, width: Of the part in it.
        turn: How it is turned after that, see `turned`.
        repeat: The area of the turned part that is searched, and which of its axes wrap.
    """

    exemplar: int
    top: int
    left: int
    height: int
    width: int
    turn: int
    repeat: Repeat

    def cut(self, image: np.ndarray) -> np.ndarray:
        """This part of a picture of the exemplar."""
        return image[self.top : self.top + self.height, self.left : self.left + self.width]


class Place(NamedTuple):
    """The place of a part on the sheet at full size.

    Attributes:
        left: First column, of the margin.
        margin: Rows above and below, and columns left and right.
        repeat: Of the part.
        y, x: (h, w): the pixel of the part that is shown at each place, margins included.
    """

    left: int
    margin: Size
    repeat: Repeat
    y: np.ndarray
    x: np.ndarray

    def at(self, number: int) -> tuple[tuple[slice, slice], Size]:
        """Its rows and columns on the sheet at a scale, and its margin there."""
        height, width, left = (side >> number for side in (*self.y.shape, self.left))
        margin = Size(self.margin.height >> number, self.margin.width >> number)
        return (slice(0, height), slice(left, left + width)), margin

    @classmethod
    def of(cls, repeat: Repeat, left: int, reach: int, unit: int) -> Place:
        """A place whose margins are multiples of `unit` and at least `reach` pixels wide, wider where the part wraps."""
        more = -(-(BEYOND + reach) // unit) * unit
        margin = Size(*(more if wraps else -(-reach // unit) * unit for wraps in repeat.wrap))
        rows = np.arange(-margin.height, repeat.height + margin.height)[:, None]
        columns = np.arange(-margin.width, repeat.width + margin.width)
        y, x = repeat.inside(*np.broadcast_arrays(rows, columns))
        return cls(left, margin, repeat, y, x)

    def packed(self, y: np.ndarray, x: np.ndarray) -> np.ndarray:
        """Places on the sheet of pixels of the part, packed."""
        y, x = self.repeat.inside(y, x)
        return pack(y + self.margin.height, x + self.margin.width + self.left)


@dataclass(frozen=True)
class Atlas:
    """The sheet: parts of exemplars side by side.

    Each part has a margin, so that patches may be centred at its border. The margin continues the part from its opposite side if it tiles; otherwise it
    is a mirror image, which is searched but never shown. All corners lie on pixels of the coarsest scale, so that a coordinate at one level is
    twice that at the next, plus 0 or 1.

    Attributes:
        parts: From left to right.
        levels: Number of scales.
        patch: Largest side of a patch.
    """

    parts: tuple[Part, ...]
    levels: int
    patch: int

    @cached_property
    def places(self) -> list[Place]:
        """Places of the parts, in their order."""
        unit, left, found = self.unit, 0, []
        for part in self.parts:
            found.append(Place.of(part.repeat, left, self.patch // 2 * unit, unit))
            left += -(-found[-1].y.shape[1] // unit) * unit
        return found

    @property
    def unit(self) -> int:
        """Side of a pixel of the coarsest scale, in pixels at full size."""
        return 1 << (self.levels - 1)

    @cached_property
    def size(self) -> Size:
        """Size of the sheet at full size."""
        width = sum(-(-place.y.shape[1] // self.unit) * self.unit for place in self.places)
        return Size(-(-max(len(place.y) for place in self.places) // self.unit) * self.unit, width)

    def laid(self, images: Sequence[np.ndarray], turn: Callable[[np.ndarray, int], np.ndarray] = turned) -> np.ndarray:
        """Pictures laid out on the sheet, (H, W, C), float32; 0 between them.

        Args:
            images: One per exemplar, (H, W, C), of its exemplar's size; all have the same channels.
            turn: How to turn a picture: `turned`, or another function for maps of vectors.
        """
        sheet = np.zeros((*self.size, images[0].shape[2]), np.float32)
        for part, place in zip(self.parts, self.places, strict=True):
            height, width = place.y.shape
            shown = turn(part.cut(images[part.exemplar]), part.turn)
            sheet[:height, place.left : place.left + width] = shown[place.y, place.x]
        return sheet

    @cached_property
    def shown(self) -> np.ndarray:
        """Which pixels of the sheet may be shown, (H, W), bool: all but those of mirrored margins."""
        found = np.zeros(self.size, bool)
        for place in self.places:
            height, width = place.y.shape
            top, left = (0 if wraps else margin for wraps, margin in zip(place.repeat.wrap, place.margin, strict=True))
            found[top : height - top, place.left + left : place.left + width - left] = True
        return found

    def origins(self) -> np.ndarray:
        """Exemplar, y and x of every pixel of the sheet, (3, H, W), int32; -1 between the parts."""
        found = np.full((3, *self.size), -1, np.int32)
        for part, place in zip(self.parts, self.places, strict=True):
            axes = np.indices((part.height, part.width), np.int32)
            y, x = (turned(axis, part.turn)[place.y, place.x] for axis in axes)
            here = found[:, : len(y), place.left : place.left + y.shape[1]]
            here[:] = np.full_like(y, part.exemplar), y + part.top, x + part.left
        return found

    def entry(self) -> dict[str, Any]:
        """The atlas as JSON, which `of` reads."""
        parts = [{**part._asdict(), "repeat": part.repeat._asdict()} for part in self.parts]
        return {"parts": parts, "levels": self.levels, "patch": self.patch}

    @classmethod
    def of(cls, entry: Mapping[str, Any]) -> Atlas:
        """The atlas that `entry` wrote.

        Raises:
            KeyError, TypeError: The JSON does not describe an atlas.
        """
        parts = []
        for part in entry["parts"]:
            repeat = Repeat(**{**part["repeat"], "wrap": Wrap(*part["repeat"]["wrap"])})
            parts.append(Part(**{**part, "repeat": repeat}))
        return cls(tuple(parts), int(entry["levels"]), int(entry["patch"]))
