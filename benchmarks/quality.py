"""Quality of expanded textures over a folder of swatches: a table and a contact sheet.

    python benchmarks/quality.py examples/swatches benchmarks/swatches --out out/quality --preset draft --preset standard

Each `--preset` is a preset name, optionally with options: `standard:start=blocks,symmetry=mirror`; or a baseline:
`pixel-quilt`, `patches:seconds=20`, `gpnn:seconds=60`.
"""

from __future__ import annotations

import argparse
import ast
import statistics
import time
from pathlib import Path
from typing import Any

import baselines
import metrics
import numpy as np
import torch
from PIL import Image
from sheet import contact_sheet
from torch import Tensor

import texgen
from texgen.files import image as images
from texgen.files.pixels import rounded
from tiling import Size

SUFFIXES = {".png", ".jpg", ".jpeg"}
HIDDEN = ("_nm",)


def swatches(folder: Path) -> list[Path]:
    """Colour swatches of a folder; normal maps are left out."""
    return sorted(p for p in folder.iterdir() if p.suffix in SUFFIXES and not p.stem.endswith(HIDDEN))


def parse(variant: str) -> tuple[str, dict[str, Any]]:
    """Parse `standard:start=blocks,symmetry=mirror` into a preset name and options."""
    name, _, rest = variant.partition(":")
    pairs = [item.split("=", 1) for item in rest.split(",") if item]
    return name, {key: _value(value) for key, value in pairs}


def _value(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def made(
    path: Path, exemplar: Tensor, preset: str, size: int, seed: int, model: str, options: dict[str, Any]
) -> Image.Image:
    """Make a texture with a preset or a baseline."""
    if preset in baselines.ALL:
        pixels = baselines.ALL[preset](exemplar, Size(size, size), seed, **options)
        return Image.fromarray(rounded(pixels[0].permute(1, 2, 0).numpy(), np.uint8))
    return texgen.expand(path, size, model=model, preset=preset, seed=seed, **options).image


def run(paths: list[Path], variant: str, size: int, seed: int, out: Path, model: str) -> list[dict[str, float]]:
    """Expand every swatch, write results and sheet, return the measures."""
    preset, options = parse(variant)
    rows, sheets = [], []
    for path in paths:
        started = time.perf_counter()
        exemplar = images.read(path)
        picture = made(path, exemplar, preset, size, seed, model, options)
        seconds = time.perf_counter() - started
        row = metrics.measure(images.read(picture), exemplar)
        rows.append({**row, "seconds": seconds})
        print(f"{path.stem:15s} " + "  ".join(f"{name} {value:.2f}" for name, value in rows[-1].items()), flush=True)
        name = variant.replace(":", "_").replace(",", "_")
        picture.save(out / f"{path.stem}_{name}.png")
        with Image.open(path) as swatch:
            sheets.append(contact_sheet(swatch, picture))
    sheet = Image.new("RGB", (sheets[0].width, sum(s.height + 8 for s in sheets)), "white")
    for index, one in enumerate(sheets):
        sheet.paste(one, (0, index * (one.height + 8)))
    sheet.save(out / f"sheet_{name}.png")
    return rows


def table(paths: list[Path], rows: list[dict[str, float]]) -> str:
    """Markdown table, one row per swatch, medians last."""
    names = list(rows[0])
    lines = ["| swatch | " + " | ".join(names) + " |", "|---|" + "---|" * len(names)]
    for path, row in zip(paths, rows, strict=True):
        lines.append(f"| {path.stem} | " + " | ".join(f"{row[name]:.2f}" for name in names) + " |")
    medians = [statistics.median(sorted(row[name] for row in rows)) for name in names]
    lines.append("| **median** | " + " | ".join(f"{value:.2f}" for value in medians) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", type=Path, nargs="+")
    parser.add_argument("--out", type=Path, default=Path("out/quality"))
    parser.add_argument("--preset", action="append", help="preset[:option=value,...]; repeatable")
    parser.add_argument("--size", type=int, default=1024)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--model", default="swatch")
    parser.add_argument("--only", nargs="*", help="stems of swatches")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    paths = [
        p for folder in arguments.folders for p in swatches(folder) if not arguments.only or p.stem in arguments.only
    ]
    parts = []
    for variant in arguments.preset or ["draft", "standard"]:
        rows = run(paths, variant, arguments.size, arguments.seed, arguments.out, arguments.model)
        parts.append(f"### {variant}, {arguments.size} px, {torch.get_num_threads()} threads\n\n{table(paths, rows)}\n")
        print("\n" + parts[-1], flush=True)
    (arguments.out / "table.md").write_text("\n".join(parts))


if __name__ == "__main__":
    main()
