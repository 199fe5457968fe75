"""Error of estimated slopes against known ones, and a contact sheet of estimated maps.

python benchmarks/material.py [--pair COLOUR NORMAL]...
python benchmarks/material.py --sheet SWATCH... -o SHEET.jpg
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from lit_surfaces import Scene, scenes
from PIL import Image
from scipy.ndimage import sobel

import texgen
from texgen.files.pixels import as_float
from texgen.materials.maps import read_map

CELL = 256
MAPS = ("color", "height", "normal", "roughness", "ao")


def known(colour: Path, normal: Path) -> Scene:
    """A swatch with its own normals. Their y is taken upwards or downwards, whichever makes the slopes closer to those of a surface, without curl."""
    x, y, z = (as_float(read_map(str(normal), "normal"))[..., :3] * 2 - 1).transpose(2, 0, 1)
    z = np.maximum(z, 0.1)
    both = [np.stack([sign * y / z, -x / z]) for sign in (1, -1)]
    curls = [(np.gradient(down, axis=1) - np.gradient(across, axis=0)).std() for down, across in both]
    with Image.open(colour) as picture:
        return Scene(colour.stem, np.asarray(picture.convert("RGB")), both[int(np.argmin(curls))])


def agreement(found: np.ndarray, true: np.ndarray) -> float:
    """Correlation of slopes (2, H, W)."""
    a, b = (each - each.mean((1, 2), keepdims=True) for each in (found, true))
    return float((a * b).mean() / np.sqrt((a * a).mean() * (b * b).mean()))


def error(found: np.ndarray, true: np.ndarray) -> float:
    """Mean angle between the normals of two pairs of slopes, in degrees."""
    dot = (found * true).sum(0) + 1
    lengths = np.sqrt((1 + (found**2).sum(0)) * (1 + (true**2).sum(0)))
    return float(np.degrees(np.arccos((dot / lengths).clip(-1, 1))).mean())


def least_error(found: np.ndarray, true: np.ndarray) -> float:
    """The same, with the first scaled to its best strength."""
    scale = np.sqrt((true**2).mean() / (found**2).mean())
    return min(error(found * scale * factor, true) for factor in np.linspace(0.1, 1.5, 15))


def table(found: Iterator[Scene]) -> None:
    """One row per scene: the estimate as it is and at its best strength, and the slopes of the luminance at theirs."""
    print("| scene | flat | Sobel: correlation, error at best | estimate: correlation, error, error at best |")
    print("|---|---|---|---|")
    for name, colour, true in found:
        luminance = colour.astype(np.float32) @ np.array([0.2126, 0.7152, 0.0722], np.float32)
        plain = np.stack([sobel(luminance, axis, mode="wrap") for axis in (0, 1)])
        x, y, z = (as_float(texgen.material(colour, tileable="both").maps["normal"]) * 2 - 1).transpose(2, 0, 1)
        ours = np.stack([y / z, -x / z])
        print(
            f"| {name} | {error(true * 0, true):.1f} | {agreement(plain, true):.2f}, {least_error(plain, true):.1f} | "
            f"{agreement(ours, true):.2f}, {error(ours, true):.1f}, {least_error(ours, true):.1f} |"
        )


def sheet(swatches: list[Path]) -> Image.Image:
    """Contact sheet of colour, height, normal, roughness and occlusion, one row per swatch."""
    rows = []
    for path in swatches:
        maps = texgen.material(path).maps
        eight = [np.rint(as_float(maps[name]) * 255).astype(np.uint8) for name in MAPS]
        cells = [Image.fromarray(np.broadcast_to(each, (*each.shape[:2], 3)).copy()) for each in eight]
        rows.append(np.hstack([np.asarray(each.resize((CELL, CELL), Image.Resampling.LANCZOS)) for each in cells]))
    return Image.fromarray(np.vstack(rows))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pair", nargs=2, type=Path, action="append", default=[])
    parser.add_argument("--sheet", nargs="+", type=Path)
    parser.add_argument("-o", "--out", type=Path)
    arguments = parser.parse_args()
    if arguments.sheet:
        sheet(arguments.sheet).save(arguments.out, quality=80)
    else:
        table(iter([*scenes(), *(known(*pair) for pair in arguments.pair)]))


if __name__ == "__main__":
    main()
