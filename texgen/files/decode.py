"""Decode the bytes of a picture to values of its own depth: 8 bits through Pillow, deeper ones through OpenImageIO."""

from __future__ import annotations

import io
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from PIL import ExifTags, Image, ImageCms, ImageOps, UnidentifiedImageError

from texgen.errors import InputError, ResourceError, TexgenError
from texgen.files import high_depth
from texgen.files.high_depth import SEEN_BYTES, Raw
from texgen.files.icc import warn_ignored
from texgen.files.limits import ALLOWED, MAX_PIXELS, check_memory, check_size

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "TIFF", "TGA", "BMP")
"""Formats that Pillow reads; OpenImageIO also reads EXR and HDR."""
MAGIC = {
    b"\x76\x2f\x31\x01": ".exr", b"#?RADIANCE": ".hdr", b"#?RGBE": ".hdr",
    b"II*\0": ".tif", b"MM\0*": ".tif", b"II+\0": ".tif", b"MM\0+": ".tif",
}  # fmt: skip
SHALLOW = {
    b"\x89PNG": ".png", b"\xff\xd8": ".jpg", b"RIFF": ".webp", b"GIF8": ".gif", b"BM": ".bmp", b"II": ".tif", b"MM": ".tif",
}  # fmt: skip
GREY = ("1", "L", "LA", "La")
WIDE = ("I", "F", "I;16", "I;16B", "I;16L", "I;16N", "I;16S")
"""Pillow's modes of more than eight bits."""
PILLOW_BYTES = 12
"""Most bytes per pixel that Pillow holds at once: decoded, converted and copied."""
MAX_DECODED = 16 * MAX_PIXELS
"""Most pixels of an animation up to the wanted frame: each frame builds on those before it."""
_limit = threading.Lock()


def decode(content: bytes, name: str, layer: str | None = None, data: bool = False) -> Raw:
    """All values of a picture.

    Args:
        content: Bytes of the file.
        name: Name for messages.
        layer: Layer of an EXR, or number of a page or frame, from 1.
        data: Whether the picture holds data instead of colours; palettes and profiles are then ignored.

    Raises:
        InputError: The format is unknown, the file is broken, truncated or too large, or it holds several pictures and `layer` names none.
        ResourceError: The picture takes more memory than is free.
    """
    suffix = _suffix(content, name)
    if data and suffix is None:
        suffix = next((ending for magic, ending in SHALLOW.items() if content.startswith(magic)), ".tga")
    try:
        raw = None if suffix is None else high_depth.read(content, name, suffix, layer, data)
        return eight_bits(_opened(content, name, layer), name) if raw is None else raw
    except MemoryError as error:
        raise ResourceError(
            f"{name}: reading it takes more memory than there is; crop or shrink the picture."
        ) from error


def _suffix(content: bytes, name: str) -> str | None:
    """Suffix of a file that OpenImageIO should try first; None if Pillow reads it."""
    if content.startswith(b"\x89PNG") and content[24:25] == b"\x10":
        if b"acTL" in content[: max(0, content.find(b"IDAT"))]:
            raise InputError(f"{name}: is an animation of 16 bits; save the wanted frame as a PNG of its own.")
        return ".png"
    return next((ending for magic, ending in MAGIC.items() if content.startswith(magic)), None)


def _opened(content: bytes, name: str, layer: str | None) -> Image.Image:
    """A picture opened by Pillow at the wanted frame, not yet decoded."""
    try:
        with own_limit():
            image = Image.open(io.BytesIO(content), formats=FORMATS)
    except Image.DecompressionBombError as error:
        raise InputError(f"{name}: too many pixels; {ALLOWED}: crop or shrink the picture.") from error
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError, TypeError, KeyError) as error:
        known = ", ".join((*FORMATS, "EXR", "HDR"))
        raise InputError(f"{name}: not an image of a known format ({known}).") from error
    check_size(image.height, image.width, len(image.getbands()), name)
    with _broken(name):
        frames = (
            1 if image.format == "MPO" else getattr(image, "n_frames", 1)
        )  # the other frames of a JPEG are previews
        if layer is None and frames > 1:
            raise InputError(f"{name}: holds {frames} frames; name the wanted one: {name}#1.")
        if layer is not None and frames == 1:
            raise InputError(f"{name}: has no layers to choose from; leave #{layer} out.")
        if layer is not None and not (layer.isdecimal() and 1 <= int(layer) <= frames):
            raise InputError(f"{name}: has no frame {layer!r}; it has 1 to {frames}.")
        if layer is not None and int(layer) * image.width * image.height > MAX_DECODED:
            raise InputError(f"{name}: too many frames come before it; save the wanted one as a picture of its own.")
        if layer is not None:
            image.seek(int(layer) - 1)
    if image.mode in WIDE:
        raise InputError(f"{name}: pixels of the kind {image.mode} are not read; save it as PNG, TIFF or EXR.")
    return image


@contextmanager
def own_limit() -> Iterator[None]:
    """Silence Pillow's warnings and make it refuse more than `MAX_PIXELS`, which is twice the limit it is given; one thread at a time."""
    with _limit, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        kept, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, MAX_PIXELS // 2
        try:
            yield
        finally:
            Image.MAX_IMAGE_PIXELS = kept


@contextmanager
def _broken(name: str) -> Iterator[None]:
    """Turn whatever Pillow raises on a broken file (struct.error, KeyError, its own errors, ...) into an `InputError`."""
    with own_limit():
        try:
            yield
        except (MemoryError, TexgenError):
            raise
        except Exception as error:
            raise InputError(f"{name}: broken or truncated ({error}).") from error


def eight_bits(image: Image.Image, name: str) -> Raw:
    """An image as 8-bit grey or RGB, upright and converted to sRGB by its profile; with alpha unless it is opaque everywhere."""
    check_size(image.height, image.width, len(image.getbands()), name)
    check_memory(image.height * image.width * (PILLOW_BYTES + SEEN_BYTES), name)
    with _broken(name):
        image.load()
        if image.getexif().get(ExifTags.Base.Orientation, 1) != 1:
            image = ImageOps.exif_transpose(image)
        alpha = _alpha(image)
        profile = image.info.get("icc_profile")
        plain = image if image.mode == "CMYK" else image.convert("L" if image.mode in GREY else "RGB")
        converted = _to_srgb(plain, profile) if profile else None
        values = np.asarray((plain if converted is None else converted).convert("L" if plain.mode == "L" else "RGB"))
    if profile and converted is None:
        warn_ignored(name)
    parts = [values[..., None] if values.ndim == 2 else values]
    return Raw(np.concatenate(parts if alpha is None else [*parts, alpha[..., None]], -1))


def _alpha(image: Image.Image) -> np.ndarray | None:
    """Alpha (H, W), uint8; None if it is opaque everywhere."""
    if not image.has_transparency_data:
        return None
    alpha = image.convert("RGBA").getchannel("A")
    return None if alpha.getextrema() == (255, 255) else np.asarray(alpha)


def _to_srgb(image: Image.Image, profile: bytes) -> Image.Image | None:
    """An RGB, grey or CMYK image converted by its profile; None if the profile is broken or for another kind of picture."""
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        return ImageCms.profileToProfile(image, source, ImageCms.createProfile("sRGB"), outputMode="RGB")
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return None
