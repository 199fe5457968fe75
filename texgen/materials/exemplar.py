"""The exemplar: a prepared swatch with the labels of its pixels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

NONE = 255
"""Label of pixels that belong to no material; they are neither shown nor read."""


@dataclass(frozen=True)
class Exemplar:
    """A prepared swatch.

    Attributes:
        pixels: Pixels as they are seen, see `texgen.files.encoding.Encoding`: (H, W, 3) or, with alpha, (H, W, 4), float32.
        labels: Labels of the pixels, (H, W), uint8, `NONE` for those that must not be shown; None if all may be shown.
    """

    pixels: np.ndarray
    labels: np.ndarray | None = None
