"""Colours of a large canvas that a diffusion model makes from noise, compared with the swatch's, with and without the options that tie them to it.

    python benchmarks/saturation.py [SWATCH ...] [--model mini] [--size 1024] [--steps 10] [--only NAME ...]

Saturation and the deviation of each channel are relative to the swatch's: 1 is equal.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import metrics
from torch import Tensor

import texgen
from texgen.files import image as images

SWATCHES = Path(__file__).parent.parent / "examples" / "swatches"
SHOWN = ("rusty_metal.jpg", "forest_floor.jpg", "brick_round.jpg")
TIES = {
    "neither": {},
    "match_spectrum": {"match_spectrum": True},
    "adain": {"adain": True},
    "both": {"match_spectrum": True, "adain": True},
}


def ratios(picture: Tensor, swatch: Tensor) -> tuple[float, float, float]:
    """Saturation and deviation relative to the swatch's, and the largest distance of a channel's mean from the swatch's."""
    own, made = (image[0].flatten(1) for image in (swatch, picture))
    spread = float((made.std(1) / own.std(1)).mean())
    shift = float((made.mean(1) - own.mean(1)).abs().max())
    return metrics.saturation(picture) / metrics.saturation(swatch), spread, shift


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("swatches", nargs="*", type=Path, default=[SWATCHES / name for name in SHOWN])
    parser.add_argument("--model", default="mini")
    parser.add_argument("--size", type=int, default=1024)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--only", nargs="+", choices=TIES, default=list(TIES))
    given = parser.parse_args()
    model = texgen.load(given.model)
    print("| swatch | size | | saturation | deviation | mean off by | s |\n|" + "---|" * 7)
    for path in given.swatches:
        for name in given.only:
            started = time.perf_counter()
            made = texgen.expand(path, given.size, model=model, seed=7, start="noise", steps=given.steps, **TIES[name])
            seconds = time.perf_counter() - started
            values = " | ".join(f"{value:.2f}" for value in ratios(images.read(made.image), images.read(path)))
            print(f"| {path.stem} | {given.size} | {name} | {values} | {seconds:.0f} |", flush=True)


if __name__ == "__main__":
    main()
