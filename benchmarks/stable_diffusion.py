"""What the Stable Diffusion path costs: the SD 1.5 architecture with random weights, tile by tile and a whole texture.

    python benchmarks/stable_diffusion.py --device cuda --size 4096 --steps 50 --iterations 2
    python benchmarks/stable_diffusion.py --device cpu --batches 1

Random weights cost what trained ones do and say nothing about pictures. The first table is a tile of 512 px: seconds of a noise
prediction and of an AD iteration, TFLOP/s by torch's own count, and peak memory beside the estimate that batches are planned by.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Callable
from pathlib import Path

import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from speed import seconds
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

import texgen
from texgen.diffusion.guidance.distill import distill
from texgen.diffusion.guidance.exemplar_keys import choose_layers, exemplar_key_values
from texgen.diffusion.guidance.settings import Guidance
from texgen.diffusion.memory import GIB, tile_bytes
from texgen.diffusion.sampling.determinism import deterministic
from texgen.diffusion.sampling.loop import normal

SWATCH = Path(__file__).parent.parent / "examples" / "swatches" / "stone_wall.jpg"
TIMESTEP = 100


def sd15(device: str = "cpu", dtype: torch.dtype = torch.float32) -> texgen.Backbone:
    """The full Stable Diffusion 1.5 network with random weights."""
    torch.manual_seed(0)
    with torch.device(device):
        unet = UNet2DConditionModel(sample_size=64, cross_attention_dim=768, attention_head_dim=8)
        autoencoder = AutoencoderKL(
            block_out_channels=(128, 256, 512, 512),
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            layers_per_block=2,
            sample_size=512,
        )
        condition = {"encoder_hidden_states": torch.randn(1, 77, 768).to(dtype)}
    schedule = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "steps_offset": 1}
    return texgen.Backbone(
        name="sd15-random",
        unet=unet.to(dtype).to(memory_format=torch.channels_last),
        autoencoder=autoencoder,
        scheduler=DDIMScheduler(**schedule, clip_sample=False, set_alpha_to_one=False),
        condition=condition,
        fingerprint="random",
    )


def flops(work: Callable[[], object]) -> int:
    """Floating-point operations of `work`, by torch's count."""
    with FlopCounterMode(display=False) as counter:
        work()
    return counter.get_total_flops()


class TileWork:
    """A noise prediction and an AD iteration on a batch of native tiles."""

    def __init__(self, backbone: texgen.Backbone, batch: int) -> None:
        shape = (backbone.latent_channels, *backbone.native_tile)
        self.latents = normal((batch, *shape), torch.Generator().manual_seed(0)).to(backbone.device)
        self.layers = choose_layers(backbone.attention_layers)
        self.backbone = backbone

    def predict(self) -> Tensor:
        with (
            torch.no_grad(),
            self.backbone.denoiser() as tap,
            deterministic(self.latents.device),
        ):
            return tap(self.latents, TIMESTEP)

    def distill(self) -> object:
        with self.backbone.denoiser() as tap, deterministic(self.backbone.device):
            ideal = exemplar_key_values(tap, [self.latents[:1]], TIMESTEP, self.layers)
            return distill(tap, self.latents, TIMESTEP, ideal, Guidance(iterations=1))


def tile_table(backbone: texgen.Backbone, batches: list[int], repeats: int) -> None:
    """Costs of a tile in batches of several sizes."""
    estimate = tile_bytes(backbone, backbone.native_tile)
    one = TileWork(backbone, 1)
    work = flops(one.predict), flops(one.distill)
    print(
        f"TFLOP a tile: prediction {work[0] / 1e12:.2f}, AD iteration with the exemplar's reading {work[1] / 1e12:.2f}"
    )
    print(
        "| batch | prediction s | TFLOP/s | AD iteration s | TFLOP/s | GiB a tile | estimated |\n|---|---|---|---|---|---|---|"
    )
    for batch in batches:
        tiles = TileWork(backbone, batch)
        before = _reset_peak()
        times = [seconds(job, repeats) / batch for job in (tiles.predict, tiles.distill)]
        rates = [
            flops(job) / batch / 1e12 / taken for job, taken in zip((tiles.predict, tiles.distill), times, strict=True)
        ]
        peak = (
            (torch.cuda.max_memory_allocated() - before) / batch / GIB
            if backbone.device.type == "cuda"
            else float("nan")
        )
        cells = [f"{value:.4g}" for value in (*itertools.chain(*zip(times, rates, strict=True)), peak, estimate / GIB)]
        print(f"| {batch} | " + " | ".join(cells) + " |", flush=True)


def _reset_peak() -> int:
    if not torch.cuda.is_available():
        return 0
    torch.cuda.reset_peak_memory_stats()
    return torch.cuda.memory_allocated()


def whole(backbone: texgen.Backbone, size: int, steps: int, iterations: int, start: str) -> None:
    """A texture at full strength, stage by stage."""
    texgen.expand(SWATCH, 64, seed=7)  # the swatch model compiles once a machine
    before = _reset_peak()
    result = texgen.expand(
        SWATCH,
        size,
        model=backbone,
        seed=7,
        steps=steps,
        iterations=iterations,
        strength=1.0,
        start=start,
        detail="none",
    )
    timings = {name: round(taken, 2) for name, taken in result.timings.items()}
    print(
        f"{size}x{size}, {steps} steps, M = {iterations}, start {start}: {sum(result.timings.values()):.1f} s, "
        f"{result.recipe['tile_steps']} tile steps in batches of {result.recipe['tile_batch']}, stages {timings}"
    )
    if backbone.device.type == "cuda":
        print(
            f"peak on the device {torch.cuda.max_memory_allocated() / GIB:.2f} GiB, {before / GIB:.2f} of it the model"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--dtype", default="float16", choices=["float16", "bfloat16", "float32"])
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 4, 16])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--size", type=int, help="of a whole texture, in pixels; none by default")
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--iterations", type=int, default=2)
    parser.add_argument("--start", default="swatch")
    arguments = parser.parse_args()
    dtype = torch.float32 if arguments.device == "cpu" else getattr(torch, arguments.dtype)
    backbone = sd15(arguments.device, dtype)
    name = torch.cuda.get_device_name() if arguments.device != "cpu" else f"{torch.get_num_threads()} threads"
    print(f"{name}, torch {torch.__version__}, {dtype}")
    tile_table(backbone, arguments.batches, arguments.repeats)
    if arguments.size:
        whole(backbone, arguments.size, arguments.steps, arguments.iterations, arguments.start)


if __name__ == "__main__":
    main()
