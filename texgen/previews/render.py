"""Render the picture of a material: a lit sphere, a plane in perspective and 2x2 repeats, side by side."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from texgen.files.encoding import display
from texgen.materials.material import Material
from texgen.previews.pyramid import Floats, dot, floats, resized, smooth
from texgen.previews.shading import FILL, FILL_RISE, FILL_TURN, KEY, RISE, Light, Sky, shade, toned
from texgen.previews.shapes import Hits, Plane, Shape, Sphere, meet
from texgen.previews.surface import MISSING, Surface, linear_maps, surface

SAMPLES = 2
"""Samples along each side of a pixel."""
BAND = 64
"""Rows that are rendered at once: fewer take less memory."""
SHADOW_STEPS = 10
BACKDROP = (0.105, 0.022)
"""Brightness of the background in the middle and in the corners."""
FOG = (1.8, 5.5)
"""Distances, in widths of the texture, between which the plane fades."""
CHECKS, CHECK = (0.5, 0.24), 1 / 32
"""Brightness of the checks behind transparent pixels, and the size of one as a share of the panel."""


@dataclass(frozen=True)
class Scene:
    """A shape, and the view of it.

    Attributes:
        shape: Shape that has the material.
        eye: Position of the viewer.
        pitch: Angle by which the viewer looks down, in degrees.
        zoom: Half the width of the view at distance 1.
        basis: Directions right, up and out of the texture in front of the viewer, as rows of a matrix.
        fog: Whether the shape fades in the distance.
    """

    shape: Shape
    eye: tuple[float, float, float]
    pitch: float
    zoom: float
    basis: tuple[tuple[float, float, float], ...]
    fog: bool = False


SPHERE = Scene(Sphere(), (0, 0, 4.6), 0, 0.262, ((1, 0, 0), (0, 1, 0), (0, 0, 1)))
PLANE = Scene(Plane(), (0, 0.62, 0), 25, 0.50, ((1, 0, 0), (0, 0, -1), (0, 1, 0)), fog=True)


def picture(material: Material, width: int, light: float, depth: float | None) -> np.ndarray:
    """A picture of a material, (width / 3, width, 3), uint8: sphere, plane and repeats.

    Args:
        material: Material to show.
        width: Width in pixels, a multiple of 3.
        light: Direction of the key light on the texture, in degrees counterclockwise from its right.
        depth: Difference in height between the lowest and the highest point of the height map, in widths of the texture; None fits it to the normals.
    """
    side = width // 3
    shown = surface(material, 1 << (2 * side - 1).bit_length(), depth)
    panels = [rendered(scene, shown, side, light) for scene in (SPHERE, PLANE)]
    return np.concatenate([*panels, repeats(material, side)], 1)


def rendered(scene: Scene, shown: Surface, side: int, light: float) -> np.ndarray:
    """A rendered scene, (side, side, 3), uint8."""
    bands = [(top, min(top + BAND, side)) for top in range(0, side, BAND)]
    return np.concatenate([_band(scene, shown, side, light, top, bottom) for top, bottom in bands])


def repeats(material: Material, side: int) -> np.ndarray:
    """2x2 repeats of the unlit colours, (side, side, 3), uint8; over checks where they are transparent."""
    height, width = material.size
    scale = side / 2 / max(height, width)
    size = max(1, round(height * scale)), max(1, round(width * scale))
    maps = linear_maps(
        {name: values for name, values in material.maps.items() if name in ("color", "opacity")}, 2 * side
    )
    shown = {name: resized(values, size) for name, values in maps.items()}
    colour = shown.get("color", np.broadcast_to(floats(MISSING["color"]), (*size, 3)))
    tiled = np.tile(colour, (2, 2, 1))[:side, :side]
    top, left = ((side - length) // 2 for length in tiled.shape[:2])
    whole = _backdrop(*_grid(side, 0, side, 0.5, 0.5)).reshape(3, side, side).transpose(1, 2, 0)
    if "opacity" in shown:
        opacity = np.tile(shown["opacity"], (2, 2, 1))[:side, :side]
        checks = _checks(*_grid(side, 0, side, 0.5, 0.5)).reshape(side, side, 1)
        tiled = checks[top : top + len(tiled), left : left + tiled.shape[1]] * (1 - opacity) + tiled * opacity
    whole[top : top + tiled.shape[0], left : left + tiled.shape[1]] = tiled
    return np.rint(display(np.clip(whole, 0, 1)) * 255).astype(np.uint8)


def _band(scene: Scene, shown: Surface, side: int, light: float, top: int, bottom: int) -> np.ndarray:
    """Rows of a rendered scene."""
    total = np.zeros((3, (bottom - top) * side), np.float32)
    shifts = [(n + 0.5) / SAMPLES for n in range(SAMPLES)]
    for number, (down, across) in enumerate((down, across) for down in shifts for across in shifts):
        x, y = _grid(side, top, bottom, across, down)
        backdrop = _backdrop(x, y)
        rays = _rays(scene, x, y)
        if (seen := np.flatnonzero(_may_meet(scene, rays, shown))).size:
            dither = (((number * 5 + 1) % 4) + 0.5) / SAMPLES**2
            lit, cover = _samples(scene, shown, rays[:, seen], (x[seen], y[seen]), side, light, dither)
            backdrop[:, seen] += (lit - backdrop[:, seen]) * cover
        total += backdrop
    total /= SAMPLES**2
    return np.rint(display(total) * 255).astype(np.uint8).T.reshape(bottom - top, side, 3)


def _samples(
    scene: Scene, shown: Surface, rays: Floats, pixels: tuple[Floats, Floats], side: int, light: float, dither: float
) -> tuple[Floats, Floats]:
    """Light (3, n) along rays, tone mapped, and the opacity (n,) with which it covers the background."""
    spread = 2 * scene.zoom / side
    hits = meet(scene.shape, shown, floats(scene.eye)[:, None], rays, spread, dither)
    along, footprint = _footprint(hits, rays, spread / scene.shape.size())
    maps = shown.at(hits.u, hits.v, along, footprint, dither)
    basis = np.array(scene.basis)
    lights = {
        Light(_towards(basis, light, RISE), *KEY): _sunlit(shown, hits, basis, light, footprint[0], dither),
        Light(_towards(basis, light + FILL_TURN, FILL_RISE), *FILL): np.ones(1, np.float32),
    }
    lit = toned(shade(maps, hits.frame, -rays, lights, Sky()))
    checks = _checks(*pixels)
    lit = checks + (lit - checks) * maps["opacity"]
    cover = hits.found.astype(np.float32)
    if scene.fog:
        cover *= smooth((FOG[1] - hits.distance) / (FOG[1] - FOG[0]))
    return lit, cover


def _footprint(hits: Hits, rays: Floats, spread: float) -> tuple[Floats, tuple[Floats, Floats]]:
    """What a ray of width `spread` at distance 1 covers of the texture: direction of the longer side, and (shorter, longer) side in widths."""
    right, up, out = (dot(each, rays) for each in hits.frame)
    flat = np.maximum(np.hypot(right, up), 1e-6)
    shorter = hits.distance * spread
    return np.stack([right, up]) / flat, (shorter, shorter / np.maximum(np.abs(out), 0.06))


def _sunlit(shown: Surface, hits: Hits, basis: np.ndarray, light: float, footprint: Floats, dither: float) -> Floats:
    """Share (n,) of the key light that is not blocked by the relief."""
    if shown.height is None:
        return np.ones(len(hits.u), np.float32)
    direction = floats(_towards(basis, light, RISE))[:, None]
    right, up, out = (dot(each, direction) for each in hits.frame)
    rise = np.maximum(out, 0.12)
    reach = np.hypot(right, up) / rise
    level = shown.height.level(footprint, dither + 0.5)
    here = np.maximum(hits.elevation, shown.height.nearest(hits.u, hits.v, level))
    left_over = np.clip(1 - here, 0, 1)
    blocked = np.zeros(len(out), np.float32)
    for step in range(1, SHADOW_STEPS + 1):
        way = left_over * (step / SHADOW_STEPS)
        sideways = way * shown.depth / rise
        ground = shown.height.nearest(hits.u + right * sideways, hits.v + up * sideways, level)
        over = ground - (here + way)
        np.maximum(blocked, over / (way * reach + 0.02), out=blocked)
    return 1 - np.clip(blocked / (2 * KEY[1]), 0, 1)


def _towards(basis: np.ndarray, azimuth: float, rise: float) -> tuple[float, float, float]:
    """The direction `azimuth` degrees counterclockwise from the texture's right, and `rise` degrees above the texture."""
    a, r = math.radians(azimuth), math.radians(rise)
    x, y, z = np.array([math.cos(a) * math.cos(r), math.sin(a) * math.cos(r), math.sin(r)]) @ basis
    return float(x), float(y), float(z)


def _grid(side: int, top: int, bottom: int, across: float, down: float) -> tuple[Floats, Floats]:
    """Coordinates (n,) of samples in the panel, from -1 to 1, with x to the right and y upwards."""
    y, x = np.mgrid[top:bottom, 0:side].astype(np.float32)
    return ((x + across) * 2 / side - 1).ravel(), (1 - (y + down) * 2 / side).ravel()


def _rays(scene: Scene, x: Floats, y: Floats) -> Floats:
    """Unit directions (3, n) of rays through points of the panel."""
    c, s = math.cos(math.radians(scene.pitch)), math.sin(math.radians(scene.pitch))
    x, y = x * scene.zoom, y * scene.zoom
    rays = np.stack([x, y * c - s, -c - y * s]).astype(np.float32)
    return rays / np.sqrt(np.square(rays).sum(0))


def _may_meet(scene: Scene, rays: Floats, shown: Surface) -> np.ndarray:
    near, _ = scene.shape.enter(floats(scene.eye)[:, None], rays, shown.depth)
    return np.isfinite(near) & (near < FOG[1] if scene.fog else True)


def _backdrop(x: Floats, y: Floats) -> Floats:
    """The background (3, n), in linear light: darker towards the corners."""
    middle, corner = floats(BACKDROP)
    bright = corner + (middle - corner) * (1 - smooth(np.hypot(x, y) / 1.4))
    return bright * floats([[0.97], [1.0], [1.06]])


def _checks(x: Floats, y: Floats) -> Floats:
    """The checks (n,), in linear light, that are seen through transparent pixels."""
    cells = np.floor((x + 1) * 0.5 / CHECK) + np.floor((y + 1) * 0.5 / CHECK)
    return np.where(cells % 2 == 0, *floats(CHECKS))
