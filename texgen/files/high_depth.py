"""Read pictures of 16 bits and floats, with layers and pages, through OpenImageIO."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from texgen.errors import InputError, disk_errors
from texgen.files.limits import ALLOWED, check_memory, check_size
from texgen.files.pixels import unit_of

KINDS = {"uint8": "uint8", "uint16": "uint16", "float16": "half", "float32": "float"}
"""OpenImageIO's name of each dtype."""
WHOLE = ("int8", "int16", "uint", "int", "uint64", "int64")
"""OpenImageIO's names of integer types that are refused, as no value of theirs is known to stand for 1."""
SEEN_BYTES = 16
"""Most bytes of a pixel as it is seen, see `encoding.Encoding`."""
UPRIGHT = {2: (0, True), 3: (2, False), 4: (2, True), 5: (1, True), 6: (3, False), 7: (3, True), 8: (1, False)}
"""Quarter turns counterclockwise, and whether to mirror sideways first, for each EXIF orientation."""


@dataclass(frozen=True)
class Raw:
    """Values of a picture.

    Attributes:
        values: Pixels, (H, W, channels), uint8, uint16, float16 or float32. Colours have 1 to 4 channels; the last of 2 or 4 is alpha.
        icc: Profile from which the colours must still be converted, if any.
    """

    values: np.ndarray
    icc: bytes | None = None


def read(content: bytes, name: str, suffix: str, layer: str | None, data: bool) -> Raw | None:
    """All values of a picture; None for 8-bit colours without a named layer, which Pillow reads with their palettes and profiles.

    Args:
        content, name, layer, data: See `decode.decode`.
        suffix: Suffix of files of this format.

    Raises:
        InputError: See `decode.decode`.
    """
    with _chosen_part(content, name, suffix, layer, data) as (file, spec, channels):
        dtype = dtype_of(spec)
        if dtype == np.uint8 and layer is None and not data:
            return None
        pixel_bytes = spec.nchannels * dtype.itemsize
        check_memory(spec.height * spec.width * (2 * pixel_bytes + (0 if data else SEEN_BYTES)), name)
        values = file.read_image(KINDS[dtype.name])
        if values is None:
            raise refused(name, file.geterror)
        values = np.asarray(values).reshape(spec.height, spec.width, spec.nchannels)[..., channels]
        turns, mirrored = UPRIGHT.get(spec.get_int_attribute("Orientation", 1), (0, False))
        icc = None if data or dtype.kind == "f" else spec.getattribute("ICCProfile")
    values = np.ascontiguousarray(np.rot90(values[:, ::-1] if mirrored else values, turns))
    if values.shape[2] in (2, 4) and not data and (values[..., -1] == unit_of(dtype)).all():
        values = values[..., :-1]
    return Raw(values, None if icc is None else bytes(icc))


def check_spec(spec: Any, name: str) -> None:
    """Refuse a picture over the budget, or of integers that are not in `KINDS`."""
    if str(spec.format) in WHOLE:
        raise InputError(f"{name}: holds {spec.format} values; save it with 8 or 16 bits without sign, or as floats.")
    check_size(spec.height, spec.width, spec.nchannels * dtype_of(spec).itemsize, name)


def dtype_of(spec: Any) -> np.dtype[Any]:
    """The dtype that a picture's values are read as: float32 if theirs is not in `KINDS`."""
    return np.dtype(next((name for name, kind in KINDS.items() if kind == str(spec.format)), np.float32))


def opened(path: Path | str) -> Any:
    """An OpenImageIO input; None if it cannot be opened."""
    import OpenImageIO as oiio

    config = oiio.ImageSpec()
    config.attribute("oiio:UnassociatedAlpha", 1)
    with utf8_name(path) as name:
        return oiio.ImageInput.open(name, config)


@contextmanager
def utf8_name(path: Path | str) -> Iterator[str]:
    """Yield a name that OpenImageIO accepts: the file's own, or that of a link to it if its own is not UTF-8."""
    if not any("\udc80" <= letter <= "\udcff" for letter in str(path)):
        yield str(path)
        return
    with tempfile.TemporaryDirectory() as folder:
        link = Path(folder) / f"link{Path(path).suffix}"
        link.symlink_to(Path(path).absolute())
        yield str(link)


@contextmanager
def _chosen_part(
    content: bytes, name: str, suffix: str, layer: str | None, data: bool
) -> Iterator[tuple[Any, Any, list[int]]]:
    """Yield an OpenImageIO input at the wanted layer, its specification, and the indices of the wanted channels."""
    import OpenImageIO as oiio

    with disk_errors(Path(tempfile.gettempdir())):
        handle, path = tempfile.mkstemp(suffix)  # OpenImageIO's Python module cannot read from memory
    try:
        with disk_errors(Path(path)), os.fdopen(handle, "wb") as copy:
            copy.write(content)
        file = opened(path)
        if file is None:
            raise refused(name, oiio.geterror)
        try:
            channels = _chosen(file, name, layer, data)
            spec = file.spec()
            check_spec(spec, name)
            yield file, spec, channels
        except UnicodeDecodeError as error:  # names, attributes or messages that are not text
            raise InputError(f"{name}: broken or truncated (its names are no text).") from error
        finally:
            file.close()
    finally:
        os.unlink(path)  # noqa: PTH108


def _chosen(file: Any, name: str, layer: str | None, data: bool) -> list[int]:
    """Seek the wanted picture, and return the indices of its channels, colours before alpha."""
    specs = [file.spec()]
    while file.seek_subimage(len(specs), 0):
        specs.append(file.spec())
    page, prefix = _meant(specs, name, layer)
    file.seek_subimage(page, 0)
    return _colours(specs[page], prefix, name, data)


def _meant(specs: Sequence[Any], name: str, layer: str | None) -> tuple[int, str]:
    """The wanted page, and the wanted layer in it."""
    if layer is not None and layer.isdecimal() and 1 <= int(layer) <= len(specs):
        return int(layer) - 1, ""
    layers = [(page, prefix) for page, spec in enumerate(specs) for prefix in _layers(spec)]
    known = [prefix or str(page + 1) for page, prefix in layers]
    if layer is not None:
        for page, prefix in layers:
            if layer in (prefix, str(specs[page].getattribute("oiio:subimagename") or "")):
                return page, prefix
        raise InputError(f"{name}: has no layer {layer!r}; it has {', '.join(known)}.")
    if len(specs) > 1 and not _is_pyramid(specs):
        raise InputError(f"{name}: holds {len(specs)} pictures; name the wanted one: {name}#{known[0]}.")
    first = _layers(specs[0])
    if "" not in first and len(first) > 1:
        raise InputError(f"{name}: has the layers {', '.join(known)}; name the wanted one: {name}#{known[0]}.")
    return 0, "" if "" in first else first[0]


def _is_pyramid(specs: Sequence[Any]) -> bool:
    """Whether each picture is half as large as the one before it, as in pyramidal TIFFs."""
    sizes = [(spec.height, spec.width) for spec in specs]
    return all(big[axis] in (2 * small[axis] - 1, 2 * small[axis]) for big, small in pairwise(sizes) for axis in (0, 1))


def _layers(spec: Any) -> list[str]:
    """Names of the layers: what precedes the last dot in the channels' names, each once."""
    return list(dict.fromkeys(channel.rpartition(".")[0] for channel in spec.channelnames))


def _colours(spec: Any, prefix: str, name: str, data: bool) -> list[int]:
    """Indices of a layer's channels: R, G and B, or else its one to three channels; then A. Data other than RGB gives all channels."""
    mine = {
        channel.rpartition(".")[2].upper(): index
        for index, channel in enumerate(spec.channelnames)
        if channel.rpartition(".")[0] == prefix
    }
    if {"R", "G", "B"} <= mine.keys() and (not data or len(mine) <= 4):
        return [mine[letter] for letter in "RGBA" if letter in mine]
    if data:
        return list(mine.values())
    others = [index for letter, index in mine.items() if letter != "A"]
    if len(others) not in (1, 2, 3):
        raise InputError(
            f"{name}: {len(others)} channels are neither grey nor RGB ({', '.join(spec.channelnames[:8])})."
        )
    return others[:3] + ([mine["A"]] if "A" in mine and len(others) in (1, 3) else [])


def refused(name: str, complaint: Callable[[], str]) -> InputError:
    """The error for a file that OpenImageIO does not read. It names our limits if the file exceeds OpenImageIO's, which are wider."""
    reason = told(complaint)
    return InputError(
        f"{name}: is too large ({reason}); {ALLOWED}."
        if "limit" in reason
        else f"{name}: broken or truncated ({reason})."
    )


def told(complaint: Callable[[], str]) -> str:
    """The first line of OpenImageIO's error message."""
    try:
        return (complaint().strip() or "no reason given").splitlines()[0][:160]
    except UnicodeDecodeError:
        return "for a reason that is no text"
