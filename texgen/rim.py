"""Where given pixels meet made ones: what they differ by fades into what is made."""

from __future__ import annotations

from functools import partial

import numpy as np

REACHES = (8.0, 4.0, 2.0, 1.0, 0.6)
"""Deviations in pixels of the Gaussians over which a mismatch fades: what is wide along the rim reaches far, what is fine does not."""
MARGIN, COMPARED = 48, 24
"""Pixels around a rim that the fading looks at, and of what is given those that are compared."""


def faded(mismatch: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """What is added to what is made, (H, W, C), so that no step is left at the rim, in colour or in grain.

    The mismatch is carried on by normalised Gaussian means, the widest first, each of what the wider ones left: in full at the rim, and to nothing
    three of the widest deviations from it.

    Args:
        mismatch: What is given minus what would be made there, (H, W, C), float32.
        weight: 1 where it is known, (H, W), float32.
    """
    from scipy.ndimage import gaussian_filter

    change = np.zeros_like(mismatch)
    for deviation in REACHES:
        blur = partial(gaussian_filter, sigma=deviation, truncate=3.0, mode="nearest")
        spread = np.maximum(blur(weight), 0.5)
        for c in range(mismatch.shape[2]):
            change[..., c] += blur((mismatch[..., c] - change[..., c]) * weight) / spread
    return change
