"""Read swatches and prepare them: files or arrays in, (1, 3, H, W) in [0, 1] out."""

from __future__ import annotations

import io
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Union

import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image, ImageCms, ImageOps, UnidentifiedImageError

from texgen.errors import InputError, OptionError
from texgen.files.pixels import rounded

if TYPE_CHECKING:
    from torch import Tensor

MAX_PIXELS = 16384 * 16384
MIN_SIDE = 64
LIGHT_DEGREE, LIGHT_CELLS, LIGHT_FLOOR = 3, 64, 1 / 255
NONE = 255
"""The label of pixels that belong to none: not to be shown, not to be read."""
FORMATS = ("PNG", "JPEG", "WEBP", "TIFF", "TGA", "BMP")
ImageLike = Union[str, Path, Image.Image, np.ndarray, "Tensor"]
"""A file, a Pillow image, an array (H, W, 3) or a tensor (3, H, W) in [0, 1]."""

WIDE_MODES = ("I", "F", "I;16", "I;16B", "I;16L", "I;16N", "I;16S")


class Decoded(NamedTuple):
    """A picture that was read already.

    Attributes:
        name: Of its file or its class, for recipe and messages.
        pixels: As `read_pixels` gives them.
    """

    name: str
    pixels: np.ndarray

    @classmethod
    def of(cls, source: ImageLike, pixels: np.ndarray) -> Decoded:
        """With the name of where it was read from."""
        return cls(name_of(source), pixels)


def name_of(source: ImageLike | Decoded) -> str:
    """A file's name without its folder, or what else the source is."""
    if isinstance(source, Decoded):
        return source.name
    return Path(source).name if isinstance(source, str | Path) else type(source).__name__


def size(source: ImageLike) -> tuple[int, int]:
    """(height, width) of a picture in pixels, as it will be read; of a file only the head is.

    Raises:
        InputError: As `read_pixels`, as far as the head tells.
    """
    if isinstance(source, str | Path):
        with _opened(_content(Path(source)), str(source)) as image:
            width, height = image.size
            sideways = image.getexif().get(ExifTags.Base.Orientation, 1) in (5, 6, 7, 8)
        return (width, height) if sideways else (height, width)
    if isinstance(source, Image.Image):
        return source.height, source.width
    shape = np.shape(source)  # of an array (H, W, ...) or a tensor (..., H, W)
    height, width = shape[:2] if isinstance(source, np.ndarray) else shape[-2:]
    return int(height), int(width)


def read(source: ImageLike) -> Tensor:
    """Read any swatch, as a tensor (1, 3, H, W), float32, in [0, 1]; see `read_pixels`."""
    import torch

    return torch.from_numpy(np.array(read_pixels(source))).permute(2, 0, 1)[None]


def read_pixels(source: ImageLike | Decoded) -> np.ndarray:
    """Read any swatch.

    Args:
        source: A file (PNG, JPEG, WebP, TIFF, TGA, BMP; 8 bits a channel, no transparency), a Pillow image, a uint8
            or float array (H, W, 3), or a float tensor (3, H, W) or (1, 3, H, W) in [0, 1]. EXIF rotation is applied,
            an embedded ICC profile is converted to sRGB, an alpha channel that is opaque everywhere is dropped.

    Returns:
        (H, W, 3), float32, in [0, 1].

    Raises:
        InputError: Missing, empty, truncated, animated, too large, of an unknown format, or with content that 8-bit
            RGB cannot hold (16 bits a channel, transparency).
    """
    if isinstance(source, Decoded):
        return source.pixels
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(source, torch.Tensor):
        values = source if source.ndim == 4 else source[None]
        if values.ndim != 4 or values.shape[:2] != (1, 3) or not values.is_floating_point():
            raise InputError(
                f"tensor of shape {tuple(values.shape)} and {values.dtype}; give a float (3, height, width) in [0, 1]."
            )
        return _checked(values[0].detach().float().cpu().permute(1, 2, 0).numpy())
    if isinstance(source, np.ndarray):
        if source.ndim != 3 or source.shape[2] != 3 or not (source.dtype == np.uint8 or source.dtype.kind == "f"):
            raise InputError(
                f"array of shape {source.shape} and {source.dtype}; give (height, width, 3), uint8 or float in [0, 1]."
            )
        values = source.astype(np.float32)
        if source.dtype == np.uint8:
            values /= np.float32(255)
        return _checked(values)
    if isinstance(source, Image.Image):
        return _from_pillow(source, "image")
    return _read_file(Path(source))  # type: ignore[arg-type]


def _checked(values: np.ndarray) -> np.ndarray:
    if not np.isfinite(values).all() or values.min() < 0 or values.max() > 1:
        raise InputError("image values must be finite and in [0, 1].")
    return values


def _read_file(path: Path) -> np.ndarray:
    return _from_pillow(_opened(_content(path), str(path)), str(path))


def _content(path: Path) -> bytes:
    try:
        content = path.read_bytes()
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file.") from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}).") from error
    if not content:
        raise InputError(f"{path}: the file is empty.")
    return content


def _opened(content: bytes, name: str) -> Image.Image:
    """A picture of which the head was read."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        try:
            return Image.open(io.BytesIO(content), formats=FORMATS)
        except (UnidentifiedImageError, Image.DecompressionBombError, OSError, ValueError, SyntaxError) as error:
            if isinstance(error, Image.DecompressionBombError):
                raise InputError(f"{name}: too many pixels; at most {MAX_PIXELS} are read.") from error
            raise InputError(f"{name}: not an image of a known format ({', '.join(FORMATS)}).") from error


def _from_pillow(image: Image.Image, name: str) -> np.ndarray:
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise InputError(f"{name}: {width}x{height} is too many pixels; at most {MAX_PIXELS} are read.")
    if getattr(image, "n_frames", 1) > 1:
        raise InputError(
            f"{name}: has {getattr(image, 'n_frames', 1)} frames; save the wanted frame as an image of its own."
        )
    _refuse_wide(image, name)
    try:
        image.load()
        upright = ImageOps.exif_transpose(image)
        rgb = _to_srgb(_opaque(upright, name))
    except (OSError, ValueError, SyntaxError, EOFError) as error:
        raise InputError(f"{name}: broken or truncated ({error}).") from error
    values = np.array(rgb, np.float32)
    values /= np.float32(255)
    return values


def _refuse_wide(image: Image.Image, name: str) -> None:
    """Pillow cuts 16-bit RGB files to 8 bits on its own; the file's own header tells."""
    bits: Any = 8
    if image.format == "PNG":
        source = getattr(image, "fp", None)
        bits = source.getbuffer()[24] if isinstance(source, io.BytesIO) else 8
    elif image.format == "TIFF":
        bits = max(np.atleast_1d(image.tag_v2.get(258, 8)))  # type: ignore[attr-defined]
    if image.mode in WIDE_MODES or bits > 8:
        raise InputError(f"{name}: more than 8 bits a channel, which would be lost; save it with 8 bits a channel.")


def _opaque(image: Image.Image, name: str) -> Image.Image:
    if image.has_transparency_data:
        alpha = image.convert("RGBA").getchannel("A")
        if alpha.getextrema() != (255, 255):
            raise InputError(
                f"{name}: has transparency, which would be lost; flatten it or take the alpha channel away."
            )
    return image


def _to_srgb(image: Image.Image) -> Image.Image:
    profile = image.info.get("icc_profile")
    if profile and image.mode in ("RGB", "RGBA", "L", "CMYK"):
        base = image.convert("RGB") if image.mode == "RGBA" else image
        try:
            source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            converted = ImageCms.profileToProfile(base, source, ImageCms.createProfile("sRGB"), outputMode="RGB")
        except ImageCms.PyCMSError:
            converted = None  # a profile for another colour space than the file's: ignored, as viewers do
        if converted is not None:
            return converted
    return image.convert("RGB")


def prepare(
    image: Tensor,
    *,
    crop: Sequence[int] | None = None,
    rotate: int = 0,
    scale: float = 1.0,
    size: int | None = None,
    flatten_light: bool = False,
    name: str = "swatch",
) -> Tensor:
    """Cut, turn, flatten and resize a swatch, in this order. Without options it keeps its pixels 1:1.

    Args:
        image: (1, 3, H, W) in [0, 1].
        crop: (left, top, width, height) in pixels.
        rotate: Degrees counterclockwise: 0, 90, 180 or 270.
        scale: Larger makes the features larger in the result.
        size: Resize the whole swatch to this side, as the published method does; changes its aspect ratio.
        flatten_light: Take slow changes of brightness out, see `flattened`.
        name: For messages.

    Raises:
        OptionError: A crop that lies outside.
        InputError: The prepared swatch has a side under 64 px.
    """
    import torch.nn.functional as F

    rows, columns = _cut(image.shape[-2:], crop)
    image = image[..., rows, columns].rot90(rotate // 90, (2, 3))
    if flatten_light:
        image = flattened(image)
    target = _target(image.shape[-2:], scale, size)
    check_side(name, *target)
    if target != tuple(image.shape[-2:]):
        image = F.interpolate(image, target, mode="bicubic", antialias=True, align_corners=False).clamp(0, 1)
    return image.contiguous()


def check_side(name: str, height: int, width: int) -> None:
    """Refuse a swatch with a side under `MIN_SIDE`."""
    if min(height, width) < MIN_SIDE:
        raise InputError(f"{name}: {width}x{height} px is too small; at least {MIN_SIDE} px a side are needed.")


def prepare_map(
    labels: np.ndarray,
    *,
    crop: Sequence[int] | None = None,
    rotate: int = 0,
    scale: float = 1.0,
    size: int | None = None,
) -> np.ndarray:
    """A map (H, W) of whole numbers, cut, turned and resized as `prepare` does with its swatch, by nearest neighbour."""
    turned = np.rot90(labels[_cut(labels.shape[:2], crop)], rotate // 90)
    height, width = turned.shape
    rows, columns = (
        ((np.arange(wanted) + 0.5) * (have / wanted)).astype(np.int64)
        for have, wanted in zip((height, width), _target((height, width), scale, size), strict=True)
    )
    return np.ascontiguousarray(turned[rows[:, None], columns])


def _cut(shape: Sequence[int], crop: Sequence[int] | None) -> tuple[slice, slice]:
    """What of a swatch (height, width) is used, before it is turned."""
    if crop is None:
        return slice(None), slice(None)
    left, top, w, h = crop
    if min(left, top) < 0 or min(w, h) < 1 or left + w > shape[1] or top + h > shape[0]:
        raise OptionError(f"crop={left},{top},{w},{h} lies outside the {shape[1]}x{shape[0]} swatch.")
    return slice(top, top + h), slice(left, left + w)


def _target(shape: Sequence[int], scale: float, size: int | None) -> tuple[int, int]:
    """(height, width) after resizing from `shape`."""
    height, width = shape
    return (size, size) if size else (round(height * scale), round(width * scale))


def flattened(image: Tensor) -> Tensor:
    """A swatch (1, 3, H, W) without slow changes of brightness: falling light, vignettes.

    The logarithm of the brightness is fitted by a polynomial of degree `LIGHT_DEGREE` in x and y, and the picture divided by
    it: light multiplies what it falls on, in encoded values as well, and so few terms cannot follow the texture itself.
    """
    import torch
    import torch.nn.functional as F

    side = tuple(min(LIGHT_CELLS, n) for n in image.shape[-2:])
    brightness = F.interpolate(image.mean(1, keepdim=True), side, mode="area").clamp_min(LIGHT_FLOOR).log()
    powers = _powers(side).flatten(1).T.double()
    terms = torch.linalg.lstsq(powers, brightness.double().flatten()[:, None]).solution[:, 0]
    terms = terms.mul(1e6).round().div(1e6).float()  # the solver's last bits differ from call to call
    light = torch.einsum("k,khw->hw", terms, _powers(tuple(image.shape[-2:])))
    return (image * torch.exp(light.mean() - light)).clamp(0, 1)


def _powers(size: tuple[int, ...]) -> Tensor:
    """x^i y^j for i + j up to `LIGHT_DEGREE` at cell centres, x and y from -1 to 1, (terms, H, W)."""
    import torch

    y, x = (((torch.arange(n) + 0.5) / n * 2 - 1) for n in size)
    degrees = [(i, j) for i in range(LIGHT_DEGREE + 1) for j in range(LIGHT_DEGREE + 1 - i)]
    return torch.stack([x[None, :] ** i * y[:, None] ** j for i, j in degrees])


def to_integers(image: Tensor, dtype: npt.DTypeLike = np.uint8) -> np.ndarray:
    """(1, 3, H, W) in [0, 1] to (H, W, 3) of an unsigned integer type, rounded; 1 is its largest."""
    return rounded(image[0].permute(1, 2, 0).contiguous().numpy(), dtype)
