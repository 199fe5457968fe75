"""Effect of tuning the decoder: tuned on the left half of every swatch, measured on the right half.

    python benchmarks/tuned_decoder.py examples/swatches
    python benchmarks/tuned_decoder.py examples/swatches --published

Both halves are encoded by the same encoder. The table shows, for the decoded right half, PSNR (dB), sharpness relative to the swatch's, and
patch distance (`metrics.patch_distance`, in thousandths), each untuned -> tuned; values that got worse are in bold.
"""

from __future__ import annotations

import argparse
import dataclasses
import statistics
import time
from pathlib import Path
from typing import NamedTuple

import metrics
import torch
from quality import swatches
from torch import Tensor

import texgen
from texgen.diffusion.decoding import tune
from texgen.diffusion.exemplar import encode_exemplar
from texgen.files import image as images

LARGEST = 512
OURS = tune.Recipe()


class Fidelity(NamedTuple):
    """PSNR in dB, ratio of sharpness, and patch distance in thousandths of a decoded image, compared with the original."""

    psnr: float
    sharpness: float
    patch: float

    def worse_than(self, other: Fidelity) -> tuple[bool, bool, bool]:
        """Rounded to the digits that are printed."""
        return (
            round(self.psnr, 2) < round(other.psnr, 2),
            round(abs(self.sharpness - 1), 3) > round(abs(other.sharpness - 1), 3),
            round(self.patch, 2) > round(other.patch, 2),
        )


def halves(path: Path, backbone: texgen.UNetModel) -> tuple[Tensor, Tensor]:
    """Left and right half of a swatch's first `LARGEST` x `LARGEST` px, in whole latent pixels."""
    image = images.read(path)[..., :LARGEST, :LARGEST]
    height, width = (side - side % backbone.factor for side in (image.shape[-2], image.shape[-1] // 2))
    return image[..., :height, :width].contiguous(), image[..., :height, width : 2 * width].contiguous()


def fidelity(backbone: texgen.UNetModel, image: Tensor) -> Fidelity:
    decoded = backbone.decode(backbone.encode(image)).cpu().clamp(0, 1)
    return Fidelity(
        float(-10 * (decoded - image).square().mean().log10()),
        metrics.sharpness(decoded) / metrics.sharpness(image),
        1000 * metrics.patch_distance(decoded, image),
    )


def row(name: str, before: Fidelity, after: Fidelity, seconds: float) -> str:
    cells = []
    for digits, first, second, worse in zip((2, 3, 2), before, after, after.worse_than(before), strict=True):
        value = f"{second:.{digits}f}"
        cells.append(f"{first:.{digits}f} -> " + (f"**{value}**" if worse else value))
    return f"| {name} | " + " | ".join(cells) + f" | {seconds:.0f} |"


def median(rows: list[Fidelity]) -> Fidelity:
    return Fidelity(*(statistics.median(values) for values in zip(*rows, strict=True)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--model", default="mini")
    for each in dataclasses.fields(OURS):
        if each.name != "whole":
            parser.add_argument(
                f"--{each.name}", type=type(each.default), default=each.default, help="of `tune.Recipe`"
            )
    parser.add_argument("--published", action="store_true", help="`tune.PUBLISHED` instead")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="*", help="stems of swatches")
    arguments = parser.parse_args()
    ours = {each.name: getattr(arguments, each.name) for each in dataclasses.fields(OURS) if each.name != "whole"}
    recipe = tune.PUBLISHED if arguments.published else tune.Recipe(**ours)
    backbone = texgen.load(arguments.model)
    before, after, spent = [], [], []
    print("| swatch | PSNR, dB | sharpness | patch distance | CPU seconds |\n|---|---|---|---|---|", flush=True)
    for path in swatches(arguments.folder):
        if arguments.only and path.stem not in arguments.only:
            continue
        left, right = halves(path, backbone)
        exemplar = encode_exemplar(backbone, [left])
        started = time.process_time()
        generator = torch.Generator().manual_seed(arguments.seed)
        tuned = tune.tuned_decoder(backbone, exemplar, recipe, generator=generator)
        spent.append(time.process_time() - started)
        before.append(fidelity(backbone, right))
        after.append(fidelity(tuned, right))
        print(row(path.stem, before[-1], after[-1], spent[-1]), flush=True)
    print(row("**median**", median(before), median(after), statistics.median(spent)))
    print(
        "\n"
        + ", ".join(f"{name} {value:g}" for name, value in dataclasses.asdict(recipe).items())
        + f", seed {arguments.seed}"
    )


if __name__ == "__main__":
    main()
