"""Quality and time of tile schedules and windows, from the same start with the same noise.

    python benchmarks/schedules.py [--size 1024] [--strides 8 16 32 48] [--only SWATCH] [--strength 0.04]

It compares fixed grids with the given strides in latent pixels (the published one is 8, with weights 1) and the rolled grid.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import metrics
from scale import drift

import texgen
from texgen.files import image as images

SWATCHES = Path(__file__).parent.parent / "examples" / "swatches"
PUBLISHED, WINDOWED = 8, 32
"""The published stride, with weights 1, and the stride at which all windows are compared; other strides use Hann weights."""
TILE_PX = 512
SHOWN = ("patch", "saturation", "sharpness", "wrap", "tiles", "grid", "seams", "repeat", "worst")


def variants(strides: list[int], native_px: int, factor: int) -> list[tuple[str, dict[str, object]]]:
    """Names and options."""
    found: list[tuple[str, dict[str, object]]] = [("rolled", {"schedule": "rolled"})]
    for stride in strides:
        kinds = ("ones", "hann", "gaussian") if stride == WINDOWED else ("ones",) if stride == PUBLISHED else ("hann",)
        for window in kinds:
            options = {"schedule": "fixed", "tile_overlap": native_px - stride * factor, "window": window}
            found.append((f"fixed {stride}, {window}", options))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=1024)
    parser.add_argument("--strides", type=int, nargs="+", default=[8, 16, 32, 48])
    parser.add_argument("--only", default="stone_wall.jpg")
    parser.add_argument("--iterations", type=int, default=1)
    parser.add_argument("--strength", type=float, default=0.04)
    arguments = parser.parse_args()
    swatch = SWATCHES / arguments.only
    backbone = texgen.load("mini")
    native_px = backbone.native_tile.height * backbone.factor
    print("| schedule | tile steps | seconds | " + " | ".join(SHOWN) + " | drift |\n|---|" + "---|" * (len(SHOWN) + 3))
    for name, options in variants(arguments.strides, native_px, backbone.factor):
        started = time.perf_counter()
        result = texgen.expand(
            swatch,
            arguments.size,
            model=backbone,
            seed=7,
            iterations=arguments.iterations,
            strength=arguments.strength,
            detail="none",
            **options,
        )
        seconds = time.perf_counter() - started
        picture = images.read(result.image)
        row = metrics.measure(picture, images.read(swatch))
        row["tiles"] = metrics.line_percentile(picture, TILE_PX)
        row["grid"] = metrics.grid_ratio(picture)
        row["seams"] = metrics.seam_ratio(picture, result.coordinates)
        values = " | ".join(f"{row[measure]:.2f}" for measure in SHOWN)
        print(
            f"| {name} | {result.recipe['tile_steps']} | {seconds:.1f} | {values} | {drift(picture):.2f} |", flush=True
        )


if __name__ == "__main__":
    main()
