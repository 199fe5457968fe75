"""Pack the maps of a material into textures, in bands of rows, so that only a band is in memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from texgen.errors import InputError
from texgen.exports.profiles import MISSING, Channel
from texgen.files.encoding import display, thresholds
from texgen.files.pixels import Pixels, as_float, unit_of
from texgen.materials.maps import is_signed
from texgen.materials.material import Material

BAND = 64
"""Rows that are packed at a time."""


@dataclass(frozen=True, kw_only=True)
class Source:
    """A map from which textures take channels.

    Attributes:
        pixels: Pixels of the map, (height, width, channels).
        kind: Floats of a `color` are encoded as sRGB, vectors of a `normal` are normalised, `data` is taken as it is.
        channels: Which channels of the pixels are r, g and b.
        low, high: Floats that stand for 0 and 1.
        flipped: Whether to change the sign of y.
    """

    pixels: Pixels
    kind: Literal["color", "normal", "data"] = "data"
    channels: tuple[int, int, int] = (0, 0, 0)
    low: float = 0.0
    high: float = 1.0
    flipped: bool = False

    def span(self, dtype: npt.DTypeLike) -> tuple[float, float]:
        """The floats that 0 and 1 stand for in a texture of a dtype."""
        return (self.low, self.high) if np.dtype(dtype).kind == "u" else (0.0, 1.0)

    def rows(self, top: int, bottom: int, dtype: np.dtype[Any]) -> np.ndarray:
        """Rows for a texture of a dtype, (n, width, 3), float32, in [0, 1] unless the texture holds floats."""
        rows = self.pixels[top:bottom]
        values = as_float(rows[..., list(self.channels)])
        if not np.isfinite(values).all():
            raise InputError(f"rows {top} to {bottom - 1} of a map hold NaN or infinite values.")
        if rows.dtype.kind == "f" and self.kind == "color":
            values = display(values.clip(0, 1))
        elif rows.dtype.kind == "f":
            low, high = self.span(dtype)
            values = (values - np.float32(low)) / np.float32(high - low)
        if self.kind == "normal" and (self.flipped or rows.dtype != dtype):
            values = unit(values, self.flipped)
        return values


def sources_of(material: Material, normal: Literal["gl", "dx"]) -> dict[str, Source]:
    """The maps of a material by the names that the table of profiles uses.

    Args:
        material: The material.
        normal: The wanted kind of normals. If the material has only the other kind, that is flipped.

    Returns:
        The maps in `Material.maps`, with `normal` for normals of either kind. Without a map `opacity`, the alpha of `color` takes
        its place if it is not 1 everywhere.
    """
    found = {}
    for name, pixels in material.maps.items():
        if not name.startswith("normal"):
            found[name] = _source(name, pixels)
    color = material.maps.get("color")
    alpha = -1 if color is None or color.shape[2] not in (2, 4) else color.shape[2] - 1
    if color is not None and alpha > 0 and "opacity" not in found and _range(color, alpha)[0] < unit_of(color.dtype):
        found["opacity"] = Source(pixels=color, channels=(alpha, alpha, alpha))
    own, other = ("normal", "normal_dx") if normal == "gl" else ("normal_dx", "normal")
    name = own if own in material.maps else other
    if name in material.maps:
        found["normal"] = replace(_source("normal", material.maps[name]), flipped=name == other)
    return found


def _source(name: str, pixels: Pixels) -> Source:
    channels = (0, 1, 2) if pixels.shape[2] >= 3 else (0, 0, 0)
    if name in ("color", "emission"):
        return Source(pixels=pixels, kind="color", channels=channels)
    if pixels.dtype.kind == "f" and name == "normal":
        return Source(pixels=pixels, kind="normal", channels=channels, low=-1.0 if is_signed(pixels) else 0.0)
    if pixels.dtype.kind == "f" and name == "height":
        low, high = _range(pixels, 0)
        if low < 0 or high > 1:
            return Source(pixels=pixels, low=low, high=high if high > low else low + 1)
    return Source(pixels=pixels, kind="normal" if name == "normal" else "data", channels=channels)


def _range(pixels: Pixels, channel: int) -> tuple[float, float]:
    low, high = np.inf, -np.inf
    for top in range(0, pixels.shape[0], BAND):
        rows = pixels[top : top + BAND][..., channel]
        low, high = min(low, float(rows.min())), max(high, float(rows.max()))
    return low, high


class Packed:
    """A texture whose rows are computed when they are read, for writers that work in bands.

    Values are rounded to the nearest integer; a deeper map that is reduced to 8 bits is dithered instead, see `thresholds`.

    Args:
        channels: What each channel holds.
        sources: The maps by name.
        dtype: Dtype of the texture.
        part: The wanted part, (top, left, height, width) in pixels; None for all.

    Example:
        >>> map = Source(pixels=np.full((2, 2, 1), 51, np.uint8))
        >>> channels = [Channel("ao"), Channel("roughness", inverted=True)]
        >>> Packed(channels, {"roughness": map}, np.uint8)[0:1].tolist()
        [[[255, 204], [255, 204]]]
    """

    def __init__(
        self,
        channels: Sequence[Channel],
        sources: Mapping[str, Source],
        dtype: npt.DTypeLike,
        part: tuple[int, int, int, int] | None = None,
    ) -> None:
        self.channels = channels
        self.sources = {channel.map: sources[channel.map] for channel in channels if channel.map in sources}
        self.dtype: np.dtype[Any] = np.dtype(dtype)
        height, self._across, _ = next(iter(self.sources.values())).pixels.shape
        self._top, self._left, height, width = part or (0, 0, height, self._across)
        self.shape = (height, width, len(channels))

    @property
    def dithered(self) -> bool:
        """Whether a map loses depth in a texture of 8 bits."""
        return any(self._dithered(source) for source in self.sources.values())

    def _dithered(self, source: Source) -> bool:
        return self.dtype == np.uint8 and source.pixels.dtype != np.uint8

    def __getitem__(self, rows: slice) -> np.ndarray:
        top, bottom, _ = rows.indices(self.shape[0])
        packed = np.empty((bottom - top, self._across, len(self.channels)), self.dtype)
        for start in range(0, len(packed), BAND):
            self._pack(packed[start : start + BAND], self._top + top + start)
        return packed[:, self._left : self._left + self.shape[1]]

    def _pack(self, packed: np.ndarray, top: int) -> None:
        bottom = top + len(packed)
        maps = {name: source.rows(top, bottom, self.dtype) for name, source in self.sources.items()}
        for number, channel in enumerate(self.channels):
            if channel.map in maps:
                values = maps[channel.map][..., channel.place]
                dithered = self._dithered(self.sources[channel.map])
            else:
                constant = MISSING[channel.map] if channel.map else channel.constant
                values, dithered = np.full(packed.shape[:2], constant, np.float32), False
            if channel.inverted:
                values = 1 - values
            if self.dtype.kind == "u":
                dither = thresholds(top, bottom, self._across, number) if dithered else np.float32(0.5)
                values = np.floor(values.clip(0, 1) * np.float32(np.iinfo(self.dtype).max) + dither)
            packed[..., number] = values


def unit(values: np.ndarray, flipped: bool) -> np.ndarray:
    """Normals in [0, 1], normalised, with the sign of y changed if `flipped`. Vectors of about length 0 become straight up."""
    vectors = values * 2 - 1
    if flipped:
        vectors[..., 1] *= -1
    length = np.linalg.norm(vectors, axis=-1, keepdims=True)
    vectors = np.where(length > 0.1, vectors / np.maximum(length, np.float32(0.1)), np.array([0, 0, 1], np.float32))
    return (vectors + 1) / 2
