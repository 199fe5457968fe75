"""A picture's file of which rows are read when they are asked for, so that it is never whole in memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from texgen.errors import InputError
from texgen.files.deep import MAX_PIXELS

DTYPES = {"uint8": np.uint8, "uint16": np.uint16, "half": np.float16}
"""What OpenImageIO's depths are read as; all others as float32."""


class PictureRows:
    """A picture (height, width, channels) in a file, at its own depth; no colours are converted.

    Args:
        path: PNG, TIFF, EXR, ...

    Attributes:
        tiled: Whether the file is kept in tiles; its rows cannot be read.

    Raises:
        InputError: Missing, of an unknown format, or too large; when rows are read, broken or truncated.
    """

    def __init__(self, path: Path) -> None:
        import OpenImageIO as oiio

        if not path.is_file():
            raise InputError(f"{path}: no such file.")
        config = oiio.ImageSpec()
        config.attribute("oiio:UnassociatedAlpha", 1)
        self.path = path
        file = oiio.ImageInput.open(str(path), config)
        if file is None:
            raise InputError(f"{path}: cannot be read ({oiio.geterror().splitlines()[0] or 'unknown format'}).")
        self._file, spec = file, file.spec()
        if spec.width * spec.height > MAX_PIXELS:
            raise InputError(f"{path}: {spec.width}x{spec.height} is too many pixels; at most {MAX_PIXELS} are read.")
        self.shape = (spec.height, spec.width, spec.nchannels)
        self.dtype: np.dtype[Any] = np.dtype(DTYPES.get(str(spec.format), np.float32))
        self.tiled = spec.tile_width > 0
        self._first = spec.y

    def __getitem__(self, rows: slice) -> np.ndarray:
        top, bottom, _ = rows.indices(self.shape[0])
        if top >= bottom:
            return np.empty((0, *self.shape[1:]), self.dtype)
        kind = "half" if self.dtype == np.float16 else "float" if self.dtype == np.float32 else str(self.dtype)
        read = self._file.read_scanlines(self._first + top, self._first + bottom, 0, 0, self.shape[2], kind)
        if read is None:
            raise InputError(f"{self.path}: broken or truncated ({self._file.geterror()}).")
        return np.asarray(read).reshape(-1, *self.shape[1:])
