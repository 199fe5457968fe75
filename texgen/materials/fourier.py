"""Filters in the frequency domain for whole pictures that wrap on some axes and are mirrored on the others."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from texgen.files.mapped_arrays import bands
from tiling import Wrap

WORKERS = -1
"""Number of threads for scipy.fft; -1 uses all cores."""
ROWS = 256


def filtered(values: np.ndarray, wrap: Wrap, gain: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """A picture (H, W), float32, with each of its waves multiplied by a gain that depends only on its frequency.

    On axes that wrap, the waves are those of the Fourier transform; on the others, those of the cosine transform, which mirrors the picture at its border.

    Args:
        values: The picture, (H, W), float32; overwritten.
        wrap: Axes that wrap around.
        gain: Function of the squared frequency in radians per pixel, taken from the five-point Laplacian: the sum of 2 - 2 cos(w) over both axes.

    Example:
        >>> rows = np.tile(np.float32([0, 1]), (4, 2))
        >>> filtered(rows, Wrap(True, True), lambda squares: squares > 1).round(6).tolist()[0]
        [-0.5, 0.5, -0.5, 0.5]
    """
    from scipy import fft

    rings = [axis for axis in (0, 1) if wrap[axis]]
    waves = values
    for axis in {0, 1} - set(rings):
        waves = fft.dct(waves, axis=axis, norm="ortho", overwrite_x=True, workers=WORKERS)
    if rings:
        waves = fft.rfftn(waves, axes=rings, workers=WORKERS)
    down, across = (
        (2 - 2 * np.cos((2 if wrap[axis] else 1) * np.pi * np.arange(waves.shape[axis]) / values.shape[axis])).astype(
            np.float32
        )
        for axis in (0, 1)
    )
    for band in bands(len(waves), ROWS, 0):
        waves[band.rows] *= gain(down[band.rows, None] + across)
    if rings:
        waves = fft.irfftn(waves, [values.shape[axis] for axis in rings], axes=rings, overwrite_x=True, workers=WORKERS)
    for axis in {0, 1} - set(rings):
        waves = fft.idct(waves, axis=axis, norm="ortho", overwrite_x=True, workers=WORKERS)
    return np.asarray(waves, np.float32)
