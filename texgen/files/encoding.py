"""How a file stores the values of a picture, and the form in which models see them and patches are blended."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from texgen.files.mapped_arrays import bands, release, scratch
from texgen.files.pixels import as_float, rounded, unit_of

DEPTHS: dict[str, np.dtype[Any]] = {
    "8": np.dtype(np.uint8),
    "16": np.dtype(np.uint16),
    "half": np.dtype(np.float16),
    "float": np.dtype(np.float32),
}
"""Depths of a channel by the names that users give."""
PRECISION = {"8": 8, "16": 16, "half": 11, "float": 24}
"""Bits of precision that each depth has for values near 1."""
FAINT = 1e-4
"""Weight of a transparent pixel's colour: enough to give a colour where all pixels are transparent, negligible beside a visible one."""
BAND_PIXELS = 1 << 20
"""About how many pixels `as_seen` converts at once."""
STEPS = (0xC13FA9A9, 0x91E10DA5, 0x55555555)
"""Steps of the dither to the next pixel right, the next pixel down and the next channel, as 32-bit fractions: 1/g, 1/g^2 with g^3 = g + 1, and 1/3."""


@dataclass(frozen=True)
class Encoding:
    """The encoding of a picture.

    Values "as they are seen" are float32 (H, W, 3), sRGB-encoded, in [0, 1] if the file holds integers; or (H, W, 4): colours times alpha, then alpha.

    Attributes:
        depth: Depth of a channel, one of `DEPTHS`. Floats are linear light, integers are sRGB-encoded.
        colours: Number of colour channels: 3, or 1 for a grey picture.
        alpha: Whether the last channel is alpha.
        dithered: Whether rounding to integers is dithered, see `thresholds`, so that gradients show no bands.
    """

    depth: str = "8"
    colours: int = 3
    alpha: bool = False
    dithered: bool = False

    @property
    def channels(self) -> int:
        """Number of channels in the file."""
        return self.colours + self.alpha

    @property
    def dtype(self) -> np.dtype[Any]:
        """Dtype of a channel."""
        return DEPTHS[self.depth]

    @property
    def linear(self) -> bool:
        """Whether values are linear light."""
        return self.dtype.kind == "f"

    @classmethod
    def of(cls, dtype: npt.DTypeLike, channels: int) -> Encoding:
        """The encoding of values of a dtype with 1 to 4 channels; the last of 2 or 4 is alpha."""
        depth = next(name for name, known in DEPTHS.items() if known == np.dtype(dtype))
        return cls(depth, 1 if channels < 3 else 3, channels in (2, 4))

    def seen(self, stored: np.ndarray) -> np.ndarray:
        """Rows (n, W, `channels`) as they are seen, (n, W, 3) or (n, W, 4); the inverse of `stored`."""
        return as_seen(stored, light=self.linear)

    def stored(self, seen: np.ndarray, top: int = 0) -> np.ndarray:
        """Rows as the file stores them, (n, W, `channels`).

        Args:
            seen: Rows as they are seen, (n, W, 3) or (n, W, 4).
            top: Number of the first row, for dithering.
        """
        values = unweighted(seen) if seen.shape[2] == 4 else seen
        if self.linear:
            values = np.concatenate([linear(values[..., :3]), values[..., 3:]], -1)
        if self.colours == 1:
            values = np.concatenate([values[..., :1], values[..., 3:]], -1)
        values = values[..., : self.channels]
        if self.linear:
            return values.astype(self.dtype)
        if not self.dithered:
            return rounded(values, self.dtype)
        height, width, channels = values.shape
        dither = np.stack([thresholds(top, top + height, width, channel) for channel in range(channels)], -1)
        return np.floor(values.clip(0, 1) * np.float32(unit_of(self.dtype)) + dither).astype(self.dtype)


def display(values: np.ndarray) -> np.ndarray:
    """Linear light encoded by the sRGB curve, which continues beyond 1 and, mirrored, below 0.

    References:
        IEC 61966-2-1:1999.
    """
    size = np.abs(values).astype(np.float32)
    curved = np.where(size <= 0.0031308, 12.92 * size, 1.055 * np.power(size, 1 / 2.4, dtype=np.float32) - 0.055)
    return np.copysign(curved, values).astype(np.float32)


def linear(values: np.ndarray) -> np.ndarray:
    """The inverse of `display`."""
    size = np.abs(values).astype(np.float32)
    straight = np.where(size <= 0.04045, size / 12.92, np.power((size + 0.055) / 1.055, 2.4, dtype=np.float32))
    return np.copysign(straight, values).astype(np.float32)


def as_seen(
    values: np.ndarray, *, light: bool, convert: Callable[[np.ndarray], np.ndarray] | None = None
) -> np.ndarray:
    """Values as they are seen, see `Encoding`. Besides the result, memory holds only a band, unless pixels are transparent.

    Args:
        values: Integers or floats, (H, W, 1 to 4); the last of 2 or 4 channels is alpha.
        light: Whether colours are linear light.
        convert: Function that converts encoded RGB colours (H, W, 3) to sRGB.
    """
    height, width, channels = values.shape
    split = channels - (channels in (2, 4))
    seen = scratch((height, width, 3 if split == channels else 4))
    parts = [band.rows for band in bands(height, max(1, BAND_PIXELS // width), 0)]
    for rows in parts:
        floats = as_float(values[rows])
        colours = display(floats[..., :split]) if light else floats[..., :split]
        seen[rows][..., :3] = convert(colours) if convert is not None and split == 3 else colours
        seen[rows][..., 3:] = floats[..., split:].clip(0, 1)
        release(seen)
    if split < channels:
        _bleed(seen[..., :3], values[..., -1])
        for rows in parts:
            seen[rows] = weighted(seen[rows])
    return seen


def _bleed(colours: np.ndarray, alpha: np.ndarray) -> None:
    """Give every fully transparent pixel of colours (H, W, 3) the colour of the nearest one that is not, in place."""
    from scipy.ndimage import distance_transform_edt

    unseen = alpha <= 0
    if unseen.any() and not unseen.all():
        rows, columns = distance_transform_edt(unseen, return_distances=False, return_indices=True)
        colours[unseen] = colours[rows[unseen], columns[unseen]]


def weighted(values: np.ndarray) -> np.ndarray:
    """Colours and alpha (H, W, 4) as colours times alpha, and alpha, so that means of pixels weight each colour by its opacity."""
    alpha = values[..., 3:]
    return np.concatenate([values[..., :3] * (alpha + np.float32(FAINT)), alpha], -1)


def unweighted(values: np.ndarray) -> np.ndarray:
    """The inverse of `weighted`."""
    alpha = values[..., 3:]
    return np.concatenate([values[..., :3] / (alpha + np.float32(FAINT)), alpha], -1)


def thresholds(top: int, bottom: int, width: int, channel: int) -> np.ndarray:
    """Dither for rows of a picture, in (0, 1), to add before rounding down: the R2 sequence, in which neighbours are far apart.

    Computed in integers, so that it is the same on every machine. Values that an integer represents exactly do not change.

    Returns:
        (bottom - top, width), float32.

    References:
        Martin Roberts, "The Unreasonable Effectiveness of Quasirandom Sequences", 2018,
        https://extremelearning.com.au/unreasonable-effectiveness-of-quasirandom-sequences/
    """
    right, down, on = STEPS
    across = np.arange(width, dtype=np.uint32) * np.uint32(right)
    along = np.arange(top, bottom, dtype=np.uint32) * np.uint32(down) + np.uint32(channel * on)
    return (((along[:, None] + across) >> np.uint32(24)).astype(np.float32) + np.float32(0.5)) / np.float32(256)
