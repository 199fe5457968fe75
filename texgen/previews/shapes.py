"""Shapes that show a material, a sphere and a plane, and where rays meet their relief."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from texgen.previews.pyramid import Floats, dot, floats
from texgen.previews.surface import Surface

STEPS, HALVINGS = 24, 5
"""Even steps of a ray through the relief, and halvings of the step in which it meets the surface."""


class Frame(NamedTuple):
    """Directions of the texture at points of a shape, each (3, n): to its right, upwards, and out of it."""

    right: Floats
    up: Floats
    out: Floats


class Sphere:
    """A sphere of radius 1 around the origin, seen from the positive z axis. The texture spreads evenly from the point in front, so that no pole shows.

    The texture spans the visible half. The highest points of its relief are at elevation 1, the lowest at 0.
    """

    def enter(self, origin: Floats, rays: Floats, depth: float) -> tuple[Floats, Floats]:
        """Distances (n,) at which rays (3, n) enter and leave the relief; infinite where they miss it."""
        near, far = _meets(origin, rays, 1.0)
        inner, _ = _meets(origin, rays, 1 - depth * self.size())
        return near, np.where(np.isfinite(inner), inner, far)

    def place(self, points: Floats, depth: float) -> tuple[Floats, Floats, Floats]:
        """Coordinates u and v in widths of the texture, and the elevation, of points (3, n)."""
        radius = np.sqrt(dot(points, points))
        flat = np.sqrt(np.maximum(np.square(points[0]) + np.square(points[1]), 1e-12))
        scale = np.arctan2(flat, points[2]) / flat / self.size()
        elevation = (radius - 1) / max(depth * self.size(), 1e-6) + 1
        return points[0] * scale + 0.5, points[1] * scale + 0.5, elevation

    def frame(self, points: Floats) -> Frame:
        """Directions of the texture at points (3, n)."""
        out = points / np.sqrt(dot(points, points))
        x, y, z = out
        turn = 1 / (1 + np.maximum(z, -0.99))  # the shortest turn that brings the z axis here
        return Frame(
            np.stack([1 - x * x * turn, -x * y * turn, -x]), np.stack([-x * y * turn, 1 - y * y * turn, -y]), out
        )

    def size(self) -> float:
        """Length of one width of the texture on the shape."""
        return math.pi


class Plane:
    """The plane y = 0, with its relief below. The texture's upward direction is the negative z axis, and one width is 1. For its methods see `Sphere`."""

    def enter(self, origin: Floats, rays: Floats, depth: float) -> tuple[Floats, Floats]:
        with np.errstate(divide="ignore"):
            falling = np.where(rays[1] < -1e-4, -1 / rays[1], np.inf).astype(np.float32)
        return origin[1] * falling, (origin[1] + depth) * falling

    def place(self, points: Floats, depth: float) -> tuple[Floats, Floats, Floats]:
        return points[0] + 0.5, -points[2], points[1] / max(depth, 1e-6) + 1

    def frame(self, points: Floats) -> Frame:
        right, up, out = (floats(each)[:, None] for each in ((1, 0, 0), (0, 0, -1), (0, 1, 0)))
        return Frame(*(np.broadcast_to(each, points.shape) for each in (right, up, out)))

    def size(self) -> float:
        return 1.0


Shape = Sphere | Plane


class Hits(NamedTuple):
    """Where rays meet the relief.

    Attributes:
        distance: Distances along the rays, (n,).
        u, v, elevation: Places on the texture, see `Sphere.place`.
        frame: Directions of the texture, see `Sphere.frame`.
        found: Whether each ray meets the relief, (n,), bool; if not, its other values mean nothing.
    """

    distance: Floats
    u: Floats
    v: Floats
    elevation: Floats
    frame: Frame
    found: np.ndarray


def meet(shape: Shape, surface: Surface, origin: Floats, rays: Floats, spread: float, dither: float) -> Hits:
    """Follow rays (3, n) to the relief of a surface on a shape.

    Args:
        shape, surface: Shape, and the surface on it.
        origin: Where the rays start, (3, 1).
        rays: Unit directions (3, n).
        spread: Width of a ray at distance 1.
        dither: See `Pyramid.level`.
    """
    near, far = shape.enter(origin, rays, surface.depth)
    found = np.isfinite(near)
    distance = np.where(found, near, 1).astype(np.float32)
    if surface.height is not None:
        level = surface.height.level(distance * (spread / shape.size()), dither)
        span = np.where(np.isfinite(far) & found, far - distance, 0).astype(np.float32)
        distance, reached = _marched(shape, surface, origin, rays, distance, span, level)
        found &= reached
    points = origin + rays * distance
    u, v, elevation = shape.place(points, surface.depth)
    return Hits(distance, u, v, elevation, shape.frame(points), found)


def _marched(
    shape: Shape, surface: Surface, origin: Floats, rays: Floats, near: Floats, span: Floats, level: np.ndarray
) -> tuple[Floats, np.ndarray]:
    """Distances (n,) at which rays go below the relief, and whether they do: found in even steps, the last of which is then halved."""
    height = surface.height
    assert height is not None

    def above(share: Floats, some: np.ndarray | slice, exact: bool) -> Floats:
        points = origin + rays[:, some] * (near[some] + share * span[some])
        u, v, elevation = shape.place(points, surface.depth)
        ground = height.between(u, v, level[some])[0] if exact else height.nearest(u, v, level[some])
        return elevation - ground

    share = np.ones(len(near), np.float32)
    going = np.arange(len(near))
    for step in range(1, STEPS):
        below = above(np.full(len(going), step / STEPS, np.float32), going, exact=False) <= 0
        share[going[below]] = step / STEPS
        going = going[~below]
    last = np.ones(len(near), bool)
    last[going] = above(np.ones(len(going), np.float32), going, exact=True) <= 1e-3
    low, high = share - (1 / STEPS), share
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        is_above = above(middle, slice(None), exact=True) > 0
        low, high = np.where(is_above, middle, low), np.where(is_above, high, middle)
    return near + high * span, last


def _meets(origin: Floats, rays: Floats, radius: float) -> tuple[Floats, Floats]:
    """Distances at which rays enter and leave a sphere around the origin; infinite where they miss it."""
    middle = -dot(origin, rays)
    apart = dot(origin, origin) - np.square(middle)
    with np.errstate(invalid="ignore"):
        half = np.sqrt(radius**2 - apart)
    return np.where(np.isnan(half), np.inf, middle - half), np.where(np.isnan(half), np.inf, middle + half)
