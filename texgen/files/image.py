"""Read any picture at its own depth: a file, bytes, an array, a tensor or a Pillow image."""

from __future__ import annotations

import hashlib
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, TYPE_CHECKING, Union

import numpy as np
from PIL import Image

from texgen.errors import InputError
from texgen.files import icc
from texgen.files.decode import WIDE, decode, eight_bits
from texgen.files.encoding import Encoding, as_seen
from texgen.files.high_depth import Raw
from texgen.files.inputs import note
from texgen.files.limits import MAX_BYTES, check_file

if TYPE_CHECKING:
    from torch import Tensor

ImageLike = Union[str, Path, bytes, IO[bytes], Image.Image, np.ndarray, "Tensor", "Picture"]
"""A file, its bytes, a file object, a Pillow image, an array (H, W, channels) or a tensor (channels, H, W) in [0, 1]."""


@dataclass(frozen=True)
class Picture:
    """A picture that was read.

    Attributes:
        name: Name of its file or class, for recipes and messages.
        pixels: Pixels as they are seen, see `Encoding`: (H, W, 3) or, with alpha, (H, W, 4), float32.
        encoding: How it was stored.
        sha256: Hash of the file's bytes; None for arrays, tensors and Pillow images.
        file: Path that it was read from; None if it was not given as a path.
    """

    name: str
    pixels: np.ndarray
    encoding: Encoding = field(default_factory=Encoding)
    sha256: str | None = None
    file: Path | None = None

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        return self.pixels.shape[0], self.pixels.shape[1]


def name_of(source: ImageLike) -> str:
    """Name of a file without its folder, or of the source's class."""
    if isinstance(source, Picture):
        return source.name
    return Path(source).name if isinstance(source, str | Path) else type(source).__name__


def read(source: ImageLike) -> Tensor:
    """Read a picture's colours as a tensor (1, 3, H, W), float32; see `read_pixels`."""
    import torch

    return torch.from_numpy(np.array(read_pixels(source))).permute(2, 0, 1)[None]


def read_pixels(source: ImageLike) -> np.ndarray:
    """Read a picture's colours, (H, W, 3), float32, sRGB-encoded; transparent pixels are shown on white.

    Raises:
        InputError: See `read_picture`.
    """
    pixels = read_picture(source).pixels
    return pixels if pixels.shape[2] == 3 else pixels[..., :3] + (1 - pixels[..., 3:])


def read_picture(source: ImageLike) -> Picture:
    """Read any picture, at its own depth.

    Files may be PNG, TIFF, EXR, HDR, JPEG, WebP, GIF, TGA or BMP, of 8 or 16 bits or floats, grey, RGB, CMYK or with a palette. A layer of an EXR,
    a page of a TIFF or a frame of an animation is named after the file: `render.exr#diffuse`, `scan.tif#2`. EXIF rotation is applied. Colours with an
    ICC profile are converted to sRGB; a broken profile is ignored with a warning. An alpha channel that is opaque everywhere is dropped.
    Arrays hold sRGB-encoded values, integers or floats in [0, 1]; Pillow images of mode `F` hold linear light.

    Args:
        source: See `ImageLike`.

    Raises:
        InputError: The file is missing, not a regular file, empty, broken, of an unknown format, or over the budget of `texgen.files.limits`;
            it holds several pictures and none is named; or values are NaN or infinite.
        ResourceError: Reading the picture takes more memory than is free.
    """
    if isinstance(source, Picture):
        note(source.file)
        return source
    if isinstance(source, str | Path):
        path, layer = _located(source)
        return replace(_decoded(_content(path), str(source), path.name, layer), file=path)
    if isinstance(source, bytes):
        return _decoded(source, "bytes", "bytes", None)
    note(getattr(source, "filename" if isinstance(source, Image.Image) else "name", None))
    if hasattr(source, "read") and not isinstance(source, Image.Image):
        content = source.read(MAX_BYTES + 1)
        if not isinstance(content, bytes) or not 0 < len(content) <= MAX_BYTES:
            raise InputError(f"file object: gives no bytes, or more than {MAX_BYTES}; open the file as binary.")
        return _decoded(content, "file object", name_of(source), None)
    light = isinstance(source, Image.Image) and source.mode == "F"
    values = _pillow_values(source) if isinstance(source, Image.Image) else _array_values(source)  # type: ignore[arg-type]
    encoding = Encoding.of(values.dtype if values.dtype.kind == "u" or light else np.uint8, values.shape[2])
    return Picture(name_of(source), _seen(Raw(values), name_of(source), encoded=not light), encoding)


def read_raw(source: str | Path | np.ndarray) -> np.ndarray:
    """Read values that are not colours, (H, W, channels), at their own depth, exactly as the file holds them.

    Raises:
        InputError: See `read_picture`.
    """
    if isinstance(source, np.ndarray):
        return source
    if not isinstance(source, str | Path):
        raise InputError(f"{type(source).__name__}: is no map; give a file or an array.")
    path, layer = _located(source)
    return decode(_content(path), str(source), layer, data=True).values


def _located(source: str | Path) -> tuple[Path, str | None]:
    """A file, and the layer named after it, if any."""
    path = Path(source)
    if "#" not in path.name or path.exists():
        return path, None
    name, _, layer = path.name.rpartition("#")
    return path.with_name(name), layer


def _content(path: Path) -> bytes:
    check_file(path)
    note(path)
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}).") from error


def _decoded(content: bytes, told: str, name: str, layer: str | None) -> Picture:
    raw = decode(content, told, layer)
    values = raw.values
    return Picture(
        name, _seen(raw, told), Encoding.of(values.dtype, values.shape[2]), hashlib.sha256(content).hexdigest()
    )


def _pillow_values(image: Image.Image) -> np.ndarray:
    """Values (H, W, channels). Mode `I`, of 32 bits, is read as 16 bits; mode `F` is linear light, like floats in a file."""
    if image.mode not in WIDE:
        return eight_bits(image, "image").values
    values = np.asarray(image)
    if image.mode == "F":
        return values[..., None]
    if values.min() < 0 or values.max() > 65535:
        raise InputError(
            f"image: values of the kind {image.mode} from {values.min()} to {values.max()}; give them from 0 to 65535, or an array "
            "of floats in [0, 1]."
        )
    return values.astype(np.uint16)[..., None]


def _array_values(source: np.ndarray | Tensor) -> np.ndarray:
    """Values (H, W, channels), uint8, uint16, or float32 in [0, 1]."""
    torch, array = sys.modules.get("torch"), source
    if torch is not None and isinstance(source, torch.Tensor):
        array = source.detach().cpu()
        array = (
            (array[0] if array.ndim == 4 and len(array) == 1 else array).float().numpy()
            if array.is_floating_point()
            else array.numpy()
        )
        array = np.moveaxis(array, 0, -1) if array.ndim == 3 else array
    if not isinstance(array, np.ndarray):
        raise InputError(
            f"{type(source).__name__}: is no picture; give a file, bytes, a Pillow image, an array or a tensor."
        )
    values = array[..., None] if array.ndim == 2 else array
    known = values.dtype in (np.uint8, np.uint16) or values.dtype.kind == "f"
    if values.ndim != 3 or not 1 <= values.shape[2] <= 4 or 0 in values.shape or not known:
        kind = "tensor" if array is not source else "array"
        shape = "(channels, height, width)" if array is not source else "(height, width, channels)"
        raise InputError(
            f"{kind} of shape {tuple(source.shape)} and {source.dtype}; give {shape} of 1 to 4 channels, uint8, uint16 or float in [0, 1]."
        )
    if values.dtype.kind == "f":
        values = values.astype(np.float32)
        if not np.isfinite(values).all() or values.min() < 0 or values.max() > 1:
            raise InputError("image values must be finite and in [0, 1].")
    return values


def _seen(raw: Raw, name: str, encoded: bool = False) -> np.ndarray:
    """Values as they are seen, see `Encoding`. Floats are linear light unless they are `encoded`."""
    values, profile = raw.values, raw.icc
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        raise InputError(f"{name}: holds NaN or infinite values.")
    convert = None if profile is None else icc.to_srgb(profile)
    if profile is not None and convert is None:
        icc.warn_ignored(name)
    return as_seen(values, light=values.dtype.kind == "f" and not encoded, convert=convert)
