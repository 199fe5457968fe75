"""Bytes of a picture to its values, at their own depth: eight bits through Pillow, deeper ones through OpenImageIO."""

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
"""That Pillow reads here; OpenImageIO reads EXR and HDR, too."""
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
"""Of a pixel that Pillow holds at once, at most: as decoded, converted and copied out."""
MAX_DECODED = 16 * MAX_PIXELS
"""Of an animation, up to the frame that is meant: each is made of those before it."""
_limit = threading.Lock()


def decode(content: bytes, name: str, layer: str | None = None, data: bool = False) -> Raw:
    """All values of a picture.

    Args:
        content: Of the file.
        name: For messages.
        layer: Of an EXR, or the number of a page or frame, from 1.
        data: Whether it holds no colours: palettes and profiles are not looked at.

    Raises:
        InputError: Of an unknown format, broken, truncated, too large, with several pictures of which none is named.
        ResourceError: It takes more memory than is free.
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
    """Of what OpenImageIO is asked for first; None where Pillow reads it."""
    if content.startswith(b"\x89PNG") and content[24:25] == b"\x10":
        if b"acTL" in content[: max(0, content.find(b"IDAT"))]:
            raise InputError(f"{name}: is an animation of 16 bits; save the wanted frame as a PNG of its own.")
        return ".png"
    return next((ending for magic, ending in MAGIC.items() if content.startswith(magic)), None)


def _opened(content: bytes, name: str, layer: str | None) -> Image.Image:
    """A picture of which Pillow has read the head, at the frame that is meant."""
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
        frames = 1 if image.format == "MPO" else getattr(image, "n_frames", 1)  # a JPEG's others are previews
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
    """Within, in one thread at once, Pillow warns of nothing, and its limit of pixels is ours: it refuses what is over twice its number."""
    with _limit, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        kept, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, MAX_PIXELS // 2
        try:
            yield
        finally:
            Image.MAX_IMAGE_PIXELS = kept


@contextmanager
def _broken(name: str) -> Iterator[None]:
    """Within, whatever Pillow raises on a broken file (struct.error, KeyError, errors of its own ...) is one error."""
    with own_limit():
        try:
            yield
        except (MemoryError, TexgenError):
            raise
        except Exception as error:
            raise InputError(f"{name}: broken or truncated ({error}).") from error


def eight_bits(image: Image.Image, name: str) -> Raw:
    """Grey or RGB, with alpha where it is not opaque throughout; upright; by its profile in sRGB."""
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
    """None where all is opaque."""
    if not image.has_transparency_data:
        return None
    alpha = image.convert("RGBA").getchannel("A")
    return None if alpha.getextrema() == (255, 255) else np.asarray(alpha)


def _to_srgb(image: Image.Image, profile: bytes) -> Image.Image | None:
    """RGB, grey or CMYK by its profile; None where that is broken, or one for pictures of another kind."""
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        return ImageCms.profileToProfile(image, source, ImageCms.createProfile("sRGB"), outputMode="RGB")
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return None
