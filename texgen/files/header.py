"""Facts about a picture's file, and its recipe, read from the header without decoding pixels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from texgen.errors import InputError
from texgen.files.decode import own_limit
from texgen.files.high_depth import dtype_of, opened, told
from texgen.files.targets import as_recipe, sidecar_path

TEXTS = ("texgen", "ImageDescription", "Exif:ImageDescription")
"""Attributes that may hold a recipe."""


@dataclass(frozen=True, kw_only=True)
class Facts:
    """Facts about a picture's file.

    Attributes:
        format: Format, such as `png`.
        width, height: Size in pixels.
        channels: Names of the channels.
        dtype: Dtype of a channel.
        color_space: Description of the ICC profile, else `linear` for floats, else `sRGB` if a PNG says so; None if unknown.
        profile: Whether the file contains an ICC profile.
        dpi: Pixels per inch; None if unknown.
        pictures: Number of layers, pages and pyramid levels together.
    """

    format: str
    width: int
    height: int
    channels: tuple[str, ...]
    dtype: str
    color_space: str | None
    profile: bool
    dpi: float | None
    pictures: int


def facts_of(path: Path) -> Facts:
    """Read the facts about a picture's file.

    Raises:
        InputError: The file is missing or not a picture of a known format.
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
        head = _head(path)
        return Facts(
            format=file.format_name(), width=spec.width, height=spec.height, channels=tuple(spec.channelnames), dtype=dtype_of(spec).name,
            color_space=_color_space(head, spec), profile=spec.getattribute("ICCProfile") is not None, dpi=_dpi(head, spec), pictures=pictures,
        )  # fmt: skip
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: broken or truncated (its names are no text).") from error
    finally:
        file.close()


def read_recipe(path: Path) -> dict[str, Any] | None:
    """The recipe in a picture, else in the JSON file of the picture or of its material beside it; or in a JSON file itself. None if there is none."""
    is_json = path.suffix.lower() == ".json"
    found = None if is_json else as_recipe(_inside(path))
    for beside in [path] if is_json else [sidecar_path(path), path.with_suffix(".json")]:
        if found is None and beside.is_file():
            found = as_recipe(beside.read_text(errors="replace"))
    return found


def _inside(path: Path) -> str | None:
    """The text in a picture that may be a recipe."""
    file = opened(path) if path.is_file() else None
    if file is None:
        return None
    try:
        found = [_text(file.spec(), name) for name in TEXTS]
        return next((text for text in found if as_recipe(text) is not None), None)
    except UnicodeDecodeError:
        return None
    finally:
        file.close()


def _text(spec: Any, name: str) -> str | None:
    value = spec.getattribute(name)
    return None if value is None else str(value)


def _head(path: Path) -> dict[str, Any]:
    """Attributes read by Pillow: OpenImageIO takes every PNG for sRGB, rounds its pixels per metre, and misses the unit in a JPEG."""
    if path.suffix.lower() not in (".png", ".jpg", ".jpeg"):
        return {}
    with own_limit(), Image.open(path) as image:
        return {str(name): value for name, value in image.info.items()}


def _color_space(head: Mapping[str, Any], spec: Any) -> str | None:
    if spec.getattribute("ICCProfile") is not None:
        return _text(spec, "ICCProfile:profile_description")
    if dtype_of(spec).kind == "f":
        return "linear"
    return "sRGB" if "srgb" in head else None


def _dpi(head: Mapping[str, Any], spec: Any) -> float | None:
    exact = head.get("dpi")
    if exact is not None:
        return float(exact[0])
    many, unit = spec.getattribute("XResolution"), _text(spec, "ResolutionUnit")
    inches = {"in": 1.0, "inch": 1.0, "2": 1.0, "cm": 2.54, "3": 2.54}.get(unit or "")
    return None if not many or inches is None else float(many) * inches
