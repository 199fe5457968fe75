"""Make `docs/preview.jpg`: the preview of a texture with height and roughness guessed from its luminance.

python benchmarks/preview_picture.py        # also leaves the material in out/wall, with a page that shows it
"""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.ndimage import gaussian_filter

import texgen

ROOT = Path(__file__).parent.parent
SWATCH = ROOT / "examples" / "swatches" / "stone_wall.jpg"
FOLDER = ROOT / "out" / "wall"


def guessed_height(luminance: np.ndarray) -> np.ndarray:
    """Heights (H, W) in [0, 1] for a wall that tiles: the mortar is brighter than the stones, and lies deeper."""
    fine, middle, coarse, wide = (gaussian_filter(luminance, width, mode="wrap") for width in (1.2, 3, 9, 60))
    mortar = np.clip((middle - wide - 0.01) / 0.12, 0, 1)
    height = 1 - gaussian_filter(mortar, 4, mode="wrap") + 1.1 * (fine - coarse)
    low, high = np.percentile(height, (0.5, 99.5))
    return np.clip((height - low) / (high - low), 0, 1)


def main() -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    texgen.expand(SWATCH, 1024, tileable="both", seed=7).save(FOLDER / "wall.png", metadata=False)
    with Image.open(FOLDER / "wall.png") as picture:
        luminance = np.asarray(picture.convert("L"), np.float32) / 255
    height = guessed_height(luminance)
    Image.fromarray(np.rint(height * 65535).astype(np.uint16)).save(FOLDER / "wall_height.png")
    roughness = 0.9 - 0.3 * height
    Image.fromarray(np.rint(roughness * 255).astype(np.uint8)).save(FOLDER / "wall_roughness.png")
    started = time.perf_counter()
    look = texgen.preview(FOLDER)
    look.image.save(ROOT / "docs" / "preview.jpg", quality=88)
    print(f"read and rendered in {time.perf_counter() - started:.1f} s")
    look.save(FOLDER / "look.html", overwrite=True)


if __name__ == "__main__":
    main()
