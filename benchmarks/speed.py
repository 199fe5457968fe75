"""Speed and memory: seconds per tile step and per megapixel, against the published schedule in the same run.

    python benchmarks/speed.py [--size 768]

The baseline is the published expansion run by the same code: a stride of an eighth of the tile, weights of one, a canvas that is not
tileable, exemplar features computed again for every tile. The rolled schedule is measured on tileable and other canvases. First the
planner itself counts the tiles of a step at several sizes. Compare the ratios; seconds depend on the machine.
"""

from __future__ import annotations

import argparse
import resource
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

import texgen
from texgen.diffusion.exemplar import encode_exemplar
from texgen.diffusion.guidance.distill import distill
from texgen.diffusion.guidance.exemplar_keys import Exemplars, choose_layers, exemplar_key_values
from texgen.diffusion.guidance.settings import Guidance
from texgen.diffusion.sampling.loop import Loop, normal
from texgen.diffusion.sampling.progress import Progress
from texgen.diffusion.sampling.sample import sample
from texgen.diffusion.sampling.tile_pass import TilePass
from texgen.files import image as images
from tiling import Size, Tile, Wrap, fixed_schedule, make_window, rolled_schedule

SWATCH = Path(__file__).parent.parent / "examples" / "swatches" / "stone_wall.jpg"
PLANE, TORUS = Wrap(), Wrap(True, True)
COUNTED, STEPS = (512, 768, 1024, 2048, 4096), 50


def seconds(work: Callable[[], object], repeats: int = 3) -> float:
    """Median time of `work` after one warm-up, with waiting for the GPU."""

    def timed() -> float:
        started = time.perf_counter()
        work()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        return time.perf_counter() - started

    timed()
    return sorted(timed() for _ in range(repeats))[repeats // 2]


def peak_gib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def tile_costs(backbone: texgen.UNetModel, repeats: int = 3) -> tuple[float, float]:
    """Seconds of one noise prediction and of one AD iteration on one native tile."""
    latents = normal((1, backbone.latent_channels, *backbone.native_tile), torch.Generator().manual_seed(0))
    layers = choose_layers(backbone.attention_layers)
    with backbone.denoiser() as tap:
        ideal = exemplar_key_values(tap, [latents], 100, layers)
        with torch.no_grad():
            forward = seconds(lambda: tap(latents, 100), repeats)
        iteration = seconds(lambda: distill(tap, latents, 100, ideal, Guidance(iterations=1)), repeats)
    return forward, iteration


def plan_of(name: str, canvas: Size, tile: Size, wrap: Wrap, steps: int) -> list[Sequence[Tile]]:
    """Tiles of every step: `rolled`, or as published."""
    if name == "rolled":
        return list(rolled_schedule(canvas, tile, wrap, steps, 0))
    return list(fixed_schedule(canvas, tile, Size(*(side // 8 for side in tile)), wrap, steps))


def count_tiles(tile: Size, factor: int) -> None:
    """Mean number of tiles in a step, and how many times as many the published schedule has."""
    print(f"| px | published | rolled, repeating | times | rolled, not repeating | times |\n|{6 * '---|'}")
    for side in COUNTED:
        canvas = Size(side // factor, side // factor)
        kinds = ("published", PLANE), ("rolled", TORUS), ("rolled", PLANE)
        published, torus, plane = (
            sum(map(len, plan_of(name, canvas, tile, wrap, STEPS))) / STEPS for name, wrap in kinds
        )
        print(
            f"| {side} | {published:,.0f} | {torus:g} | {published / torus:.1f} | {plane:g} | {published / plane:.1f} |"
        )


def against_published(backbone: texgen.UNetModel, side_px: int) -> None:
    """One scheduler step with one AD iteration of a whole canvas, both ways."""
    canvas = Size(side_px // backbone.factor, side_px // backbone.factor)
    tile = Size(*(min(t, c) for t, c in zip(backbone.native_tile, canvas, strict=True)))
    exemplar = encode_exemplar(backbone, [images.read(SWATCH)])
    latents = normal((1, backbone.latent_channels, *canvas), torch.Generator().manual_seed(0))
    schedule = backbone.schedule(50)
    timesteps = schedule.last(0.02)
    plans = {name: plan_of(name, canvas, tile, wrap, 1) for name, wrap in (("rolled", TORUS), ("published", PLANE))}
    found = {}
    for name, plan in plans.items():
        started = time.perf_counter()
        kind = "ones" if name == "published" else "hann"
        loop = Loop(
            model=backbone,
            schedule=schedule,
            timesteps=timesteps,
            tiles=TilePass(plans=plan, window=make_window(kind, tile)),
            exemplars=Exemplars(crops=exemplar.crops),
            guidance=Guidance(iterations=1),
        )
        for _ in sample(loop, Progress(latents=latents)):
            pass
        if name == "published":
            with backbone.denoiser() as tap:
                for _ in plan[0][1:]:
                    exemplar_key_values(tap, exemplar.crops, timesteps[0], choose_layers(backbone.attention_layers))
        found[name] = time.perf_counter() - started
        megapixels = side_px**2 / 1e6
        print(
            f"{name}: {len(plan[0])} tiles, {found[name]:.2f} s a step, {found[name] / megapixels:.2f} s per megapixel and step"
        )
    print(f"ratio published / rolled at {side_px}x{side_px}: {found['published'] / found['rolled']:.1f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=768)
    parser.add_argument("--model", default="mini")
    arguments = parser.parse_args()
    backbone = texgen.load(arguments.model)
    forward, iteration = tile_costs(backbone)
    print(
        f"{backbone.name}, {torch.get_num_threads()} threads, {backbone.unet.dtype}: native tile {backbone.native_tile.scaled(backbone.factor)} px"
    )
    count_tiles(backbone.native_tile, backbone.factor)
    print(f"noise prediction {forward:.3f} s, AD iteration {iteration:.3f} s a tile")
    against_published(backbone, arguments.size)
    print(f"peak memory {peak_gib():.2f} GiB")


if __name__ == "__main__":
    main()
