"""Read rows of a picture's file on demand, so that it is never whole in memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from texgen.files.high_depth import KINDS, check_spec, dtype_of, opened, refused
from texgen.files.inputs import note
from texgen.files.limits import check_file


class PictureRows:
    """A picture (height, width, channels) in a file, at its own depth; colours are not converted.

    Args:
        path: A PNG, TIFF, EXR, ...

    Attributes:
        tiled: Whether the file is stored in tiles; if so, rows cannot be read.

    Raises:
        InputError: The file is missing, of an unknown format or too large; or, when rows are read, broken or truncated.
    """

    def __init__(self, path: Path) -> None:
        import OpenImageIO as oiio

        check_file(path)
        note(path)
        self.path, file = path, opened(path)
        if file is None:
            raise refused(str(path), oiio.geterror)
        self._file, spec = file, file.spec()
        check_spec(spec, str(path))
        self.shape = (spec.height, spec.width, spec.nchannels)
        self.dtype: np.dtype[Any] = dtype_of(spec)
        self.tiled = spec.tile_width > 0
        self._first = spec.y

    def __getitem__(self, rows: slice) -> np.ndarray:
        top, bottom, _ = rows.indices(self.shape[0])
        if top >= bottom:
            return np.empty((0, *self.shape[1:]), self.dtype)
        kind = KINDS[self.dtype.name]
        read = self._file.read_scanlines(self._first + top, self._first + bottom, 0, 0, self.shape[2], kind)
        if read is None:
            raise refused(str(self.path), self._file.geterror)
        return np.asarray(read).reshape(-1, *self.shape[1:])
