"""Measures of how well textures follow label maps, layouts, holes and companion maps, and of flattened light.

    python benchmarks/steering.py paint [--size 1024x1536] [--preset draft --preset standard:seed=3]
    python benchmarks/steering.py layout
    python benchmarks/steering.py fill
    python benchmarks/steering.py register
    python benchmarks/steering.py light

`paint` paints two and four materials along maps of `regions.py`; one pair has equal mean colours. `layout` follows rough
plans. `fill` remakes a hole in each swatch, and the border of each. `register` runs every verb and checks that the colours and normals made
are in register. `light` lights swatches unevenly and removes that light.
Pictures are written to --out.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Callable, Sequence
from pathlib import Path

import metrics
import numpy as np
import torch
from likeness import coherence
from PIL import Image
from quality import parse
from readme_pictures import as_lit_and_flattened, hole, lit, relief, rough
from regions import four_regions, label_agreement, two_regions
from sheet import repeated
from torch import Tensor

import texgen
from texgen.files import image as images
from texgen.files.pixels import rounded
from texgen.materials.uneven_light import flattened
from tiling import Size

SWATCHES = Path(__file__).parent.parent / "examples" / "swatches"
NAMES = ("forest_floor.jpg", "stone_wall.jpg", "sandstone.jpg", "rusty_metal.jpg")
PAIRS = {"two": NAMES[:2], "equal colour": ("wood_planks.jpg", "stone_wall.jpg"), "four": NAMES}
FILLED = (
    "stone_wall.jpg",
    "forest_floor.jpg",
    "wood_planks.jpg",
    "roof_shingles.jpg",
    "rusty_metal.jpg",
    "sandstone.jpg",
)
ALONE = 3
"""Seeds of the textures without a map that a region is compared with. Several, because a small region of one may be a straight copy."""
PLACES = ((0, 0), (-40, -90), (-100, -33), (-170, -200), (-23, -150), (-77, -10))
"""Shifts in pixels by which a swatch is rolled before a piece with a hole is cut out. Several, because a rim that happens to lie on an edge is steep in the intact piece, too."""
EVERYWHERE = 9
"""Pixels beside a border that belong to no region when its coherence is measured."""


def same_colour(image: Tensor, other: Tensor) -> Tensor:
    """An image with the channels' means and deviations of another."""
    mean, deviation = (
        f(other, (2, 3)) for f in (lambda x, d: x.mean(d, keepdim=True), lambda x, d: x.std(d, keepdim=True))
    )
    spread = (image - image.mean((2, 3), keepdim=True)) / image.std((2, 3), keepdim=True)
    return (mean + spread * deviation).clamp(0, 1)


def paint(variants: list[str], size: Size, out: Path, model: str) -> None:
    """Agreement with the map, and the coherence of each region relative to the mean of the same place in its swatch expanded alone."""
    print("| materials | variant | agreement | boundary, px | halo | coherence 99 per region, over alone | s |")
    print("|---|---|---|---|---|---|---|")
    for name, files in PAIRS.items():
        exemplars = [images.read(SWATCHES / file) for file in files]
        if name == "equal colour":
            exemplars[0] = same_colour(exemplars[0], exemplars[1])
        target = (four_regions if len(files) == 4 else two_regions)(size, tileable=True)
        for variant in variants:
            preset, options = parse(variant)
            options = {"model": model, "preset": preset, "seed": 7, **options}
            result = texgen.paint(dict(enumerate(exemplars)), target, **options)
            picture, ratios = images.read(result.image), []
            for label, exemplar in enumerate(exemplars):
                others = [
                    texgen.expand(exemplar, size, **{**options, "seed": options["seed"] + n}).image
                    for n in range(ALONE)
                ]
                inside = ~torch.nn.functional.max_pool2d(
                    (target != label)[None, None].float(), EVERYWHERE, 1, EVERYWHERE // 2
                )[0, 0].bool()
                alone = np.mean([coherence(images.read(other), exemplar, inside) for other in others])
                ratios.append(coherence(picture, exemplar, inside) / float(alone))
            found = label_agreement(picture, target, exemplars, wrapped=True)
            row = [name, variant, *(f"{found[k]:.3f}" for k in ("agreement", "boundary_px", "halo"))]
            row += [" ".join(f"{ratio:.2f}" for ratio in ratios), f"{sum(result.timings.values()):.0f}"]
            print("| " + " | ".join(row) + " |", flush=True)
            result.image.save(out / f"paint_{name}_{variant}_{size}.png".replace(" ", "-").replace(":", "_"))


def layout(variants: list[str], out: Path, model: str, files: Sequence[str]) -> None:
    """Correlation of 64 px means with the plan, and coherence relative to that of a texture without a plan."""
    print(
        "| swatch | variant | correlation | coherence 99, over free | copied | sharpness | s |\n|---|---|---|---|---|---|---|"
    )
    for file in files:
        exemplar = images.read(SWATCHES / file)
        with Image.open(SWATCHES / file) as swatch:
            plan = rough(swatch)
        for variant in variants:
            preset, options = parse(variant)
            options = {"model": model, "preset": preset, "seed": 7, **options}
            result = texgen.layout(SWATCHES / file, plan, **options)
            options.pop("layout_weight", None)
            free = images.read(texgen.expand(SWATCHES / file, plan.size[::-1], **options).image)
            picture = images.read(result.image)
            measured, unsteered = metrics.likeness(picture, exemplar), metrics.likeness(free, exemplar)
            row = [file, variant, f"{metrics.layout_agreement(picture, images.read(plan)):.2f}"]
            row += [f"{measured.coherence_99 / unsteered.coherence_99:.2f}", f"{measured.copied:.2f}"]
            row += [f"{metrics.sharpness(picture) / metrics.sharpness(exemplar):.2f}"]
            row += [f"{sum(result.timings.values()):.0f}"]
            print("| " + " | ".join(row) + " |", flush=True)
            result.image.save(out / f"layout_{Path(file).stem}_{variant}.png".replace(":", "_"))


def rim_ratio(picture: np.ndarray, mask: np.ndarray) -> float:
    """Gradient across the rim of a mask (H, W) divided by that everywhere else; 1 means that no rim is visible."""
    at, elsewhere = [], []
    for axis in (0, 1):
        gradient = np.abs(np.diff(picture.astype(float), axis=axis)).mean(2)
        rim = np.diff(mask.astype(np.int8), axis=axis) != 0
        at.append(gradient[rim])
        elsewhere.append(gradient[~rim])
    return float(np.concatenate(at).mean() / np.concatenate([e.ravel() for e in elsewhere]).mean())


def fill(variants: list[str], out: Path, model: str, files: Sequence[str]) -> None:
    """Gradient across the rim of a hole, in the piece itself and filled; across the border of a piece made to tile. Means over `PLACES`."""
    print("| swatch | variant | rim, itself | rim, filled | wrap, itself | wrap, tiled | kept | s |")
    print("|---|---|---|---|---|---|---|---|")
    for file in files:
        whole = rounded(images.read(SWATCHES / file)[0].permute(1, 2, 0).numpy(), np.uint8)
        side = min(512, *whole.shape[:2]) * 7 // 8 // 8 * 8  # no longer tileable, if it was
        mask = hole(side, side)
        for variant in variants:
            preset, options = parse(variant)
            options = {"model": model, "preset": preset, "seed": 7, **options}
            found, kept = [], True
            for number, place in enumerate(PLACES):
                options["seed"] += 1
                before = np.roll(whole, place, (0, 1))[:side, :side]
                filled = texgen.fill(np.where(mask[..., None], np.uint8(0), before), np.uint8(mask) * 255, **options)
                tiled = texgen.tile(before, **options)
                after = np.asarray(filled.image)
                wraps = (metrics.line_percentile(images.read(image)) for image in (before, tiled.image))
                found.append([rim_ratio(before, mask), rim_ratio(after, mask), *wraps, sum(filled.timings.values())])
                kept &= bool((after[~mask] == before[~mask]).all())
                name = f"{Path(file).stem}_{variant}_{number}.png".replace(":", "_")
                filled.image.save(out / f"fill_{name}")
                repeated(tiled.image, 2).save(out / f"tile_{name}")
            own, made, wrap, wrap_tiled, seconds = np.mean(found, 0)
            print(
                f"| {file} | {variant} | {own:.2f} | {made:.2f} | {wrap:.0f} | {wrap_tiled:.0f} | {kept} | {seconds:.0f} |",
                flush=True,
            )


def angle(normals: np.ndarray, others: np.ndarray) -> float:
    """Mean angle between two maps of 16-bit normals, in degrees."""
    vectors, towards = (n / 32767.5 - 1 for n in (normals, others))
    return float(np.degrees(np.arccos((vectors * towards).sum(-1).clip(-1, 1)).mean()))


def peak(normals: np.ndarray, others: np.ndarray) -> tuple[int, int]:
    """The shift (down, right) in pixels, up to 3, at which the edges of two maps correlate best."""
    edges = [np.hypot(*np.gradient(image.astype(float).mean(-1))) for image in (normals, others)]
    edges = [image - image.mean() for image in edges]
    shifts = itertools.product(range(-3, 4), repeat=2)
    return max(shifts, key=lambda shift: float((edges[0] * np.roll(edges[1], shift, (0, 1))).mean()))


def register(variants: list[str], model: str) -> None:
    """Colours and normals of every verb: the shift between their edges; the angle between the normals made and those of the colours made, over that
    between the swatch's normals and the same moved by a pixel."""
    print("| verb | variant | shift, px | angle, degrees | of a pixel in the swatch | s |\n|---|---|---|---|---|---|")
    wall, leaves, examples = SWATCHES / "stone_wall.jpg", SWATCHES / "forest_floor.jpg", SWATCHES.parent
    with Image.open(wall) as one, Image.open(leaves) as other:
        pictures = [np.asarray(image.convert("RGB")) for image in (one, other)]
    normals = [relief(picture) for picture in pictures]
    own = max(angle(each, np.roll(each, 1, 1)) for each in normals)
    mask = np.repeat(hole(512, 512)[..., None] * np.uint8(255), 3, 2)
    verbs: dict[str, Callable[..., texgen.Result]] = {
        "expand": lambda **o: texgen.expand(wall, 512, **o),
        "paint": lambda **o: texgen.paint({"gray": wall, "green": leaves}, examples / "map.png", **o),
        "layout": lambda **o: texgen.layout(wall, examples / "plan.png", 512, **o),
        "guide": lambda **o: texgen.expand(
            wall, 512, guides=[(relief(pictures[0])[..., :1], relief(pictures[1])[..., :1])], **o
        ),
        "orientation": lambda **o: texgen.expand(wall, 512, orientation=examples / "flow.png", **o),
        "transfer": lambda **o: texgen.transfer(wall, examples / "stones.png", 512, **o),
        "fill": lambda **o: texgen.fill(wall, mask, **o),
        "tile": lambda **o: texgen.tile(pictures[0], **o),
        "keep": lambda **o: texgen.expand(wall, 768, keep=(100, 100), **o),
    }
    for variant, (name, verb) in itertools.product(variants, verbs.items()):
        preset, options = parse(variant)
        maps = {"normal": normals if name == "paint" else normals[0]}
        result = verb(maps=maps, model=model, preset=preset, seed=7, **options)
        colours, made = np.asarray(result.image), result.maps["normal"][:]
        row = [name, variant, str(peak(relief(colours), made)), f"{angle(relief(colours), made):.2f}", f"{own:.2f}"]
        print("| " + " | ".join([*row, f"{sum(result.timings.values()):.0f}"]) + " |", flush=True)


def slow_energy(image: Tensor) -> float:
    """Standard deviation, in levels of 255, of the mean brightness of squares with an eighth of the picture's side."""
    return float(torch.nn.functional.interpolate(metrics.grey(image), (8, 8), mode="area").std()) * 255


def light(variants: list[str], out: Path, files: Sequence[str]) -> None:
    """Slow changes of brightness in the unevenly lit and the flattened swatch, and in the textures made from both; 4x4 repeats."""
    print(
        "| swatch | itself | flattened | lit | lit, flattened | texture of lit | texture of lit, flattened |\n|---|---|---|---|---|---|---|"
    )
    preset, options = parse(variants[0])
    for file in files:
        swatch = images.read(SWATCHES / file)[..., :512, :512]
        uneven = lit(swatch)
        found = [slow_energy(x) for x in (swatch, flattened(swatch), uneven, flattened(uneven))]
        made = as_lit_and_flattened(uneven, preset=preset, **options)
        for picture, kind in zip(made, ("lit", "flattened"), strict=True):
            found.append(slow_energy(images.read(picture)))
            small = picture.resize((256, 256), Image.Resampling.LANCZOS)
            repeated(small, 4).save(out / f"light_{Path(file).stem}_{kind}.png")
        print("| " + " | ".join([file, *(f"{value:.1f}" for value in found)]) + " |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["paint", "layout", "fill", "register", "light"])
    parser.add_argument("--size", default="512x512", help="WxH of painted textures")
    parser.add_argument("--preset", action="append", help="preset[:option=value,...]; repeatable")
    parser.add_argument("--only", nargs="*", help="file names of swatches, for layout, fill and light")
    parser.add_argument("--out", type=Path, default=Path("out/steering"))
    parser.add_argument("--model", default="swatch")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    variants = arguments.preset or ["draft", "standard"]
    if arguments.what == "paint":
        width, height = (int(side) for side in arguments.size.split("x"))
        paint(variants, Size(height, width), arguments.out, arguments.model)
    elif arguments.what == "layout":
        layout(variants, arguments.out, arguments.model, arguments.only or NAMES)
    elif arguments.what == "register":
        register(variants, arguments.model)
    elif arguments.what == "light":
        light(arguments.preset or ["draft"], arguments.out, arguments.only or FILLED)
    else:
        fill(variants, arguments.out, arguments.model, arguments.only or FILLED)


if __name__ == "__main__":
    main()
