"""Make the README's pictures with the commands it prints.

python benchmarks/readme_pictures.py presets          # one run per preset at 1024 px, seed 7
python benchmarks/readme_pictures.py layout           # rough plans and textures laid out like them
python benchmarks/readme_pictures.py guides           # moss in drawn crevices, shingles and grain along a flow
python benchmarks/readme_pictures.py paint            # a label map, painted sharply and with soft borders
python benchmarks/readme_pictures.py fill             # a hole filled, a picture made to tile
python benchmarks/readme_pictures.py maps             # a texture and its normals, in register
python benchmarks/readme_pictures.py alpha            # leaves on nothing, and a texture of them
python benchmarks/readme_pictures.py light            # an unevenly lit swatch, expanded as it is and flattened
python benchmarks/readme_pictures.py mini             # the diffusion path with the bundled network: expand, paint, layout, transfer
python benchmarks/readme_pictures.py large BIG.tif    # a finished 4096 px texture of the same swatch
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
import torch
from metrics import layout_agreement
from PIL import Image
from scipy.ndimage import gaussian_filter
from sheet import contact_sheet, repeated
from torch import Tensor

import texgen
from texgen.files import image as images

ROOT = Path(__file__).parent.parent
SWATCH = ROOT / "examples" / "swatches" / "stone_wall.jpg"
DOCS = ROOT / "docs"
PLAN, MAP, HOLE, MOSS, STONES, FLOW = (
    ROOT / "examples" / f"{name}.png" for name in ("plan", "map", "hole", "moss", "stones", "flow")
)
ROCK = ROOT / "examples" / "mossy_rock.jpg"
HERO, CROP, LARGE = 420, 320, 800
LAID_OUT = ("forest_floor", "stone_wall", "sandstone")


def hero(swatch: Image.Image, result: Image.Image) -> Image.Image:
    """Swatch and result at one scale, and the result repeated 2x2."""
    scale = HERO / result.height
    panels = [
        swatch.resize([round(side * scale) for side in swatch.size], Image.Resampling.LANCZOS),
        result.resize((HERO, HERO), Image.Resampling.LANCZOS),
        repeated(result, 2).resize((2 * HERO, 2 * HERO), Image.Resampling.LANCZOS),
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


def large(swatch: Image.Image, path: Path) -> Image.Image:
    """Swatch and result at one scale, and a part of the result at 100 %."""
    pixels = tifffile.imread(path)
    scale = LARGE / pixels.shape[0]
    middle = [(side - LARGE) // 2 for side in pixels.shape[:2]]
    crop = pixels[middle[0] : middle[0] + LARGE, middle[1] : middle[1] + LARGE]
    sheet = Image.new("RGB", (2 * LARGE + 116, LARGE), "white")
    sheet.paste(swatch.resize([round(side * scale) for side in swatch.size], Image.Resampling.LANCZOS), (0, 0))
    sheet.paste(Image.fromarray(pixels).resize((LARGE, LARGE), Image.Resampling.LANCZOS), (108, 0))
    sheet.paste(Image.fromarray(crop), (LARGE + 116, 0))
    return sheet


def rough(swatch: Image.Image, height: int = 512, width: int = 768) -> Image.Image:
    """A plan in three of the swatch's own colours: a dark disc and a bright box."""
    colours = np.asarray(swatch.convert("RGB").resize((64, 64), Image.Resampling.BOX)).reshape(-1, 3).astype(float)
    order = np.argsort(colours.mean(1))
    few = len(order) // 12
    plan = np.tile(colours.mean(0), (height, width, 1))
    y, x = np.mgrid[:height, :width]
    plan[(x - width // 4) ** 2 + (y - height // 2) ** 2 < (height // 4) ** 2] = colours[order[:few]].mean(0)
    plan[(abs(x - width * 7 // 10) < width // 8) & (abs(y - height // 2) < height * 3 // 10)] = colours[
        order[-few:]
    ].mean(0)
    return Image.fromarray(plan.round().astype(np.uint8))


def layouts() -> Image.Image:
    """Plans above, textures below. Also prints how well they agree."""
    columns = []
    for name in LAID_OUT:
        path = next(SWATCH.parent.glob(f"{name}.*"))
        with Image.open(path) as swatch:
            plan = rough(swatch)
        result = texgen.layout(path, plan, seed=1)
        agreement = layout_agreement(images.read(result.image), images.read(plan))
        print(name, f"correlation of 64 px means {agreement:.2f}")
        if name == LAID_OUT[0]:
            plan.save(PLAN)
        columns.append(Image.fromarray(np.concatenate([np.asarray(plan), np.asarray(result.image)])))
    return beside(columns, columns[0].height * 2 // 3)


def moss(swatch: np.ndarray) -> np.ndarray:
    """Where a swatch (H, W, 3) of grey rock is overgrown, (H, W), uint8: bright where its colours are strong."""
    strength = gaussian_filter(swatch.max(-1) - swatch.min(-1), 2)
    overgrown = gaussian_filter(1 / (1 + np.exp((38 - strength) / 6)), 3)
    return np.rint(overgrown / overgrown.max() * 255).astype(np.uint8)


def cells(side: int = 768, rows: int = 6, columns: int = 5) -> np.ndarray:
    """Joints between the cells of uneven points, (side, side), uint8; they repeat without a seam."""
    random, places = np.random.default_rng(3), []
    for row in range(rows):
        for column in range(columns):
            y = (row + 0.5 + 0.25 * random.standard_normal()) * side / rows
            places.append((y, (column + 0.5 + row % 2 / 2 + 0.2 * random.standard_normal()) * side / columns))
    y, x = np.mgrid[:side, :side].astype(float)
    away = [
        np.hypot(*((at - p + side / 2) % side - side / 2 for at, p in zip((y, x), place, strict=True)))
        for place in places
    ]
    nearest, next_ = np.sort(np.stack(away), 0)[:2]
    return np.rint(gaussian_filter((next_ - nearest < 14).astype(np.float32), 2, mode="wrap") * 255).astype(np.uint8)


def flow(side: int = 768) -> np.ndarray:
    """A stream around two whirls, as a flow map (side, side, 3), uint8: red to the right, green upwards."""
    y, x = np.mgrid[:side, :side] / side
    right, down = np.zeros((side, side)), np.full((side, side), -0.6)
    for left, top, sense, reach in ((0.33, 0.39, 1.0, 0.16), (0.73, 0.68, -1.0, 0.14)):
        dx, dy = x - left, y - top
        strength = sense * 2.2 / reach * np.exp(-(dx**2 + dy**2) / reach**2)
        right, down = right - strength * dy, down + strength * dx
    length = np.hypot(right, down)
    vectors = np.stack([right / length, -down / length, np.zeros_like(length)], -1)
    return np.rint((vectors + 1) / 2 * 255).astype(np.uint8)


def guided() -> Image.Image:
    """A mossy rock, drawn crevices, and moss in them; a flow map, shingles and grain along it."""
    with Image.open(ROCK) as opened:
        rock = opened.convert("RGB")
    Image.fromarray(moss(np.asarray(rock, np.float32))).save(MOSS)
    Image.fromarray(cells()).save(STONES)
    Image.fromarray(flow()).save(FLOW)
    options = {"size": 768, "seed": 1}
    stones = texgen.expand(ROCK, guides=[(MOSS, STONES)], **options).image
    swatches = (SWATCH.with_name("roof_shingles.jpg"), ROOT / "benchmarks" / "swatches" / "long_grain.png")
    turned = [texgen.expand(path, orientation=FLOW, tileable="none", **options).image for path in swatches]
    return beside([rock, Image.open(STONES).convert("RGB"), stones, Image.open(FLOW), *turned], 400)


def label_map(height: int = 512, width: int = 768) -> Image.Image:
    """Gray stones on green: a disc and a wavy path; it tiles."""
    y, x = np.mgrid[:height, :width]
    stones = (x - 220) ** 2 + (y - height // 2) ** 2 < 150**2
    stones |= (x > 500 + 40 * np.sin(4 * np.pi * y / height)) & (x < 680 + 24 * np.sin(2 * np.pi * y / height))
    return Image.fromarray(np.where(stones[..., None], np.uint8(128), np.array([0, 128, 0], np.uint8)))


def painted() -> Image.Image:
    """The map, painted sharply, and with soft borders."""
    label_map().save(MAP)
    materials = {"green": SWATCH.with_name("forest_floor.jpg"), "gray": SWATCH}
    sharp = texgen.paint(materials, MAP, seed=1)
    soft = texgen.paint(materials, MAP, softness=160, seed=1)
    return beside([label_map(), sharp.image, soft.image], 400)


def hole(height: int, width: int) -> np.ndarray:
    """A disc and a box."""
    y, x = np.mgrid[:height, :width]
    side = min(height, width)
    mask: np.ndarray = (x - width // 2) ** 2 + (y - height // 2) ** 2 < (side // 6) ** 2
    mask[side // 8 : side * 9 // 32, side * 21 // 32 : side * 7 // 8] = True
    return mask


def filled() -> Image.Image:
    """A wall with a hole, filled; beside, a piece of sandstone repeated as it is, and made to tile."""
    with Image.open(SWATCH) as swatch, Image.open(SWATCH.with_name("sandstone.jpg")) as stone:
        wall, piece = swatch.convert("RGB"), stone.convert("RGB").crop((0, 0, 440, 440))
    mask = hole(wall.height, wall.width)
    Image.fromarray(np.repeat(mask[..., None], 3, 2).astype(np.uint8) * 255).save(HOLE)
    mended = texgen.fill(wall, HOLE, seed=1).image
    tiled = texgen.tile(piece, seed=1).image
    spoilt = Image.fromarray(np.where(mask[..., None], np.uint8(255), np.asarray(wall)))
    return beside([spoilt, mended, repeated(piece, 2), repeated(tiled, 2)], 440)


def relief(swatch: np.ndarray) -> np.ndarray:
    """Normals of a swatch, (H, W, 3), uint16, with its slightly smoothed brightness as height."""
    height = gaussian_filter(swatch.mean(-1), 1.5, mode="wrap") / 12
    dy, dx = np.gradient(height)
    vectors = np.stack([-dx, dy, np.ones_like(dx)], -1)
    vectors /= np.linalg.norm(vectors, axis=-1, keepdims=True)
    return np.rint((vectors + 1) / 2 * 65535).astype(np.uint16)


def mapped() -> Image.Image:
    """The swatch and its normals; a texture and its normals, both at 100 % across the wrap."""
    path = SWATCH.with_name("brick_round.jpg")
    with Image.open(path) as swatch:
        colours = np.asarray(swatch.convert("RGB"))
    normals = relief(colours)
    result = texgen.expand(path, 1024, maps={"normal": normals}, seed=7)
    made = [np.asarray(result.image), (result.maps["normal"][:] // 257).astype(np.uint8)]
    swatches = [colours[:LARGE, :CROP], (normals[:LARGE, :CROP] // 257).astype(np.uint8)]
    crops = [np.roll(picture, (256, 256), (0, 1))[:512, :512] for picture in made]
    return beside([Image.fromarray(picture) for picture in (*swatches, *crops)], 512)


def leaves(side: int = 256, count: int = 26) -> np.ndarray:
    """A tileable picture of leaves on a transparent ground, (side, side, 4), uint8."""
    random = np.random.default_rng(0)
    y, x = np.mgrid[:side, :side]
    found = np.zeros((side, side, 4))
    for _ in range(count):
        top, left, angle = *random.integers(0, side, 2), np.pi * random.random()
        length, width = random.uniform(18, 34), random.uniform(8, 14)
        down, right = ((way - start + side // 2) % side - side // 2 for way, start in ((y, top), (x, left)))
        along = (right * np.cos(angle) + down * np.sin(angle)) / length
        across = (down * np.cos(angle) - right * np.sin(angle)) / width
        alpha = ((1 - np.hypot(along, across)) * width).clip(0, 1)[..., None]
        colour = np.array([0.25 + 0.3 * random.random(), 0.45 + 0.3 * random.random(), 0.1])
        vein = (
            np.where(np.abs(across) > 0.08, 1, 0.8)[..., None]
            * (0.9 + 0.1 * np.sin(14 * along + 9 * np.abs(across)))[..., None]
        )
        found[..., :3] = np.where(alpha > 0, colour * vein, found[..., :3])
        found[..., 3:] = np.maximum(found[..., 3:], alpha)
    return (found.clip(0, 1) * 255).round().astype(np.uint8)


def cut_out() -> Image.Image:
    """Leaves and a texture of them, over stripes, at one scale."""
    swatch = leaves()
    made = texgen.expand(swatch, 512, seed=7)
    sheet = Image.new("RGB", (776, 512), "white")
    sheet.paste(over_stripes(swatch), (0, 128))
    sheet.paste(over_stripes(made.pixels[:]), (264, 0))
    return sheet


def over_stripes(pixels: np.ndarray) -> Image.Image:
    """A picture with alpha (H, W, 4), uint8, over grey stripes."""
    alpha = pixels[..., 3:] / 255
    stripes = np.indices(pixels.shape[:2]).sum(0)[..., None] // 16 % 2 * 40 + 160
    return Image.fromarray((pixels[..., :3] * alpha + stripes * (1 - alpha)).round().astype(np.uint8))


def lit(image: Tensor) -> Tensor:
    """A picture under light that fades from 1 to about 0.5, away from one corner and as a vignette."""
    height, width = image.shape[-2:]
    y, x = torch.meshgrid(torch.linspace(-1, 1, height), torch.linspace(-1, 1, width), indexing="ij")
    return image * (1 - 0.2 * (x + y + 2) / 2) * (1 - 0.15 * (x**2 + y**2))


def lighted() -> Image.Image:
    """4x4 repeats of a texture made from an unevenly lit wall, as it is and flattened."""
    made = as_lit_and_flattened(lit(images.read(SWATCH)), preset="draft")
    return beside([repeated(picture.resize((128, 128), Image.Resampling.LANCZOS), 4) for picture in made], 512)


def as_lit_and_flattened(swatch: Tensor, **options: Any) -> list[Image.Image]:
    """1024 px textures of a swatch, with its light as it is and flattened."""
    return [texgen.expand(swatch, 1024, seed=7, flatten_light=flatten, **options).image for flatten in (False, True)]


def by_mini(side: int = 256) -> Image.Image:
    """Inputs above, results of the bundled network below: AD-guided sampling, masked AD, a layout, a transfer."""
    swatches = SWATCH.parent
    with Image.open(PLAN) as plan, Image.open(MAP) as labels, Image.open(STONES) as content:
        plan, labels, content = (each.convert("RGB").crop((0, 0, side, side)) for each in (
            plan.resize((384, side)), labels.resize((384, side), Image.Resampling.NEAREST), content.resize((side, side)),
        ))  # fmt: skip
    options: dict[str, Any] = {"model": texgen.load("mini"), "seed": 7}
    materials = {"green": swatches / "forest_floor.jpg", "gray": swatches / "stone_wall.jpg"}
    made = [
        texgen.expand(swatches / "stone_wall.jpg", side, start="noise", steps=50, **options),
        texgen.paint(materials, labels, steps=60, **options),
        texgen.layout(swatches / "forest_floor.jpg", plan, **options),
        texgen.transfer(swatches / "rusty_metal.jpg", content, steps=60, **options),
    ]
    given = [Image.open(swatches / "stone_wall.jpg").crop((0, 0, side, side)), labels, plan, content]
    rows = [beside(row, side) for row in (given, [each.image for each in made])]
    sheet = Image.new("RGB", (rows[0].width, 2 * side + 8), "white")
    for number, row in enumerate(rows):
        sheet.paste(row, (0, number * (side + 8)))
    return sheet


def beside(pictures: list[Image.Image], height: int) -> Image.Image:
    """Pictures in a row, resized to the same height."""
    sized = [p.resize((round(p.width * height / p.height), height), Image.Resampling.LANCZOS) for p in pictures]
    sheet = Image.new("RGB", (sum(p.width + 8 for p in sized) - 8, height), "white")
    left = 0
    for picture in sized:
        sheet.paste(picture, (left, 0))
        left += picture.width + 8
    return sheet


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "what", choices=["presets", "layout", "guides", "paint", "fill", "maps", "alpha", "light", "mini", "large"]
    )
    parser.add_argument("path", type=Path, nargs="?")
    arguments = parser.parse_args()
    DOCS.mkdir(exist_ok=True)
    drawn = {
        "layout": layouts, "guides": guided, "paint": painted, "fill": filled, "maps": mapped, "alpha": cut_out, "light": lighted, "mini": by_mini,
    }  # fmt: skip
    if arguments.what == "presets":
        of_presets()
    elif arguments.what == "large":
        with Image.open(SWATCH) as swatch:
            large(swatch, arguments.path).save(DOCS / "large.jpg", quality=88)
    else:
        drawn[arguments.what]().save(DOCS / f"{arguments.what}.jpg", quality=88)


def of_presets() -> None:
    with Image.open(SWATCH) as swatch:
        for preset in ("draft", "standard", "best"):
            result = texgen.expand(SWATCH, 1024, preset=preset, seed=7)
            print(preset, round(sum(result.timings.values()), 1), "s", result.timings)
            across_wrap(result.image).save(DOCS / f"{preset}.jpg", quality=92)
            if preset == "standard":
                hero(swatch, result.image).save(DOCS / "hero.jpg", quality=90)
                contact_sheet(swatch, result.image).save(DOCS / "demo_sheet.jpg", quality=90)


if __name__ == "__main__":
    main()
