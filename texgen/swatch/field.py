"""A finished field: where every pixel of a texture comes from, and any map of the swatches shown through it."""

from __future__ import annotations

import json
import mmap
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tifffile

from texgen.encode import BIG, TIFF_TILE
from texgen.errors import InputError, OptionError
from texgen.materials.maps import turned
from texgen.publish import published
from texgen.swatch import kernels
from texgen.swatch.atlas import Atlas
from tiling import Size

VOTE = 0.5
"""Standard deviation of a patch's weights in a vote, in half patches."""


class Kept(NamedTuple):
    """An exemplar, or a part of it, that stays where it is.

    Attributes:
        exemplar: Its number.
        top, left: Of its place on the canvas.
        mask: Which of its pixels are kept, (H, W), bool; None keeps all.
    """

    exemplar: int
    top: int
    left: int
    mask: np.ndarray | None = None

    def on(self, canvas: Size, exemplar: Size) -> np.ndarray:
        """Which pixels of a canvas it is, (h, w), bool."""
        found = np.zeros(canvas, bool)
        here = found[self.top : self.top + exemplar.height, self.left : self.left + exemplar.width]
        here[:] = True if self.mask is None else self.mask[: here.shape[0], : here.shape[1]]
        return found


@dataclass(frozen=True)
class Field:
    """Where every pixel of a texture comes from.

    Attributes:
        places: (h, w), int32: a packed place on the sheet for every pixel of the torus that the texture was made on.
        atlas: What lies where on the sheet.
        size: Of the texture, from the torus' top left corner on.
        blend: Side in pixels of the window in which pieces are blended where they meet.
        kept: An exemplar that is shown unchanged, if any.
    """

    places: np.ndarray
    atlas: Atlas
    size: Size
    blend: int
    kept: Kept | None = None

    def rendering(
        self, images: Sequence[np.ndarray], turn: Callable[[np.ndarray, int], np.ndarray] = turned
    ) -> Rendering:
        """Pictures (H, W, C), one an exemplar, shown through the field; see `Atlas.laid`."""
        return Rendering(self, self.atlas.laid(images, turn), images)

    def coordinates(self, step: int = 1) -> np.ndarray:
        """Exemplar, y and x (3, height, width), int32, of every pixel, or of every `step`-th of every `step`-th row."""
        field = np.asarray(self.places)[: self.size.height : step, : self.size.width : step]
        return self.atlas.origins()[:, field >> 16, field & kernels.MASK]

    def save(self, path: Path, recipe: dict[str, Any]) -> None:
        """Write a compressed TIFF of the places; all that rendering needs, and the recipe, are in its description.

        Raises:
            OptionError: Single pixels of a picture were kept; a field has no room for which.
        """
        if self.kept is not None and self.kept.mask is not None:
            raise OptionError("a field with kept pixels cannot be saved; ask for the maps at once.")
        description = {
            "texgen_field": 1,
            "atlas": self.atlas.entry(),
            "size": list(self.size),
            "blend": self.blend,
            "kept": self.kept and list(self.kept[:3]),
            "recipe": recipe,
        }
        with published(path) as part:
            tifffile.imwrite(
                part, self.places, tile=(TIFF_TILE, TIFF_TILE), compression="zlib", predictor=True, photometric="minisblack",
                description=json.dumps(description), metadata=None, bigtiff=self.places.nbytes > BIG,
            )  # fmt: skip

    @classmethod
    def load(cls, path: Path) -> tuple[Field, dict[str, Any]]:
        """A saved field, its places on the disk, and the recipe.

        Raises:
            InputError: It cannot be read, or is none.
        """
        try:
            with tifffile.TiffFile(path) as file:
                page = file.pages.first
                description = json.loads(page.description)
                size, kept = Size(*description["size"]), description["kept"]
                atlas = Atlas.of(description["atlas"])
                places = page.asarray(out="memmap")
                found = cls(places, atlas, size, int(description["blend"]), Kept(*kept) if kept else None)
                covered = places.ndim == 2 and places.shape[0] >= size.height and places.shape[1] >= size.width
                inside = covered and int(places.min()) >= 0 and places.dtype == np.int32
                if description["texgen_field"] != 1 or not inside:
                    raise ValueError("another version")
        except FileNotFoundError as error:
            raise InputError(f"{path}: no such file.") from error
        except (OSError, ValueError, KeyError, TypeError, tifffile.TiffFileError) as error:
            raise InputError(f"{path}: is no field; texgen expand --save-field writes one.") from error
        return found, description["recipe"]


class Rendering:
    """One map of the exemplars, shown through a field."""

    def __init__(self, field: Field, sheet: np.ndarray, images: Sequence[np.ndarray]) -> None:
        self.field, self.sheet, self.images = field, sheet, images
        self.weights = field.atlas.shown.astype(np.float32)
        self.window = vote_window(field.blend)

    def rows(self, top: int, bottom: int) -> tuple[np.ndarray, np.ndarray]:
        """Rows of the map, (bottom - top, width, C), float32: each pixel's own, blended where pieces meet; and where that is, (rows, width), bool."""
        width = self.field.size.width
        values = np.empty((bottom - top, self.field.places.shape[1], self.sheet.shape[2]), np.float32)
        blended = np.empty(values.shape[:2], np.bool_)
        kernels.voted(self.field.places, top, bottom, self.sheet, self.weights, self.window, values, blended)
        release(self.field.places)
        values, blended = values[:, :width], blended[:, :width]
        if self.field.kept is not None:
            number, first, left, mask = self.field.kept
            image = self.images[number][:, : width - left]
            above, below = max(top, first), min(bottom, first + len(image))
            if above < below:
                rows, here = slice(above - first, below - first), slice(above - top, below - top)
                columns = slice(left, left + image.shape[1])
                kept = np.ones(image[rows].shape[:2], bool) if mask is None else mask[rows, : image.shape[1]]
                values[here, columns] = np.where(kept[..., None], image[rows], values[here, columns])
                blended[here, columns] &= ~kept
        return values, blended


def vote_window(side: int) -> np.ndarray:
    """Weight of each pixel of a patch in a vote, (side, side)."""
    profile = np.exp(-0.5 * (np.linspace(-1, 1, side) / VOTE) ** 2) if side > 1 else np.ones(1)
    return np.outer(profile, profile).astype(np.float32)


def release(*arrays: np.ndarray) -> None:
    """Give the pages of large mapped arrays back; what was written stays in the page cache or goes to the disk."""
    for array in arrays:
        mapped = getattr(array, "_mmap", None)
        if mapped is not None and array.nbytes > 1 << 26 and hasattr(mmap, "MADV_DONTNEED"):
            mapped.madvise(mmap.MADV_DONTNEED)
