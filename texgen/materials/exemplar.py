"""A swatch as it is used."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

NONE = 255
"""The label of pixels that belong to none: not to be shown, not to be read."""


@dataclass(frozen=True)
class Exemplar:
    """A swatch as it is used.

    Attributes:
        pixels: (H, W, 3) or, with alpha, (H, W, 4), float32, as `texgen.files.encoding.Encoding` says that they are seen.
        labels: Of its pixels, (H, W), uint8, `NONE` for what is not to be shown; None where all is.
    """

    pixels: np.ndarray
    labels: np.ndarray | None = None
