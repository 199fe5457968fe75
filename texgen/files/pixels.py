"""Pictures of any size on disk, written and read in rows and never whole in memory; conversion between integers and floats."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from texgen.errors import disk_errors


class PixelFile:
    """A picture (height, width, channels) in a raw file, row after row.

    Slices read rows, as of an array: `pixels[100:200]` is (100, width, channels). Several processes may write different
    rows of one file.

    Args:
        path: The file. It is created if missing, and its content is kept if it has the right length.
        shape: (height, width, channels).
        dtype: Dtype of the values.

    Attributes:
        keeper: Owner of a temporary folder that the file is in, kept alive as long as the pixels.

    Example:
        >>> import tempfile
        >>> pixels = PixelFile(Path(tempfile.mkdtemp()) / "pixels", (4, 2, 3), np.uint8)
        >>> pixels.write(1, np.full((2, 2, 3), 7, np.uint8))
        >>> pixels[0:3].mean((1, 2)).tolist()
        [0.0, 7.0, 7.0]
    """

    def __init__(self, path: Path, shape: tuple[int, int, int], dtype: npt.DTypeLike) -> None:
        self.path = path
        self.keeper: object = None
        self.shape = shape
        self.dtype: np.dtype[Any] = np.dtype(dtype)
        with disk_errors(path), path.open("ab") as file:
            if file.tell() != self.nbytes:
                file.truncate(self.nbytes)

    @property
    def nbytes(self) -> int:
        return self.shape[0] * self._row_bytes

    @property
    def _row_bytes(self) -> int:
        return self.shape[1] * self.shape[2] * self.dtype.itemsize

    def write(self, top: int, rows: np.ndarray) -> None:
        """Write rows (n, width, channels) at `top`, flushed to the disk.

        Raises:
            ResourceError: The disk is full.
        """
        with disk_errors(self.path), self.path.open("r+b") as file:
            file.seek(top * self._row_bytes)
            file.write(np.ascontiguousarray(rows, self.dtype).tobytes())
            file.flush()
            os.fsync(file.fileno())

    def __array__(self, dtype: npt.DTypeLike | None = None, copy: bool | None = None) -> np.ndarray:
        """The whole picture in memory."""
        if copy is False:
            raise ValueError("pixels on the disk cannot be had as an array without a copy.")
        return self._rows(0, self.shape[0]).astype(dtype or self.dtype, copy=True)

    def __len__(self) -> int:
        return self.shape[0]

    @property
    def ndim(self) -> int:
        return 3

    def __getitem__(self, index: Any) -> np.ndarray:
        """Index like an array; only the rows from the first to the last wanted one are read."""
        rows, *others = index if isinstance(index, tuple) else (index,)
        if isinstance(rows, slice):
            wanted = range(self.shape[0])[rows]
            low, high = sorted((wanted[0], wanted[-1])) if wanted else (0, -1)
            return self._rows(low, high + 1)[(slice(None, None, wanted.step), *others)]
        if isinstance(rows, int | np.integer):
            row = range(self.shape[0])[rows]
            return self._rows(row, row + 1)[(0, *others)]
        return np.asarray(self)[index]

    def _rows(self, top: int, bottom: int) -> np.ndarray:
        count = (bottom - top) * self.shape[1] * self.shape[2]
        return np.fromfile(self.path, self.dtype, count, offset=top * self._row_bytes).reshape(-1, *self.shape[1:])


class Pixels(Protocol):
    """Anything with a shape (height, width, channels), a dtype and slices of rows, such as an array or a `PixelFile`."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    @property
    def dtype(self) -> np.dtype[Any]: ...

    def __getitem__(self, rows: slice, /) -> np.ndarray: ...


def unit_of(dtype: npt.DTypeLike) -> float:
    """The value that stands for 1 in pixels of a dtype: the largest integer, or 1 for floats."""
    return float(np.iinfo(dtype).max) if np.dtype(dtype).kind == "u" else 1.0


def as_float(pixels: Pixels) -> np.ndarray:
    """A whole picture or map as float32: integers scaled to [0, 1], floats as they are."""
    return pixels[0 : pixels.shape[0]].astype(np.float32) / np.float32(unit_of(pixels.dtype))


def rounded(values: np.ndarray, dtype: npt.DTypeLike) -> np.ndarray:
    """Values in [0, 1] rounded to integers of a dtype; 1 becomes the largest."""
    return np.rint(np.clip(values, 0, 1) * np.iinfo(dtype).max).astype(dtype)


def halved(pixels: Pixels, path: Path, band: int = 512) -> PixelFile:
    """A picture at half the size: each pixel is the mean of 2x2 pixels, or of those that exist at an odd border.

    Args:
        pixels: The picture, (height, width, channels).
        path: File for the result.
        band: Rows of the result computed at a time.
    """
    height, width, channels = pixels.shape
    result = PixelFile(path, (-(-height // 2), -(-width // 2), channels), pixels.dtype)
    for top in range(0, result.shape[0], band):
        rows = pixels[2 * top : 2 * (top + band)].astype(np.float32 if pixels.dtype.kind == "f" else np.uint32)
        rows = np.pad(rows, ((0, len(rows) % 2), (0, width % 2), (0, 0)), mode="edge")
        quads = rows[::2, ::2] + rows[1::2, ::2] + rows[::2, 1::2] + rows[1::2, 1::2]
        result.write(top, quads / 4 if pixels.dtype.kind == "f" else (quads + 2) // 4)
    return result
