"""A page that shows a material in a browser, in one file that loads nothing else."""

from __future__ import annotations

import base64
import html
import io
import json
from functools import cache
from pathlib import Path
from string import Template

import numpy as np
from PIL import Image

from texgen.files.encoding import display
from texgen.files.pixels import rounded
from texgen.materials.material import Material
from texgen.previews.pyramid import Floats, resized
from texgen.previews.shading import FILL, FILL_RISE, FILL_TURN, KEY, RISE, Sky
from texgen.previews.surface import MISSING, completed, linear_maps

LARGEST = 2048
"""Largest side of the embedded maps, in pixels."""
QUALITY = 92
"""JPEG quality of the embedded maps."""
WEB = Path(__file__).parent / "web"


def page(material: Material, light: float, depth: float | None) -> str:
    """The HTML of the page, with the maps embedded as 8-bit JPEGs whose sides are at most `LARGEST`.

    Args:
        material: Material to show.
        light, depth: Initial values of the controls, see `texgen.previews.render.picture`.
    """
    height, width = material.size
    maps, depth = completed(linear_maps(material.maps, LARGEST), depth)
    shrink = min(1.0, LARGEST / max(height, width))
    size = max(1, round(height * shrink)), max(1, round(width * shrink))
    wide = "" if material.size_m is None else f", {material.size_m:g} m wide"
    content = {
        "name": material.name,
        "about": f"{width} × {height} px{wide}",  # noqa: RUF001
        "aspect": width / height,
        "depth": depth,
        "light": light % 360,
        "rise": RISE,
        "lights": [
            {"colour": KEY[0], "turn": 0, "rise": RISE},
            {"colour": FILL[0], "turn": FILL_TURN, "rise": FILL_RISE},
        ],
        "sky": {"ground": Sky.ground, "horizon": Sky.horizon, "zenith": Sky.zenith},
        "missing": MISSING,
        "maps": {name: _embedded(name, resized(values, size)) for name, values in maps.items()},
    }
    return Template(_read("page.html")).substitute(
        title=html.escape(material.name),
        material=json.dumps(content).replace("<", "\\u003c"),  # so that it cannot end the script
        three=_read("three.min.js"),
        viewer=_read("viewer.js"),
    )


def _embedded(name: str, values: Floats) -> str:
    """A map as a data URI."""
    if name == "normal":
        length = np.sqrt(np.square(values).sum(-1, keepdims=True))
        values = values / np.maximum(length, 1e-6) * 0.5 + 0.5
    elif name in ("color", "emission"):
        values = display(np.clip(values, 0, 1))
    pixels = rounded(values, np.uint8)
    content = io.BytesIO()
    Image.fromarray(pixels if pixels.shape[2] == 3 else pixels[..., 0]).save(
        content, "JPEG", quality=QUALITY, subsampling=0
    )
    return f"data:image/jpeg;base64,{base64.b64encode(content.getvalue()).decode()}"


@cache
def _read(name: str) -> str:
    return (WEB / name).read_text(encoding="utf-8")
