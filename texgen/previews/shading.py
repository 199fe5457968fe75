"""Shading: GGX and Lambert under a key light, a fill light and a sky; and tone mapping."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from texgen.previews.pyramid import Floats, dot, floats, smooth
from texgen.previews.shapes import Frame

KEY = ((1.46, 1.40, 1.32), 0.16)
FILL = ((0.23, 0.26, 0.31), 0.5)
"""Colours and radii of the lights."""
RISE, FILL_RISE, FILL_TURN = 42, 24, 160
"""Elevations of the key light and the fill light over the texture, and the turn from the one to the other, in degrees."""
DIELECTRIC = 0.04
"""Reflectance of surfaces that are not metal, at normal incidence."""


@dataclass(frozen=True)
class Light:
    """A round light far away.

    Attributes:
        direction: Unit vector towards the light.
        colour: Linear colour with which a white surface that faces the light appears.
        radius: Half its angular diameter, in radians; a larger one makes highlights wider.
    """

    direction: tuple[float, float, float]
    colour: tuple[float, float, float]
    radius: float


@dataclass(frozen=True)
class Sky:
    """Light from all around: linear colours from below, from the horizon and from above; y points upwards."""

    ground: tuple[float, float, float] = (0.17, 0.16, 0.15)
    horizon: tuple[float, float, float] = (0.44, 0.44, 0.44)
    zenith: tuple[float, float, float] = (0.34, 0.38, 0.44)

    def seen(self, directions: Floats, blur: Floats | float) -> Floats:
        """The light (3, n) from directions (3, n), softened over a share `blur` (n,) of the half circle."""
        rise = directions[1]
        ground, horizon, zenith = (floats(colour)[:, None] for colour in (self.ground, self.horizon, self.zenith))
        over = smooth(rise / (0.08 + 1.1 * blur) * 0.5 + 0.5)
        top = smooth(np.maximum(rise, 0) * (1 - 0.4 * blur))
        return ground + (horizon + (zenith - horizon) * top - ground) * over


def shade(maps: Mapping[str, Floats], frame: Frame, view: Floats, lights: Mapping[Light, Floats], sky: Sky) -> Floats:
    """Light (3, n), linear, from points of a surface to the viewer.

    Diffuse reflection is Lambert's. Specular reflection is `D F G / (4 (n.l) (n.v))` with the distribution and shadowing of GGX and Schlick's Fresnel term;
    that of the sky is a lookup by roughness times an approximate integral over the hemisphere. Where normals within a pixel differ, the surface is rougher.

    Args:
        maps: Values of the maps, see `Surface.at`.
        frame: Directions of the texture.
        view: Unit directions (3, n) to the viewer.
        lights: Lights, each with the share (n,) of it that arrives.
        sky: Light from all around.

    References:
        Walter et al., "Microfacet Models for Refraction through Rough Surfaces", EGSR 2007, equations 33 and 34.
        Karis, "Real Shading in Unreal Engine 4", SIGGRAPH 2013: lights with a radius.
        Karis, "Physically Based Shading on Mobile", 2014: the integral of the sky.
        Toksvig, "Mipmapping Normal Maps", 2005.
    """
    normal, alpha, roughness = _rough_normal(maps, frame)
    facing = np.maximum(np.abs(dot(normal, view)), 1e-3)
    metal, colour, ao = maps["metalness"], maps["color"], maps["ao"]
    diffuse, mirrored = colour * (1 - metal), DIELECTRIC * (1 - metal) + colour * metal
    light = maps["emission"] + np.zeros_like(view)
    for each, arrives in lights.items():
        light += _lit(each, normal, view, facing, alpha, diffuse, mirrored) * arrives
    sheen = _mirrored_sky(mirrored, roughness, facing)
    hidden = np.clip((facing + ao[0]) ** np.exp2(-16 * roughness - 1) - 1 + ao[0], 0, 1)
    light += diffuse * (1 - sheen) * sky.seen(normal, 1.0) * ao
    light += sheen * sky.seen(2 * dot(normal, view) * normal - view, roughness) * hidden
    return light


def _rough_normal(maps: Mapping[str, Floats], frame: Frame) -> tuple[Floats, Floats, Floats]:
    """Normals (3, n), GGX's alpha (n,), roughness (n,)."""
    x, y, z = maps["normal"]
    normal = frame.right * x + frame.up * y + frame.out * z
    length = np.clip(np.sqrt(dot(normal, normal)), 1e-3, 1)
    normal = normal / np.maximum(np.sqrt(dot(normal, normal)), 1e-3)
    variance = np.minimum((1 - length) / length, 0.5)
    alpha = np.sqrt(np.minimum(np.maximum(maps["roughness"][0], 0.03) ** 4 + variance, 1))
    return normal, alpha, np.sqrt(alpha)


def _lit(
    light: Light, normal: Floats, view: Floats, facing: Floats, alpha: Floats, diffuse: Floats, mirrored: Floats
) -> Floats:
    direction = floats(light.direction)[:, None]
    falls = np.clip(np.einsum("in,i->n", normal, direction[:, 0]), 0, 1)
    half = view + direction
    half /= np.maximum(np.sqrt(dot(half, half)), 1e-4)
    across = np.clip(dot(normal, half), 0, 1)
    square = np.square(np.minimum(alpha + light.radius / 2, 1))  # the light's own size blurs what is mirrored
    spread = square / (math.pi * np.square(np.square(across) * (square - 1) + 1))
    seen = 0.5 / (
        falls * np.sqrt(facing**2 * (1 - alpha**2) + alpha**2)
        + facing * np.sqrt(falls**2 * (1 - alpha**2) + alpha**2)
        + 1e-5
    )
    fresnel = mirrored + (1 - mirrored) * (1 - np.clip(dot(view, half), 0, 1)) ** 5
    return (diffuse * (1 - fresnel) + fresnel * (spread * seen * math.pi)) * falls * floats(light.colour)[:, None]


def _mirrored_sky(mirrored: Floats, roughness: Floats, facing: Floats) -> Floats:
    """Share of the sky's light that is reflected specularly, over the whole hemisphere."""
    smooth = 1 - roughness
    edge = np.minimum(smooth**2, np.exp2(-9.28 * facing)) * smooth + 0.0425 - 0.0275 * roughness
    return mirrored * (1.04 - 0.572 * roughness - 1.04 * edge) + np.maximum(1.04 * edge - 0.04 + 0.022 * roughness, 0)


def toned(light: Floats) -> Floats:
    """Light (3, n) mapped to [0, 1]: colours stay as they are up to 0.76, brighter ones fade to white.

    References:
        Khronos Group, "Khronos PBR Neutral Tone Mapper", 2024, https://github.com/KhronosGroup/ToneMapping.
    """
    start, desaturation = 0.8 - DIELECTRIC, 0.15
    least = light.min(0)
    light = light - np.where(least < 0.08, least - 6.25 * np.square(least), 0.04)
    peak = light.max(0)
    spare = 1 - start
    fresh = np.where(peak < start, peak, 1 - spare**2 / np.maximum(peak + spare - start, 1e-6))
    light = light * (fresh / np.maximum(peak, 1e-6))
    share = 1 - 1 / (desaturation * (peak - fresh) + 1)
    return np.clip(light + (fresh - light) * share, 0, 1)
