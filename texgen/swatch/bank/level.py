"""One scale of the bank: pixels, and the descriptors of their patches."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.ndimage import distance_transform_edt

from texgen.swatch.bank.atlas import pack

EXEMPLAR, TOP, LEFT, HEIGHT, WIDTH, SHIFT, WRAPS_Y, WRAPS_X = 0, 1, 2, 3, 4, 5, 6, 7
"""Columns of `Level.tori`."""


@dataclass(frozen=True)
class Level:
    """One scale of the bank.

    Attributes:
        number: 0 is full size, each level half of the one before.
        pixels: (H, W, C + 1 + G), float32: colours, the distance to edges, scaled to the colours' deviation, and guides.
        colours: Number of the channels before the distance to edges: colours, and maps that patches are compared by.
        labels: (H, W), uint8; `NONE` where a pixel is not to be shown.
        patch: Side of a patch.
        centres: (H, W), bool: where a patch may be centred.
        shown: (H, W), bool: pixels that may vote; those of mirrored margins may not.
        nearest: (H, W), int32: the centre nearest to each place, packed.
        inside: (H, W), int32: the place inside a source that shows the same as each place, packed; it differs from the place itself in margins only.
        own: (H, W), bool: centres outside the margins.
        shares: (H, W), float32: how often a key should be used; the mean over `own` is 1.
        source: (H, W), int32: number of the source at each place.
        tori: (sources, 8), int64: exemplar, top, left, height, width and shift of each, and whether its axes wrap, see `Repeat`.
        wanted: (exemplars,), float32: their shares of the canvas, summing to 1.
        keys: (H, W, D), float32: descriptors, at centres.
        similar: (H, W, S), int32, packed.
        basis, offset: Of the descriptors, (k k C, D) and (D,).
        spread: Mean squared distance of two random keys.
        side: Of the smallest source: its shorter side, or the root of its area if it tiles in both directions.
    """

    number: int
    pixels: np.ndarray
    colours: int
    labels: np.ndarray
    patch: int
    centres: np.ndarray
    shown: np.ndarray
    nearest: np.ndarray
    inside: np.ndarray
    own: np.ndarray
    shares: np.ndarray
    source: np.ndarray
    tori: np.ndarray
    wanted: np.ndarray
    keys: np.ndarray
    similar: np.ndarray
    basis: np.ndarray
    offset: np.ndarray
    spread: float
    side: int

    @property
    def size(self) -> tuple[int, int]:
        return self.pixels.shape[0], self.pixels.shape[1]

    def of_label(self, label: int) -> Level:
        """The level with the centres of one label only."""
        mine = self.labels == label
        centres = self.centres & mine
        return replace(self, centres=centres, own=self.own & mine, nearest=nearest_centres(centres))


def nearest_centres(centres: np.ndarray) -> np.ndarray:
    """The centre nearest to each place, packed."""
    return pack(*distance_transform_edt(~centres, return_distances=False, return_indices=True))
