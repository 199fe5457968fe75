"""What the head of a picture's file tells, without its pixels."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from texgen.errors import InputError
from texgen.files.deep import dtype_of, opened, told

INCH, CENTIMETRE = 0.0254, 0.01
TEXTS = ("texgen", "ImageDescription", "Exif:ImageDescription")
"""Attributes that may hold a recipe."""


@dataclass(frozen=True, kw_only=True)
class Facts:
    """Of a picture's file.

    Attributes:
        format: Such as `png`.
        width, height: In pixels.
        channels: Their names.
        dtype: Of a channel.
        color_space: As the file is tagged; None where it is not.
        profile: Whether an ICC profile is inside.
        density: Pixels a metre; None where the file does not tell.
        pictures: Layers, pages and levels of a pyramid together.
    """

    format: str
    width: int
    height: int
    channels: tuple[str, ...]
    dtype: str
    color_space: str | None
    profile: bool
    density: float | None
    pictures: int


def facts_of(path: Path) -> Facts:
    """The facts of a picture's file.

    Raises:
        InputError: Missing, or no picture of a known format.
    """
    import OpenImageIO as oiio

    if not path.is_file():
        raise InputError(f"{path}: no such file.")
    file = opened(path)
    if file is None:
        raise InputError(f"{path}: is no picture ({told(oiio.geterror)}).")
    try:
        spec, pictures = file.spec(), 1
        while file.seek_subimage(pictures, 0):
            pictures += 1
        return Facts(
            format=file.format_name(), width=spec.width, height=spec.height, channels=tuple(spec.channelnames), dtype=dtype_of(spec).name,
            color_space=_text(spec, "oiio:ColorSpace"), profile=spec.getattribute("ICCProfile") is not None, density=_density(spec), pictures=pictures,
        )  # fmt: skip
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: broken or truncated (its names are no text).") from error
    finally:
        file.close()


def embedded_text(path: Path) -> str | None:
    """The JSON text that texgen has put inside a picture; None where there is none."""
    file = opened(path) if path.is_file() else None
    if file is None:
        return None
    try:
        found = [_text(file.spec(), name) for name in TEXTS]
        return next((text for text in found if text is not None and _is_json(text)), None)
    except UnicodeDecodeError:
        return None
    finally:
        file.close()


def _text(spec: Any, name: str) -> str | None:
    value = spec.getattribute(name)
    return None if value is None else str(value)


def _is_json(text: str) -> bool:
    try:
        return isinstance(json.loads(text), dict)
    except ValueError:
        return False


def _density(spec: Any) -> float | None:
    many, unit = spec.getattribute("XResolution"), _text(spec, "ResolutionUnit")
    metres = {"in": INCH, "inch": INCH, "cm": CENTIMETRE, "m": 1.0}.get(unit or "")
    return None if not many or metres is None else float(many) / metres
