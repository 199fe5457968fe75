"""Conversion of floats by ICC profiles of three primaries and curves, such as Display P3 and Adobe RGB; Pillow converts 8 bits only."""

from __future__ import annotations

import struct
import warnings
from collections.abc import Callable

import numpy as np

from texgen.files.encoding import display

TO_SRGB = np.array(
    [[3.1341359, -1.6172060, -0.4906710], [-0.9787485, 1.9161300, 0.0334334], [0.0719584, -0.2289390, 1.4057700]]
)
"""Matrix from XYZ under D50, in which profiles are written, to linear sRGB (Lindbloom, Bradford-adapted)."""  # fmt: skip
PARAMETRIC = {0: "g", 1: "gab", 2: "gabc", 3: "gabcd", 4: "gabcdef"}
"""Parameters of each kind of curve: Y = (a X + b)^g + e for X >= d, else c X + f. In kinds 1 and 2, d = -b / a, and the given c is both e and f."""


def srgb_profile() -> bytes:
    """An sRGB profile, always of the same bytes."""
    from PIL import ImageCms

    made = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    return (
        made[:24] + bytes(12) + made[36:84] + bytes(16) + made[100:]
    )  # without its date, and the hash that depends on it


def to_srgb(profile: bytes) -> Callable[[np.ndarray], np.ndarray] | None:
    """A function that converts colours (H, W, 3) in [0, 1] from a profile to sRGB, encoded; None if the profile is of another kind.

    References:
        ICC.1:2022, sections 7.2, 10.6 (curveType), 10.18 (parametricCurveType) and 10.31 (XYZType).
    """
    try:
        tags = _tags(profile)
        curves = [_curve(tags[name]) for name in (b"rTRC", b"gTRC", b"bTRC")]
        primaries = np.array([_xyz(tags[name]) for name in (b"rXYZ", b"gXYZ", b"bXYZ")]).T
        with np.errstate(all="ignore"):
            if not all(np.isfinite(curve(np.linspace(0, 1, 256))).all() for curve in curves):
                return None
    except (KeyError, struct.error, ValueError, ZeroDivisionError):
        return None

    def converted(colours: np.ndarray) -> np.ndarray:
        light = np.stack([curve(colours[..., channel]) for channel, curve in enumerate(curves)], -1)
        return display((light @ (TO_SRGB @ primaries).T).astype(np.float32)).clip(0, 1)

    return converted


def warn_ignored(name: str) -> None:
    """Warn that a picture's profile is ignored, and its colours are read as sRGB."""
    warnings.warn(
        f"{name}: its colour profile is broken, or of a kind that is not read here, and ignored.", stacklevel=2
    )


def _tags(profile: bytes) -> dict[bytes, bytes]:
    if profile[16:20] != b"RGB " or profile[36:40] != b"acsp":
        raise ValueError("no profile of RGB")
    (count,) = struct.unpack_from(">I", profile, 128)
    entries = [struct.unpack_from(">4sII", profile, 132 + 12 * number) for number in range(min(count, 256))]
    return {name: profile[start : start + length] for name, start, length in entries}


def _xyz(tag: bytes) -> list[float]:
    return [value / 65536 for value in struct.unpack_from(">3i", tag, 8)]


def _curve(tag: bytes) -> Callable[[np.ndarray], np.ndarray]:
    if tag[:4] == b"curv":
        (count,) = struct.unpack_from(">I", tag, 8)
        if count == 0:
            return lambda x: x
        table = np.array(struct.unpack_from(f">{count}H", tag, 12))
        if count == 1:
            return lambda x: np.power(x, table[0] / 256)
        return lambda x: np.interp(x, np.linspace(0, 1, count), table / 65535)
    if tag[:4] != b"para":
        raise ValueError("an unknown kind of curve")
    (kind,) = struct.unpack_from(">H", tag, 8)
    if kind not in PARAMETRIC:
        raise ValueError("an unknown kind of curve")
    names = PARAMETRIC[kind]
    given = (value / 65536 for value in struct.unpack_from(f">{len(names)}i", tag, 12))
    p = {"a": 1.0, **dict.fromkeys("bcdef", 0.0), **dict(zip(names, given, strict=True))}
    if kind in (1, 2):
        p |= {"c": 0.0, "d": -p["b"] / p["a"], "e": p["c"], "f": p["c"]}
    return lambda x: np.where(
        x >= p["d"], np.power(np.maximum(p["a"] * x + p["b"], 0), p["g"]) + p["e"], p["c"] * x + p["f"]
    )
