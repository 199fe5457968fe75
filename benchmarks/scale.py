"""Growth of a diffusion model's time and memory with the canvas; each size runs as `texgen expand` in a process of its own.

    python benchmarks/scale.py --preset standard --sizes 1024 2048 4096 --options --model mini
    python benchmarks/scale.py --preset standard --sizes 1024 4096 --quality --options --model mini

One row per size: seconds and peak memory of the whole process, seconds per megapixel without loading the model, tile steps, and
how many times as many steps the published schedule (stride of an eighth of the tile) would need. `--quality` adds measures of a crop
and of the whole texture.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import metrics
import numpy as np
import tifffile
import torch

from texgen.diffusion.presets import PRESETS
from texgen.files import image as images
from tiling import Size, Wrap, plan_tiles

SWATCH = Path(__file__).parent.parent / "examples" / "swatches" / "stone_wall.jpg"
TORUS = Wrap(True, True)
NATIVE, FACTOR = Size(64, 64), 8
LARGEST_MEASURED = 4096
WINDOW = 1024


def expanded(swatch: Path, size: int, out: Path, options: list[str]) -> dict[str, float]:
    """Run the command line; seconds, peak GiB, and the recipe's counts."""
    command = [
        sys.executable,
        "-m",
        "texgen",
        "expand",
        str(swatch),
        "-o",
        str(out),
        "--size",
        str(size),
        "--seed",
        "7",
    ]
    started = time.perf_counter()
    process = subprocess.Popen([*command, *options], stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{' '.join(command)} failed")
    seconds = time.perf_counter() - started
    recipe = json.loads(out.with_name(f"{out.name}.json").read_text())
    work = sum(recipe["timings"].values()) - recipe["timings"]["load"]
    return {
        "seconds": seconds,
        "GiB": usage.ru_maxrss / 2**20,
        "s/MP": work / (size * size / 1e6),
        "tile steps": recipe.get("tile_steps", 0),
        "steps": recipe.get("steps_run", 0),
    }


def published_tiles(size: int) -> int:
    """Tiles per step of the published schedule on a torus."""
    side = size // FACTOR
    stride = Size(*(round(n * (1 - PRESETS["published"].tile_overlap)) for n in NATIVE))
    return len(plan_tiles(Size(side, side), NATIVE, stride, TORUS))


def quality(path: Path, swatch: Path) -> dict[str, float]:
    """Measures of the whole picture, and its drift, unless it is too large."""
    whole = tifffile.imread(path)
    exemplar = images.read(swatch)
    found = {}
    if whole.shape[0] <= LARGEST_MEASURED:
        image = images.read(np.ascontiguousarray(whole))
        row = metrics.measure(image, exemplar)
        found = {name: row[name] for name in ("patch", "saturation", "sharpness", "wrap", "repeat", "worst")}
        found["drift"] = drift(image)
    return found


def drift(image: torch.Tensor) -> float:
    """Difference between the largest and the smallest mean level, of 255, among windows of 1024 px (512 if the picture has only one)."""
    side = WINDOW if image.shape[-1] > WINDOW else WINDOW // 2
    means = torch.nn.functional.avg_pool2d(image, side) * 255
    return float((means.amax((2, 3)) - means.amin((2, 3))).max())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--swatch", type=Path, default=SWATCH)
    parser.add_argument("--preset", default="draft")
    parser.add_argument("--sizes", type=int, nargs="+", default=[1024, 2048, 4096])
    parser.add_argument("--quality", action="store_true")
    parser.add_argument("--out", type=Path, help="keep the pictures here")
    parser.add_argument("--options", nargs=argparse.REMAINDER, default=[], help="passed on to texgen expand")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.out or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        for number, size in enumerate(arguments.sizes):
            out = folder / f"{arguments.swatch.stem}_{arguments.preset}_{size}.tif"
            row = expanded(arguments.swatch, size, out, ["--preset", arguments.preset, *arguments.options])
            published = published_tiles(size) * row["steps"]
            row["fewer"] = published / row["tile steps"] if row["tile steps"] else float("nan")
            row |= quality(out, arguments.swatch) if arguments.quality else {}
            if number == 0:
                print(f"| {arguments.preset} | " + " | ".join(row) + " |\n|---|" + "---|" * len(row))
            print(f"| {size} | " + " | ".join(f"{value:.2f}" for value in row.values()) + " |", flush=True)


if __name__ == "__main__":
    main()
