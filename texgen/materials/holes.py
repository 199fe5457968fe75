"""Holes in a picture: filled smoothly before the search, and blended with their surroundings after it."""

from __future__ import annotations

from functools import partial

import numpy as np

from texgen.files.mapped_arrays import bands, release, scratch

REACHES = (8.0, 4.0, 2.0, 1.0, 0.6)
"""Deviations in pixels of the Gaussians over which a mismatch at a rim fades: what is wide along the rim reaches far, fine detail does not."""
GRAIN = 1.5
"""Pixels over which the finest grain, which remains after the Gaussians, fades to 1/e."""
MARGIN, COMPARED = 48, 24
"""Pixels around a rim that the blending uses, and pixels of the given picture beyond the rim that are compared."""


def faded(mismatch: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """The correction (H, W, C) to add to a filling, so that neither a step in colour nor one in grain remains at the rim.

    Normalised Gaussian means carry the mismatch into the hole, the widest first; each carries what the wider ones left, and fades to 0 at three
    deviations from the rim. What the finest one leaves fades from each rim pixel inwards, to 0 at the same distance.

    Args:
        mismatch: Given pixels minus those that would fill their place, (H, W, C), float32.
        weight: 1 where the mismatch is known, else 0, (H, W), float32.
    """
    from scipy.ndimage import distance_transform_edt, gaussian_filter

    change = np.zeros_like(mismatch)
    if not weight.any():
        return change
    for deviation in REACHES:
        blur = partial(gaussian_filter, sigma=deviation, truncate=3.0, mode="nearest")
        spread = np.maximum(blur(weight), 0.5)
        for c in range(mismatch.shape[2]):
            change[..., c] += blur((mismatch[..., c] - change[..., c]) * weight) / spread
    away, nearest = distance_transform_edt(weight == 0, return_indices=True)
    left = np.where(away <= COMPARED, np.exp((1 - np.maximum(away, 1)) / GRAIN), 0).astype(np.float32)
    return change + (mismatch - change)[tuple(nearest)] * left[..., None]


ROWS, AROUND = 512, 128
"""Rows that are filled at once, and rows above and below that they are filled from."""


def filled_in(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """An image (H, W, C), float32, whose pixels outside a mask are filled smoothly from those inside (push-pull).

    Unknown pixels are interpolated from the image at half the size, the mean of what is known, which is filled in the same way.

    Args:
        image: The image, (H, W, C), of which pixels outside the mask are ignored.
        mask: Known pixels, (H, W), bool.
    """
    found = scratch(image.shape)
    for band in bands(len(image), ROWS, AROUND):
        weight = mask[band.around].astype(np.float32)[..., None]
        found[band.rows] = _pulled(image[band.around] * weight, weight)[band.inner]
        release(image, found)
    return found


def _pulled(total: np.ndarray, weight: np.ndarray) -> np.ndarray:
    mean = total / np.maximum(weight, 1e-6)
    height, width = weight.shape[:2]
    if (weight > 0).all() or max(height, width) == 1:
        return mean
    even = ((0, height % 2), (0, width % 2), (0, 0))
    coarse = (
        np.pad(values, even).reshape(-(-height // 2), 2, -(-width // 2), 2, -1).mean((1, 3))
        for values in (total, weight)
    )
    below = _doubled(_doubled(_pulled(*coarse), 0), 1)[:height, :width]
    return np.where(weight > 0, mean, below)


def _doubled(values: np.ndarray, axis: int) -> np.ndarray:
    """Values upsampled by 2 along an axis, linearly between the centres of pixels, with the ends repeated."""
    padded = np.pad(values, [(1, 1) if a == axis else (0, 0) for a in range(values.ndim)], mode="edge")
    before, here, after = (padded.take(range(first, first + values.shape[axis]), axis) for first in range(3))
    pair = np.stack([here * 0.75 + before * 0.25, here * 0.75 + after * 0.25], axis + 1)
    shape = list(values.shape)
    shape[axis] *= 2
    return pair.reshape(shape)
