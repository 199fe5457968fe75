"""Companion maps of swatches, such as normals, heights and roughness: read at their own depth, turned and blended by what they hold."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from texgen.errors import InputError, OptionError
from texgen.files.image import read_raw
from texgen.files.mapped_arrays import bands
from texgen.files.pixels import Pixels
from texgen.files.row_reader import PictureRows
from texgen.materials.preparation import Preparation, resampled

ROWS = 256
"""Rows that are checked at once."""
DTYPES = (np.uint8, np.uint16, np.float16, np.float32)
MapLike = str | Path | np.ndarray
Maps = Mapping[str, MapLike | Sequence[MapLike]]


def turned(image: np.ndarray, turn: int) -> np.ndarray:
    """A picture (H, W, ...) turned by `turn` % 4 quarters counterclockwise, and mirrored sideways before that if `turn` is 4 or more."""
    return np.rot90(image[:, ::-1] if turn >= 4 else image, turn % 4)


class KeptPicture(NamedTuple):
    """A picture of which the result keeps a part.

    Attributes:
        size: (height, width) in pixels.
        is_swatch: Whether it is the first swatch, before preparation.
    """

    size: tuple[int, ...]
    is_swatch: bool


@dataclass(frozen=True)
class Map:
    """One map of all exemplars.

    Attributes:
        name: Name, such as `normal`. Maps whose names begin with this hold vectors, with y upwards unless the name ends in `dx`.
        images: One image per exemplar, of its size, and last that of a picture kept in part, if any; (H, W, C), uint8, uint16, float16 or float32.
        guides: Whether patches are also compared by this map.
    """

    name: str
    images: Sequence[np.ndarray]
    guides: bool = False

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.images[0].dtype

    @property
    def channels(self) -> int:
        return int(self.images[0].shape[2])

    @property
    def is_normal(self) -> bool:
        """Whether the map holds unit vectors."""
        return self.name.lower().startswith("normal")

    @cached_property
    def _range(self) -> tuple[float, float]:
        """The values that stand for -1 and 1 in a map of vectors."""
        if self.dtype.kind == "u":
            return 0.0, float(np.iinfo(self.dtype).max)
        return (-1.0 if any(is_signed(image) for image in self.images) else 0.0), 1.0

    def turned(self, image: np.ndarray, turn: int) -> np.ndarray:
        """An image of the map, turned as by the function `turned`; vectors turn with it."""
        image = turned(image, turn)
        if not self.is_normal or not turn:
            return image
        return self._with_vectors(image, 90 * (turn % 4), mirrored=turn >= 4).astype(image.dtype)

    def rotated(self, image: np.ndarray, angle: float) -> np.ndarray:
        """An image whose vectors are turned counterclockwise by degrees and normalised, while pixels stay in place."""
        return self.finished(self._with_vectors(image, angle), np.ones(image.shape[:2], bool))

    def _with_vectors(self, image: np.ndarray, angle: float, mirrored: bool = False) -> np.ndarray:
        """An image whose vectors are turned counterclockwise by degrees, after mirroring them sideways if wanted; float32, exact for right angles."""
        middle = np.float32(sum(self._range) / 2)
        x, y = (np.float32(image[..., n]) - middle for n in (0, 1))
        x = -x if mirrored else x
        c, s = (np.float32(round(f(math.radians(angle)), 15)) for f in (math.cos, math.sin))
        s = -s if self.name.lower().endswith("dx") else s
        xy = np.stack([c * x - s * y, s * x + c * y], -1) + middle
        return np.concatenate([xy, np.float32(image[..., 2:])], -1)

    def normaliser(self, deviation: float) -> Callable[[np.ndarray], np.ndarray]:
        """A function that brings images of the map to float32 with mean 0 and the given deviation over all channels together, to compare patches by."""
        count = sum(image.shape[0] * image.shape[1] for image in self.images)
        mean = sum(image.sum((0, 1), np.float64) for image in self.images) / count
        variance = sum(np.square(image - mean).sum() for image in self.images) / count
        factor = deviation / max(variance**0.5, 1e-6)
        return lambda image: ((image - mean) * factor).astype(np.float32)

    def finished(self, values: np.ndarray, mixed: np.ndarray) -> np.ndarray:
        """Values (H, W, C), float32, converted to the map's own depth; vectors that are `mixed` (H, W) from several are normalised."""
        if self.is_normal and mixed.any():
            low, high = self._range
            vectors = (values[mixed, :3] - low) * (2 / (high - low)) - 1
            vectors /= np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-6)
            values = values.copy()
            values[mixed, :3] = (vectors + 1) * ((high - low) / 2) + low
        if self.dtype.kind == "u":
            values = np.rint(values).clip(0, np.iinfo(self.dtype).max)
        return values.astype(self.dtype)

    def entry(self) -> dict[str, Any]:
        """Description for the recipe."""
        found = hashlib.sha256()
        for image in self.images:
            found.update(np.ascontiguousarray(image).tobytes())
        about = {"dtype": str(self.dtype), "channels": self.channels, "sha256": found.hexdigest()}
        return {**about, "guides": True} if self.guides else about


def is_signed(pixels: Pixels) -> bool:
    """Whether a map of normals holds floats from -1 to 1, instead of from 0 to 1 or integers."""
    rows = (band.rows for band in bands(pixels.shape[0], ROWS, 0))
    return pixels.dtype.kind == "f" and any(pixels[each][..., :3].min() < 0 for each in rows)


def read_map(source: MapLike, name: str) -> np.ndarray:
    """Read a map (H, W, C) at its own depth; colours are not converted.

    Args:
        source: A file (PNG, TIFF, EXR, TGA, JPEG, ...) or an array (H, W) or (H, W, C), uint8, uint16, float16 or float32.
        name: Name of the map.

    Raises:
        InputError: The map cannot be read, has NaN or infinite values, or too few channels for normals.
    """
    values = read_raw(source)
    if values.ndim == 2:
        values = values[..., None]
    if values.ndim != 3 or values.dtype not in DTYPES or 0 in values.shape:
        raise InputError(
            f"map {name}: an array of shape {values.shape} and {values.dtype}; give (height, width, channels) of "
            f"{', '.join(np.dtype(kind).name for kind in DTYPES)}."
        )
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        raise InputError(f"map {name}: holds NaN or infinite values.")
    _check_normals(name, values.shape[2])
    return values


def open_map(path: Path, name: str) -> Pixels:
    """Like `read_map` for a file, but rows are read on demand where possible, and the caller must check them for NaN."""
    rows = PictureRows(path)
    if rows.tiled:
        return read_map(path, name)
    _check_normals(name, rows.shape[2])
    return rows


def _check_normals(name: str, channels: int) -> None:
    if name.lower().startswith("normal") and channels < 3:
        raise InputError(f"map {name}: has {channels} channels; a map of normals needs 3.")


def prepared_maps(
    maps: Maps | None,
    raw: Sequence[tuple[int, int]],
    preparation: Preparation,
    guides: Sequence[str] = (),
    picture: KeptPicture | None = None,
) -> list[Map]:
    """Read maps of the exemplars and prepare them as the swatches are: cut, turned and resized. Those of a picture kept in part stay as they are.

    Args:
        maps: A map for each name, or one per exemplar in their order.
        raw: (height, width) of the exemplars' files.
        preparation: Preparation of the exemplars; only the first is cropped.
        guides: Names of the maps by which patches are compared.
        picture: A picture kept in part, if any. Unless it is the first swatch, each name takes one more map for it, the last.

    Raises:
        OptionError: The number of maps differs from that of the exemplars, or a name cannot be part of a file name.
        InputError: A map differs in size from its swatch, or maps of one name differ in depth or channels.
    """
    found = []
    expected: list[tuple[int, ...]] = [*raw] if picture is None or picture.is_swatch else [*raw, picture.size]
    if strangers := sorted(set(guides) - set(maps or {})):
        raise OptionError(f"map_guides: there is no map {strangers[0]!r}.")
    for name, given in (maps or {}).items():
        if not name or not all(letter.isalnum() or letter in "_-" for letter in name):
            raise OptionError(f"map {name!r}: a name is made of letters, digits, - and _.")
        sources: list[Any] = list(given) if isinstance(given, list | tuple) else [given]
        if len(sources) != len(expected):
            also = "" if len(expected) == len(raw) else ", then one of the picture"
            raise OptionError(
                f"map {name}: {len(sources)} for {len(raw)} swatches; give one a swatch, in their order{also}."
            )
        images = [read_map(source, name) for source in sources]
        for image, size in zip(images, expected, strict=True):
            if image.shape[:2] != tuple(size):
                raise InputError(
                    f"map {name} is {image.shape[1]}x{image.shape[0]} px, its swatch {size[1]}x{size[0]}; give them one size."
                )
        if len({(image.dtype, image.shape[2]) for image in images}) > 1:
            raise InputError(f"map {name}: the swatches' maps differ in depth or channels; save them alike.")
        plain = Map(name, images)
        used = images[: len(raw)]
        ways = [preparation, *[replace(preparation, crop=None)] * (len(used) - 1)]
        prepared = [_prepared(plain, image, way) for image, way in zip(used, ways, strict=True)]
        if picture is not None:
            prepared.append(np.ascontiguousarray(images[0 if picture.is_swatch else -1]))
        found.append(Map(name, prepared, guides=name in guides))
    return found


def _prepared(kind: Map, image: np.ndarray, preparation: Preparation) -> np.ndarray:
    image = kind.turned(image[preparation.cut(image.shape)], preparation.rotate // 90)
    size = preparation.resized(image.shape[:2])
    if size == image.shape[:2]:
        return np.ascontiguousarray(image)
    return kind.finished(resampled(image, size).clip(image.min(), image.max()), np.ones(size, bool))
