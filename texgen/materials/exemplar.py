"""A swatch as it is used."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Exemplar:
    """A swatch as it is used.

    Attributes:
        pixels: (H, W, 3), float32, in [0, 1].
        labels: Of its pixels, (H, W), uint8, `NONE` for what is not to be shown; None where all is.
    """

    pixels: np.ndarray
    labels: np.ndarray | None = None
