"""A finished field: the place in the swatches from which every pixel of a texture comes, and any map of the swatches rendered through it."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tifffile
from scipy.ndimage import distance_transform_edt

from texgen.errors import InputError, ResourceError, disk_error
from texgen.files.mapped_arrays import release
from texgen.files.publish import published
from texgen.files.row_writers import BIG, TIFF_TILE
from texgen.materials.holes import COMPARED, MARGIN, faded
from texgen.materials.maps import turned
from texgen.swatch.bank.atlas import MASK, Atlas
from texgen.swatch.search.votes import vote_window, voted
from tiling import Size

BLOCK = 512
"""Number of columns that are faded at once."""


class Kept(NamedTuple):
    """The picture that is shown where a field has no coordinates.

    Attributes:
        number: Of the picture: that of an exemplar, or the number of exemplars if it is none.
        top, left: Its place on the canvas.
    """

    number: int
    top: int
    left: int


@dataclass(frozen=True)
class Field:
    """The origin of every pixel of a texture.

    Attributes:
        places: (h, w), int32: a packed place on the sheet for every pixel of the torus on which the texture was made; -1 where pixels were given.
        atlas: Layout of the sheet.
        size: Of the texture, which begins in the top left corner of the torus.
        blend: Side, in pixels, of the window in which pieces are blended where they meet.
        kept: The picture that was partly given, if any.
    """

    places: np.ndarray
    atlas: Atlas
    size: Size
    blend: int
    kept: Kept | None = None

    def rendering(
        self, images: Sequence[np.ndarray], turn: Callable[[np.ndarray, int], np.ndarray] = turned
    ) -> Rendering:
        """Render pictures through the field: one per exemplar, (H, W, C), and last that of `kept` if it is no exemplar; see `Atlas.laid`."""
        return Rendering(self, self.atlas.laid(images, turn), images)

    def coordinates(self, step: int = 1) -> np.ndarray:
        """Exemplar, y and x of every pixel, or of every `step`-th pixel in every `step`-th row, (3, height, width), int32; -1 where a picture is shown that is no exemplar."""
        field = np.asarray(self.places)[: self.size.height : step, : self.size.width : step]
        if self.kept is None:
            return self.atlas.origins()[:, field >> 16, field & MASK]
        known = field < 0
        field = np.where(known, 0, field)
        found = self.atlas.origins()[:, field >> 16, field & MASK]
        found[:, known] = -1
        if self.kept.number < 1 + max(part.exemplar for part in self.atlas.parts):
            rows, columns = np.nonzero(known)
            found[:, rows, columns] = np.stack(
                [np.full(len(rows), self.kept.number), rows * step - self.kept.top, columns * step - self.kept.left]
            )
        return found

    def save(self, path: Path, recipe: dict[str, Any]) -> None:
        """Write the places as a compressed TIFF, whose description holds the recipe and everything else that rendering needs."""
        description = {
            "texgen_field": 1,
            "atlas": self.atlas.entry(),
            "size": list(self.size),
            "blend": self.blend,
            "kept": self.kept and list(self.kept),
            "recipe": recipe,
        }
        with published(path) as part:
            tifffile.imwrite(
                part, self.places, tile=(TIFF_TILE, TIFF_TILE), compression="zlib", predictor=True, photometric="minisblack",
                description=json.dumps(description), metadata=None, bigtiff=self.places.nbytes > BIG,
            )  # fmt: skip

    @classmethod
    def load(cls, path: Path) -> tuple[Field, dict[str, Any]]:
        """A saved field, its places in a mapped file, and its recipe.

        Raises:
            InputError: The file cannot be read, or is not a field.
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
                inside = covered and int(places.min()) >= (-1 if kept else 0) and places.dtype == np.int32
                if description["texgen_field"] != 1 or not inside:
                    raise ValueError("another version")
        except FileNotFoundError as error:
            raise InputError(f"{path}: no such file.") from error
        except (OSError, ValueError, KeyError, TypeError, tifffile.TiffFileError) as error:
            if disk_error(error) is not None and getattr(error, "filename", None) != str(path):
                raise ResourceError(f"{tempfile.gettempdir()}: cannot hold the field ({error}).") from error
            raise InputError(f"{path}: is no field; texgen expand --save-field writes one.") from error
        return found, description["recipe"]


class Rendering:
    """One map of the exemplars, rendered through a field."""

    def __init__(self, field: Field, sheet: np.ndarray, images: Sequence[np.ndarray]) -> None:
        self.field, self.sheet, self.images = field, sheet, images
        self.weights = field.atlas.shown.astype(np.float32)
        self.window = vote_window(field.blend)

    def rows(self, top: int, bottom: int) -> tuple[np.ndarray, np.ndarray]:
        """Rows of the map, (bottom - top, width, C), float32, blended where pieces meet; and whether each pixel is blended, (bottom - top, width), bool."""
        known, width = self._known(top, bottom), self.field.size.width
        if known is None:
            values, blended = self._voted(top, bottom)
        elif known[:, :width].all():
            values, blended = self._given(top, bottom), np.zeros(known.shape, bool)
        else:
            values, blended = self._joined(top, bottom)
        return values[:, :width], blended[:, :width]

    def _voted(self, top: int, bottom: int) -> tuple[np.ndarray, np.ndarray]:
        """Rows of the torus; 0 where pixels are given."""
        values = np.zeros((bottom - top, self.field.places.shape[1], self.sheet.shape[2]), np.float32)
        blended = np.empty(values.shape[:2], np.bool_)
        voted(self.field.places, top, bottom, self.sheet, self.weights, self.window, values, blended)
        release(self.field.places)
        return values, blended

    def _known(self, top: int, bottom: int) -> np.ndarray | None:
        """Which pixels in rows of the torus are given; the rows may lie outside it. None if no pixel in or near them is given."""
        if self.field.kept is None:
            return None
        near = self._rows(top - MARGIN, bottom + MARGIN) < 0
        return near[MARGIN:-MARGIN] if near.any() else None

    def _rows(self, top: int, bottom: int) -> np.ndarray:
        return np.asarray(self.field.places[np.arange(top, bottom) % len(self.field.places)])

    def _given(self, top: int, bottom: int) -> np.ndarray:
        """Rows of the given picture on the torus, (bottom - top, w, C); 0 outside the picture."""
        assert self.field.kept is not None
        number, first, left = self.field.kept
        height, width = self.field.places.shape
        image = self.images[number]
        found = np.zeros((bottom - top, width, image.shape[2]), np.float32)
        y = np.arange(top, bottom) % height - first
        inside = (y >= 0) & (y < len(image))
        found[inside, left : left + image.shape[1]] = image[y[inside], : width - left]
        release(image)
        return found

    def _joined(self, top: int, bottom: int) -> tuple[np.ndarray, np.ndarray]:
        """Rows of the torus that are partly given; the remaining mismatch at the rim fades into the pixels that are not, see `texgen.materials.holes`.

        The mismatch at a given pixel is its difference to what the piece at the nearest pixel that is not given would show there.
        """
        above, below = top - MARGIN, bottom + MARGIN
        values, blended = self._voted(above, below)
        places, given, width = self._rows(above, below), self._given(above, below), values.shape[1]
        for left in range(0, width, BLOCK):
            right = min(left + BLOCK, width)
            columns = np.arange(left - MARGIN, right + MARGIN) % width
            near = places[:, columns]
            known = near < 0
            if not known.any():
                continue
            here = np.s_[:, left:right]
            if not known.all():
                change = self._change(near, given[:, columns])[:, MARGIN:-MARGIN]
                blended[here] |= np.abs(change).max(-1) > 0
                values[here] += change
            known = known[:, MARGIN:-MARGIN]
            values[here][known], blended[here][known] = given[here][known], False
        return values[MARGIN:-MARGIN], blended[MARGIN:-MARGIN]

    def _change(self, places: np.ndarray, given: np.ndarray) -> np.ndarray:
        """What to add to pixels that are not given, (H, W, C), so that they blend into those that are."""
        known = places < 0
        away, (y, x) = distance_transform_edt(known, return_indices=True)
        rows, across = np.ogrid[: known.shape[0], : known.shape[1]]
        nearest = places[y, x]
        sy, sx = (nearest >> 16) + (rows - y), (nearest & MASK) + (across - x)
        comparable = known & (away <= COMPARED) & (sy >= 0) & (sx >= 0)
        comparable &= (sy < len(self.sheet)) & (sx < self.sheet.shape[1])
        comparable[comparable] = self.weights[sy[comparable], sx[comparable]] > 0
        mismatch = np.zeros_like(given)
        mismatch[comparable] = given[comparable] - self.sheet[sy[comparable], sx[comparable]]
        return faded(mismatch, comparable.astype(np.float32))
