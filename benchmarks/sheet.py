"""Contact sheet of one result: swatch, result, 2x2 repeat, 4x4 repeat at a quarter, and a 100 % crop across the wrap.

python benchmarks/sheet.py SWATCH RESULT -o SHEET.png
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from PIL import Image

CELL, GAP = 512, 8


def contact_sheet(swatch: Image.Image, result: Image.Image) -> Image.Image:
    """Five panels of 512 px side by side."""
    result = result.convert("RGB")
    width, height = result.size
    rolled = np.roll(np.asarray(result), (height // 2, width // 2), (0, 1))
    top, left = max(height // 2 - CELL // 2, 0), max(width // 2 - CELL // 2, 0)
    panels = [
        swatch.convert("RGB").crop((0, 0, *(min(side, CELL) for side in swatch.size))),
        *(_fit(repeated(result, times)) for times in (1, 2, 4)),
        Image.fromarray(rolled[top : top + CELL, left : left + CELL]),
    ]
    sheet = Image.new("RGB", (len(panels) * (CELL + GAP) - GAP, CELL), "white")
    for index, panel in enumerate(panels):
        sheet.paste(panel, (index * (CELL + GAP), 0))
    return sheet


def repeated(picture: Image.Image, times: int) -> Image.Image:
    """A picture repeated `times` times along both axes."""
    return Image.fromarray(np.tile(np.asarray(picture), (times, times, 1)))


def _fit(image: Image.Image) -> Image.Image:
    scale = CELL / max(image.size)
    return image.resize([max(1, round(side * scale)) for side in image.size], Image.Resampling.LANCZOS)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("swatch", type=Path)
    parser.add_argument("result", type=Path)
    parser.add_argument("-o", "--out", type=Path, required=True)
    arguments = parser.parse_args()
    with Image.open(arguments.swatch) as swatch, Image.open(arguments.result) as result:
        contact_sheet(swatch, result).save(arguments.out)
    print(arguments.out)


if __name__ == "__main__":
    main()
