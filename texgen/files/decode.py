"""Bytes of a picture to its values, at their own depth: eight bits through Pillow, deeper ones through OpenImageIO."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from PIL import ExifTags, Image, ImageCms, ImageOps, UnidentifiedImageError

from texgen.errors import InputError
from texgen.files import deep
from texgen.files.deep import MAX_PIXELS, Raw, check_size

MAX_BYTES = 4 * 2**30
FORMATS = ("PNG", "JPEG", "WEBP", "TIFF", "TGA", "BMP")
"""That Pillow reads here; OpenImageIO reads EXR and HDR, too."""
MAGIC = {
    b"\x76\x2f\x31\x01": ".exr", b"#?RADIANCE": ".hdr", b"#?RGBE": ".hdr",
    b"II*\0": ".tif", b"MM\0*": ".tif", b"II+\0": ".tif", b"MM\0+": ".tif",
}  # fmt: skip
SHALLOW = {b"\x89PNG": ".png", b"\xff\xd8": ".jpg", b"RIFF": ".webp", b"BM": ".bmp", b"II": ".tif", b"MM": ".tif"}
GREY = ("1", "L", "LA", "La")
WIDE = ("I", "F", "I;16", "I;16B", "I;16L", "I;16N", "I;16S")
"""Pillow's modes of more than eight bits."""


def decode(content: bytes, name: str, layer: str | None = None, data: bool = False) -> Raw:
    """All values of a picture.

    Args:
        content: Of the file.
        name: For messages.
        layer: Of an EXR, or the number of a TIFF's page, from 1.
        data: Whether it holds no colours: palettes and profiles are not looked at.

    Raises:
        InputError: Of an unknown format, broken, truncated, too large, with several pictures of which none is named.
    """
    suffix = _suffix(content, name, layer)
    if data and suffix is None:
        suffix = next((ending for magic, ending in SHALLOW.items() if content.startswith(magic)), ".tga")
    raw = None if suffix is None else deep.read(content, name, suffix, layer, data)
    return eight_bits(_opened(content, name), name) if raw is None else raw


def size_of(content: bytes, name: str, layer: str | None = None) -> tuple[int, int]:
    """(height, width) of a picture, upright; a PNG of eight bits is decoded for it.

    Raises:
        InputError: As `decode`, as far as the head tells.
    """
    suffix = _suffix(content, name, layer)
    if suffix is not None:
        return deep.size_of(content, name, suffix, layer)
    image = _opened(content, name)
    with _broken(name):
        sideways = image.getexif().get(ExifTags.Base.Orientation, 1) in (5, 6, 7, 8)
    return (image.width, image.height) if sideways else (image.height, image.width)


def _suffix(content: bytes, name: str, layer: str | None) -> str | None:
    """Of what OpenImageIO is asked for first; None where Pillow reads it."""
    suffix = next((ending for magic, ending in MAGIC.items() if content.startswith(magic)), None)
    if suffix is None and content.startswith(b"\x89PNG") and content[24:25] == b"\x10":
        suffix = ".png"
    if suffix is None and layer is not None:
        raise InputError(f"{name}: has no layers to choose from; leave #{layer} out.")
    return suffix


def _opened(content: bytes, name: str) -> Image.Image:
    """A picture of which Pillow has read the head."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            image = Image.open(io.BytesIO(content), formats=FORMATS)
        except Image.DecompressionBombError as error:
            raise InputError(f"{name}: too many pixels; at most {MAX_PIXELS} are read.") from error
        except (UnidentifiedImageError, OSError, ValueError, SyntaxError, TypeError, KeyError) as error:
            known = ", ".join((*FORMATS, "EXR", "HDR"))
            raise InputError(f"{name}: not an image of a known format ({known}).") from error
    check_size(image.height, image.width, name)
    frames = getattr(image, "n_frames", 1)
    if frames > 1:
        raise InputError(f"{name}: has {frames} frames; save the wanted frame as an image of its own.")
    if image.mode in WIDE:
        raise InputError(f"{name}: pixels of the kind {image.mode} are not read; save it as PNG, TIFF or EXR.")
    return image


@contextmanager
def _broken(name: str) -> Iterator[None]:
    """Within, whatever Pillow raises on a broken file (struct.error, KeyError, errors of its own ...) is one error."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            yield
        except (MemoryError, InputError):
            raise
        except Exception as error:
            raise InputError(f"{name}: broken or truncated ({error}).") from error


def eight_bits(image: Image.Image, name: str) -> Raw:
    """Grey or RGB, with alpha where it is not opaque throughout; upright; by its profile in sRGB."""
    with _broken(name):
        image.load()
        image = ImageOps.exif_transpose(image)
        alpha = _alpha(image)
        image = _to_srgb(image)
        values = np.asarray(image.convert("L" if image.mode in GREY else "RGB"))
    parts = [values[..., None] if values.ndim == 2 else values]
    return Raw(np.concatenate(parts if alpha is None else [*parts, alpha[..., None]], -1))


def _alpha(image: Image.Image) -> np.ndarray | None:
    """None where all is opaque."""
    if not image.has_transparency_data:
        return None
    alpha = image.convert("RGBA").getchannel("A")
    return None if alpha.getextrema() == (255, 255) else np.asarray(alpha)


def _to_srgb(image: Image.Image) -> Image.Image:
    """By the profile; one for another colour space than the file's is ignored, as viewers do."""
    profile = image.info.get("icc_profile")
    if not profile or image.mode not in ("RGB", "RGBA", "L", "CMYK"):
        return image
    base = image.convert("RGB") if image.mode == "RGBA" else image
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        mode = "L" if image.mode == "L" else "RGB"
        converted = ImageCms.profileToProfile(base, source, ImageCms.createProfile("sRGB"), outputMode="RGB")
        return image if converted is None else converted.convert(mode)
    except ImageCms.PyCMSError:
        return image
