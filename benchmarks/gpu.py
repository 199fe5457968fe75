"""Speed and memory of diffusion models on a GPU, per tile and for whole textures: the table in `RESULTS.md`, in about ten minutes.

    python benchmarks/gpu.py                              # Stable Diffusion 1.5's architecture with random weights
    python benchmarks/gpu.py --model ~/models/sdxl --compile
    python benchmarks/gpu.py --toy --device cpu           # a tiny network: seconds, to try the script

Random weights cost as much as trained ones, and say nothing about pictures. The first table measures batches of native tiles: a noise prediction
and an AD iteration, TFLOP/s by torch's own count, and memory next to the estimate by which batches are planned. The second measures whole textures
from the swatch model's start with M = 2: tile steps per second, also as a share of the speed of a large matrix product on this card, wall time,
peak memory. A texture gets fewer steps than asked for if they would take longer than `--minutes`; the last column extrapolates its sampling time.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from speed import peak_gib, seconds
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

import texgen
from texgen.diffusion.guidance.distill import distill
from texgen.diffusion.guidance.exemplar_keys import choose_layers, exemplar_key_values
from texgen.diffusion.guidance.settings import Guidance
from texgen.diffusion.memory import GIB, MOST_TILES, tile_bytes
from texgen.diffusion.models.loading.load import DTYPES, choose_device, choose_dtype
from texgen.diffusion.models.networks.compiled import compile_parts
from texgen.diffusion.sampling.determinism import deterministic
from texgen.diffusion.sampling.loop import normal

SWATCH = Path(__file__).parent.parent / "examples" / "swatches" / "stone_wall.jpg"
TIMESTEP, ITERATIONS = 100, 2
WIDTHS = {"sd15": ((320, 640, 1280, 1280), (128, 256, 512, 512), 64), "toy": ((32,) * 4, (32,) * 4, 16)}
"""Channels of the UNet and of the autoencoder, and side of the tile in latent pixels."""


def random_model(kind: str, device: torch.device, dtype: torch.dtype) -> texgen.UNetModel:
    """An architecture of Stable Diffusion 1.x with random weights."""
    unet, autoencoder, side = WIDTHS[kind]
    torch.manual_seed(0)
    with torch.device(device):
        network = UNet2DConditionModel(
            sample_size=side, cross_attention_dim=768, attention_head_dim=8, block_out_channels=unet
        )
        vae = AutoencoderKL(
            block_out_channels=autoencoder,
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            layers_per_block=2,
        )
        condition = {"encoder_hidden_states": torch.randn(1, 77, 768).to(dtype)}
    schedule = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "steps_offset": 1}
    return texgen.UNetModel(
        name=f"{kind}-random",
        unet=network.to(dtype).to(memory_format=torch.channels_last),
        autoencoder=vae,
        scheduler=DDIMScheduler(**schedule, clip_sample=False, set_alpha_to_one=False),
        condition=condition,
        fingerprint="random",
    )


def flops(work: Callable[[], object]) -> int:
    """Floating-point operations of `work`, by torch's count."""
    with FlopCounterMode(display=False) as counter:
        work()
    return counter.get_total_flops()


def matrix_peak(device: torch.device, dtype: torch.dtype) -> float:
    """TFLOP/s of a large matrix product."""
    side = 8192 if device.type == "cuda" else 512
    left, right = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
    return 2 * side**3 / 1e12 / seconds(lambda: left @ right, 5)


class TileWork:
    """A noise prediction and an AD iteration on a batch of native tiles."""

    def __init__(self, backbone: texgen.UNetModel, batch: int) -> None:
        shape = (backbone.latent_channels, *backbone.native_tile)
        self.latents = normal((batch, *shape), torch.Generator().manual_seed(0)).to(backbone.device)
        self.layers = choose_layers(backbone.attention_layers)
        self.backbone = backbone

    def predict(self) -> Tensor:
        with torch.no_grad(), self.backbone.denoiser() as tap, deterministic(self.latents.device):
            return tap(self.latents, TIMESTEP)

    def distill(self) -> object:
        with self.backbone.denoiser() as tap, deterministic(self.backbone.device):
            ideal = exemplar_key_values(tap, [self.latents[:1]], TIMESTEP, self.layers)
            return distill(tap, self.latents, TIMESTEP, ideal, Guidance(iterations=1))


def tile_table(backbone: texgen.UNetModel, batches: Sequence[int], repeats: int, work: tuple[int, int]) -> float:
    """Costs of a tile in batches of several sizes; the least seconds of a tile step.

    Args:
        backbone: The model.
        batches: Tiles at once.
        repeats: Of each measurement.
        work: Operations of a prediction and of an iteration on one tile.
    """
    estimate, best = tile_bytes(backbone, backbone.native_tile) / GIB, math.inf
    print(
        "| tiles at once | prediction, ms a tile | TFLOP/s | AD iteration, ms a tile | TFLOP/s | GiB a tile | estimated |"
    )
    print("|---|---|---|---|---|---|---|")
    for batch in batches:
        tiles = TileWork(backbone, batch)
        before = reset_peak(backbone.device)
        times = [seconds(job, repeats) / batch for job in (tiles.predict, tiles.distill)]
        cells = [f"{f(t, w):.4g}" for t, w in zip(times, work, strict=True) for f in (lambda t, _: 1e3 * t, rate)]
        memory = "-" if before is None else f"{(torch.cuda.max_memory_allocated() / GIB - before) / batch:.2f}"
        print(f"| {batch} | {' | '.join(cells)} | {memory} | {estimate:.2f} |", flush=True)
        best = min(best, times[0] + ITERATIONS * times[1])
    return best


def rate(taken: float, operations: float) -> float:
    """TFLOP/s."""
    return operations / 1e12 / taken


def reset_peak(device: torch.device) -> float | None:
    """GiB in use on a GPU; also resets its peak."""
    if device.type != "cuda":
        return None
    torch.cuda.reset_peak_memory_stats()
    return torch.cuda.memory_allocated() / GIB


def affordable(steps: int, tiles: int, tile_step: float, most: float) -> int:
    """Number of steps of `tiles` tiles that fit into `most` seconds: at least one, at most `steps`."""
    return max(1, min(steps, int(most / (tiles * tile_step))))


def whole(
    backbone: texgen.UNetModel, size: int, steps: int, tile_step: float, most: float, work: float, peak: float
) -> str:
    """The row of a texture at full strength.

    Args:
        backbone: The model.
        size: Its side, in px.
        steps: Wanted.
        tile_step: Seconds of one, about.
        most: Seconds that sampling may take.
        work: Operations of a tile step.
        peak: TFLOP/s of a matrix product.
    """
    side = backbone.native_tile.scaled(backbone.factor).height
    run = affordable(steps, math.ceil(size / side) ** 2, tile_step, most)
    reset_peak(backbone.device)
    options = {"steps": run, "iterations": ITERATIONS, "strength": 1.0, "start": "swatch", "detail": "none"}
    result = texgen.expand(SWATCH, size, model=backbone, seed=7, **options)
    taken, sampling = sum(result.timings.values()), result.timings["sample"]
    tiles = result.recipe["tile_steps"]
    memory = peak_gib() if backbone.device.type != "cuda" else torch.cuda.max_memory_allocated() / GIB
    cells = (
        f"{size}", f"{run}", f"{tiles}", f"{result.recipe['tile_batch']}", f"{tiles / sampling:.3g}", f"{rate(sampling, tiles * work) / peak:.1%}",
        f"{taken:.1f}", f"{sampling:.1f}", f"{result.timings['decode']:.1f}", f"{memory:.2f}", f"{taken + sampling * (steps / run - 1):.0f}",
    )  # fmt: skip
    result.discard()
    return f"| {' | '.join(cells)} |"


def main(words: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="a folder, file or hub id; random weights by default")
    parser.add_argument("--toy", action="store_true", help="a tiny network")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--dtype", default="auto", choices=["auto", *DTYPES])
    parser.add_argument("--compile", action="store_true", help="have torch compile parts of the network")
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 4, 16, MOST_TILES])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--sizes", type=int, nargs="*", default=[1024, 4096], help="of whole textures, in px")
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--minutes", type=float, default=4, help="that the sampling of a texture may take")
    arguments = parser.parse_args(words)
    device = choose_device(arguments.device)
    dtype = choose_dtype(arguments.dtype, device)
    if arguments.model:
        backbone = texgen.load(arguments.model, arguments.device, arguments.dtype)
    else:
        backbone = random_model("toy" if arguments.toy else "sd15", device, dtype)
    card = torch.cuda.get_device_name() if device.type == "cuda" else f"{torch.get_num_threads()} CPU threads"
    one, peak = TileWork(backbone, 1), matrix_peak(device, dtype)
    work = flops(one.predict), flops(one.distill)
    print(f"{card}, torch {torch.__version__}, {backbone.name}, {dtype}{', compiled' if arguments.compile else ''}")
    print(
        f"matrix product {peak:.4g} TFLOP/s; of a tile: prediction {work[0] / 1e12:.4g} TFLOP, AD iteration {work[1] / 1e12:.4g}\n"
    )
    if arguments.compile:
        compile_parts(backbone.network)
        backbone.compiled = True
    tile_step = tile_table(backbone, arguments.batches, arguments.repeats, work)
    print(
        f"\n| px | steps | tile steps | at once | tile steps/s | of the matrix product | s | sampling | decoding | peak GiB | s for {arguments.steps} steps |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|---|")
    texgen.expand(SWATCH, 64, seed=7)  # the swatch model compiles once a machine
    each = work[0] + ITERATIONS * work[1]
    for size in arguments.sizes:
        print(whole(backbone, size, arguments.steps, tile_step, 60 * arguments.minutes, each, peak), flush=True)


if __name__ == "__main__":
    main()
