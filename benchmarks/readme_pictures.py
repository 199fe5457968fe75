"""Make the README's pictures with the commands it prints: one run per preset at 1024 px, seed 7.

python benchmarks/readme_pictures.py
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image
from sheet import contact_sheet

import texgen

ROOT = Path(__file__).parent.parent
SWATCH = ROOT / "examples" / "swatches" / "stone_wall.jpg"
DOCS = ROOT / "docs"
HERO, CROP = 420, 320


def hero(swatch: Image.Image, result: Image.Image) -> Image.Image:
    """Swatch and result at one scale, and the result repeated 2x2."""
    scale = HERO / result.height
    pixels = np.asarray(result)
    panels = [
        swatch.resize([round(side * scale) for side in swatch.size], Image.Resampling.LANCZOS),
        result.resize((HERO, HERO), Image.Resampling.LANCZOS),
        Image.fromarray(np.tile(pixels, (2, 2, 1))).resize((2 * HERO, 2 * HERO), Image.Resampling.LANCZOS),
    ]
    sheet = Image.new("RGB", (sum(p.width for p in panels) + 16, 2 * HERO), "white")
    left = 0
    for panel in panels:
        sheet.paste(panel, (left, (2 * HERO - panel.height) // 2))
        left += panel.width + 8
    return sheet


def across_wrap(result: Image.Image) -> Image.Image:
    """A 100 % crop with the corner of four repeats in its middle."""
    pixels = np.roll(np.asarray(result), (CROP // 2, CROP // 2), (0, 1))
    return Image.fromarray(pixels[:CROP, :CROP])


def main() -> None:
    DOCS.mkdir(exist_ok=True)
    backbone = texgen.load("mini")
    with Image.open(SWATCH) as swatch:
        for preset in ("draft", "standard", "best"):
            result = texgen.expand(SWATCH, 1024, model=backbone, preset=preset, seed=7)
            print(preset, round(sum(result.timings.values()), 1), "s", result.timings)
            across_wrap(result.image).save(DOCS / f"{preset}.jpg", quality=92)
            if preset == "standard":
                hero(swatch, result.image).save(DOCS / "hero.jpg", quality=90)
                contact_sheet(swatch, result.image).save(DOCS / "demo_sheet.jpg", quality=90)


if __name__ == "__main__":
    main()
