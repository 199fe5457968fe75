"""Write image files: PNG and EXR through OpenImageIO and TIFF through tifffile in rows, JPEG and WebP through Pillow whole."""

from __future__ import annotations

import errno
import math
import os
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from texgen.files.high_depth import KINDS, utf8_name
from texgen.files.icc import srgb_profile
from texgen.files.pixels import Pixels, halved

if TYPE_CHECKING:
    import tifffile

BAND = 512
TIFF_TILE = 512
SMALLEST_LEVEL = 512
BIG = 2**31
"""Bytes of pixels above which a TIFF is a BigTIFF: with the levels of a pyramid, its offsets may exceed 4 GiB."""
PNG_LEVEL, JPEG_QUALITY = 4, 95
INCH = 0.0254
UNWANTED = (b"eXIf", b"oFFs")
"""Useless chunks that OpenImageIO writes into every PNG: EXIF that is empty or has a density without unit, and an offset of 0."""
MOVED = 1 << 24
"""Bytes of a file that `_drop_unwanted` moves at once."""


@dataclass(frozen=True, kw_only=True)
class Tags:
    """What a picture's file says in addition to its pixels.

    Attributes:
        recipe: Text, stored as `texgen` in a PNG or EXR, as ImageDescription in a TIFF or EXIF.
        data: Whether the values are data; otherwise they are colours, and integers are marked as sRGB.
        density: Pixels per metre; None if unknown.
    """

    recipe: str | None = None
    data: bool = False
    density: float | None = None


def write_image(path: Path, kind: str, pixels: Pixels, tags: Tags, pyramid: bool = False) -> None:
    """Write a picture; a PNG, EXR or TIFF in bands of rows, so that memory does not grow with its size.

    Args:
        path: File to write; its suffix does not matter.
        kind: Format: `PNG`, `JPEG`, `TIFF`, `WEBP` or `EXR`.
        pixels: The picture, (height, width, channels), of a depth that the format holds, see `targets.check_target`.
        tags: What else the file says.
        pyramid: Whether to add halved levels to a TIFF, down to `SMALLEST_LEVEL` px, as SubIFDs.
    """
    if kind == "TIFF":
        _write_tiff(path, pixels, tags, pyramid)
    elif kind in ("PNG", "EXR"):
        _write_rows(path, kind, pixels, _attributes(kind, tags))
    else:
        _write_whole(path, kind, pixels, tags)


def _attributes(kind: str, tags: Tags) -> dict[str, str | float]:
    """Tags by OpenImageIO's names; a PNG holds a whole number of pixels per metre."""
    found: dict[str, str | float] = {"oiio:ColorSpace": "data"} if tags.data else {}
    if tags.density is not None:
        whole = (round(tags.density) + 0.25) / 100  # OpenImageIO cuts the fraction off
        unit, many = ("cm", whole) if kind == "PNG" else ("in", tags.density * INCH)
        found |= {"XResolution": many, "YResolution": many, "ResolutionUnit": unit}
    return found if tags.recipe is None else found | {"texgen": tags.recipe}


def _write_rows(path: Path, kind: str, pixels: Pixels, attributes: Mapping[str, str | float]) -> None:
    import OpenImageIO as oiio

    height, width, channels = pixels.shape
    spec = oiio.ImageSpec(width, height, channels, KINDS[str(pixels.dtype)])
    spec.attribute("oiio:UnassociatedAlpha", 1)
    if kind == "PNG":
        spec.attribute("png:compressionLevel", PNG_LEVEL)
    else:
        spec.attribute("compression", "zip")
        spec.attribute("DateTime", "")  # by default the time of writing, so that no two files would be the same
    for name, value in attributes.items():
        spec.attribute(name, value)
    file = oiio.ImageOutput.create(kind.lower())
    assert file is not None, f"OpenImageIO was built without {kind}"
    with utf8_name(path) as place:
        written = file.open(place, spec)
    for top in range(0, height, BAND):
        rows = pixels[top : top + BAND]
        written = written and file.write_scanlines(top, top + len(rows), 0, np.ascontiguousarray(rows))
    whole = _is_whole_png if kind == "PNG" else _is_whole_exr
    if not (file.close() and written and whole(path)):
        raise OSError(errno.EIO, f"the file is cut short; {file.geterror() or 'the disk may be full'}")
    if kind == "PNG":
        _drop_unwanted(path)


def _drop_unwanted(path: Path) -> None:
    """Remove the `UNWANTED` chunks from a complete PNG, in place."""
    with path.open("rb+") as file:
        head, dropped = bytearray(file.read(8)), 0
        while True:
            chunk = file.read(8)
            if chunk[4:] == b"IDAT":
                break
            chunk += file.read(int.from_bytes(chunk[:4]) + 4)
            if chunk[4:8] in UNWANTED:
                dropped += len(chunk)
            else:
                head += chunk
        if not dropped:
            return
        place = len(head)
        file.seek(0)
        file.write(head)
        file.seek(place + dropped)
        while rest := file.read(MOVED):
            file.seek(place)
            place += file.write(rest)
            file.seek(place + dropped)
        file.truncate(place)


def _is_whole_png(path: Path) -> bool:
    """Whether a PNG has all its chunks: OpenImageIO does not report that the disk refused some of them."""
    with path.open("rb") as file:
        position, name = file.seek(8), b""
        while name != b"IEND":
            header = file.read(8)
            if len(header) < 8:
                return False
            name = header[4:]
            position = file.seek(position + 12 + int.from_bytes(header[:4]))
        return position == file.seek(0, os.SEEK_END)


EXR_MAGIC = b"\x76\x2f\x31\x01"


def _is_whole_exr(path: Path) -> bool:
    """Whether an EXR has the offsets of all its chunks, and the last chunk: OpenEXR does not report failed writes when it closes the file."""
    with path.open("rb") as file:
        start = file.read(8)
        while name := _text(file):
            _text(file)
            file.seek(int.from_bytes(file.read(4), "little"), os.SEEK_CUR)
        table = file.tell()
        first = int.from_bytes(file.read(8), "little")
        file.seek(table)
        found = file.read(max(0, first - table))
        places = np.frombuffer(found[: len(found) // 8 * 8], "<u8")
        if start[:4] != EXR_MAGIC or name is None or len(found) != first - table or not places.all():
            return False
        last = int(places.max())
        file.seek(last + 4)
        return last + 8 + int.from_bytes(file.read(4), "little") == file.seek(0, os.SEEK_END)


def _text(file: BinaryIO) -> bytes | None:
    """Bytes up to the next 0; None if the file ends before that."""
    found = bytearray()
    while (byte := file.read(1)) != b"\0":
        if not byte:
            return None
        found += byte
    return bytes(found)


def _write_tiff(path: Path, pixels: Pixels, tags: Tags, pyramid: bool) -> None:
    import tifffile

    profile = None if tags.data or pixels.dtype.kind == "f" or pixels.shape[2] < 3 else srgb_profile()
    levels = pyramid_levels(pixels.shape[0], pixels.shape[1]) if pyramid else 0
    with (
        tempfile.TemporaryDirectory(dir=path.parent, prefix=f"{path.name}.") as folder,
        tifffile.TiffWriter(path, bigtiff=math.prod(pixels.shape) * pixels.dtype.itemsize > BIG) as file,
    ):
        size = {} if tags.density is None else {"resolution": (tags.density / 100,) * 2, "resolutionunit": "CENTIMETER"}
        _write_level(file, pixels, subifds=levels, description=tags.recipe, iccprofile=profile, **size)
        for level in range(levels):
            pixels = halved(pixels, Path(folder) / str(level))
            _write_level(file, pixels, subfiletype=1)


def pyramid_levels(height: int, width: int) -> int:
    """Number of halvings until neither side is over `SMALLEST_LEVEL`.

    Example:
        >>> pyramid_levels(2048, 1024), pyramid_levels(512, 512)
        (2, 0)
    """
    return max(0, (max(height, width) - 1) // SMALLEST_LEVEL).bit_length()


def _write_level(file: tifffile.TiffWriter, pixels: Pixels, **options: object) -> None:
    tile = (TIFF_TILE, TIFF_TILE) if max(pixels.shape) > TIFF_TILE else None
    height, width, channels = pixels.shape
    shape = (height, width, channels) if channels > 1 else (height, width)  # else tifffile takes rows for pages
    file.write(
        pixels[0:height].reshape(shape) if tile is None else _tiles(pixels), shape=shape, dtype=pixels.dtype, tile=tile,
        photometric="rgb" if channels in (3, 4) else "minisblack", planarconfig="contig" if channels > 1 else None, compression="zlib",
        predictor=pixels.dtype.kind == "u", metadata=None, software="texgen",
        extrasamples=["unassalpha"] if channels in (2, 4) else None, **options,
    )  # fmt: skip


def _tiles(pixels: Pixels) -> Iterator[np.ndarray]:
    """Tiles row by row from the top; those at the border are cut short."""
    height, width, channels = pixels.shape
    for top in range(0, height, TIFF_TILE):
        rows = pixels[top : top + TIFF_TILE]
        for left in range(0, width, TIFF_TILE):
            tile = np.ascontiguousarray(rows[:, left : left + TIFF_TILE])
            yield tile if channels > 1 else tile[..., 0]


def _write_whole(path: Path, kind: str, pixels: Pixels, tags: Tags) -> None:
    from PIL import ExifTags, Image

    exif = Image.Exif()
    if tags.recipe is not None:
        exif[ExifTags.Base.ImageDescription] = tags.recipe
    if tags.density is not None:
        exif[ExifTags.Base.XResolution] = exif[ExifTags.Base.YResolution] = round(tags.density / 100, 3)
        exif[ExifTags.Base.ResolutionUnit] = 3  # centimetres
    options = {"quality": JPEG_QUALITY, "subsampling": 0} if kind == "JPEG" else {"lossless": True}
    whole = pixels[0 : pixels.shape[0]]
    picture = Image.fromarray(whole[..., 0] if whole.shape[2] == 1 else whole)
    profile = None if tags.data or picture.mode not in ("RGB", "RGBA") else srgb_profile()
    picture.save(path, kind, exif=exif.tobytes() if exif else b"", icc_profile=profile, **options)
