"""The maps of a material as a renderer needs them: linear, of one size, none missing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from texgen.files.encoding import linear
from texgen.files.pixels import Pixels, as_float
from texgen.materials import estimate
from texgen.materials.maps import is_signed
from texgen.materials.material import Material
from texgen.previews.pyramid import Floats, Pyramid, floats, resized, shrunk, side
from tiling import Wrap

MISSING: Mapping[str, tuple[float, ...]] = {
    "color": (0.4, 0.4, 0.4),
    "normal": (0, 0, 1),
    "roughness": (0.6,),
    "ao": (1,),
    "metalness": (0,),
    "opacity": (1,),
    "emission": (0, 0, 0),
}
"""Linear values used in place of a map that a material lacks."""
DEPTH, DEEPEST = 0.03, 0.15
"""Largest depth of a height map in widths: without normals to fit it to, and with them."""
SLOPE = 0.5
"""Largest root-mean-square slope of a height map without normals to fit it to."""
RING = Wrap(True, True)


@dataclass(frozen=True)
class Surface:
    """A material to be rendered.

    Attributes:
        texture: Channels of all maps but the height.
        rows: Channels of the texture that belong to each map.
        height: Height map, in [0, 1]; None if the surface is flat.
        depth: Difference in height between 0 and 1, in widths; 0 if the surface is flat.
    """

    texture: Pyramid
    rows: Mapping[str, slice]
    height: Pyramid | None
    depth: float

    def at(
        self, u: Floats, v: Floats, along: Floats, footprint: tuple[Floats, Floats], dither: float
    ) -> dict[str, Floats]:
        """All maps, (C, n), see `Pyramid.filtered`; (C, 1) for those that are missing."""
        values = self.texture.filtered(u, v, along, footprint, dither)
        missing = {name: floats(value)[:, None] for name, value in MISSING.items()}
        return missing | {name: values[rows] for name, rows in self.rows.items()}


def surface(material: Material, most: int, depth: float | None) -> Surface:
    """Prepare a material for pictures that show it at no more than `most` px.

    Args:
        material: The material, with maps of any size and depth.
        most: Largest side of the textures, a power of two.
        depth: Difference in height between 0 and 1 of the height map, in widths; None fits it to the normals.
    """
    height, width = material.size
    size = side(height, most), side(width, most)
    linear_ones, depth = completed(linear_maps(material.maps, most), depth)
    maps = {name: resized(values, size) for name, values in linear_ones.items()}
    relief = maps.pop("height", None)
    if not maps:
        maps["color"] = np.broadcast_to(floats(MISSING["color"]), (*size, 3))
    ends = np.cumsum([0, *(values.shape[2] for values in maps.values())]).tolist()
    rows = {name: slice(first, last) for name, first, last in zip(maps, ends[:-1], ends[1:], strict=True)}
    texture = Pyramid(np.concatenate(list(maps.values()), -1), width / height)
    if relief is None or depth == 0:
        return Surface(texture, rows, None, 0.0)
    return Surface(texture, rows, Pyramid(np.ascontiguousarray(relief), width / height), depth)


def completed(maps: Mapping[str, Floats], depth: float | None) -> tuple[dict[str, Floats], float]:
    """Linear maps, with missing normals and occlusion computed from the height; and the depth of the height, see `surface`."""
    if "height" not in maps:
        return dict(maps), 0.0
    height = maps["height"][..., 0]
    depth = fitting_depth(maps, height) if depth is None else depth
    found = dict(maps)
    relief = estimate.Surface(height, depth * height.shape[1], estimate.COARSEST * min(height.shape))
    if "normal" not in maps:
        normal = estimate.normal_of(relief, RING)
        found["normal"] = _vectors(normal, 1)(normal)
    if "ao" not in maps:
        found["ao"] = estimate.occlusion_of(relief, RING)[..., None]
    return found, depth


def linear_maps(maps: Mapping[str, Pixels], most: int) -> dict[str, Floats]:
    """The maps that can be rendered, (height, width, C), linear: `normal` as vectors with y upwards, `opacity` also from the colour's alpha."""
    found: dict[str, Floats] = {}
    for name in ("color", "emission"):
        if name in maps:
            found[name] = shrunk(
                maps[name], most, lambda band: decoded(band[..., [0, 1, 2] if band.shape[2] >= 3 else [0, 0, 0]])
            )
    if "color" in maps and maps["color"].shape[2] in (2, 4):
        found["opacity"] = shrunk(maps["color"], most, lambda band: as_float(band[..., -1:]))
    if "normal" in maps or "normal_dx" in maps:
        name, green = ("normal", 1) if "normal" in maps else ("normal_dx", -1)
        found["normal"] = shrunk(maps[name], most, _vectors(maps[name], green))
    for name in ("roughness", "ao", "metalness", "opacity", "height"):
        if name in maps:
            found[name] = shrunk(maps[name], most, lambda band: np.clip(as_float(band[..., :1]), 0, 1))
    return found


def decoded(pixels: np.ndarray) -> Floats:
    """Colours as linear light: integers are decoded from sRGB, floats stay as they are, but at least 0."""
    if pixels.dtype.kind == "f":
        return np.maximum(as_float(pixels), 0)
    return np.take(linear(as_float(np.arange(np.iinfo(pixels.dtype).max + 1, dtype=pixels.dtype))), pixels)


def _vectors(pixels: Pixels, green: int) -> Callable[[np.ndarray], Floats]:
    """A function that decodes the vectors of a map of normals and normalises them; `green` is -1 to change the sign of y, else 1."""
    signed = is_signed(pixels)

    def decode(band: np.ndarray) -> Floats:
        values = as_float(band[..., :3]) if signed else as_float(band[..., :3]) * 2 - 1
        length = np.sqrt(np.einsum("hwc,hwc->hw", values, values))
        return values * floats((1, green, 1)) / np.maximum(length, 1e-6)[..., None]

    return decode


def fitting_depth(maps: Mapping[str, Floats], height: Floats) -> float:
    """The depth of a height map (H, W), in widths, that fits its slopes to the normals in `maps`; without these, one with gentle slopes."""
    down, right = (each * height.shape[1] for each in estimate.slopes(height, RING))
    square = float(np.mean(right * right + down * down))
    if "normal" in maps and square > 0:
        x, y, z = np.moveaxis(maps["normal"], -1, 0)
        fitted = float(np.mean((down * y - right * x) / np.maximum(z, 0.1))) / square
        if fitted > 0:
            return min(fitted, DEEPEST)
    return min(DEPTH, SLOPE / max(square**0.5, 1e-6))
