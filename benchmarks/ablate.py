"""Ablations of UNet training: short runs from the same random start, with one change each.

    python -m benchmarks.ablate --data CROPS --steps 150 [--out out/ablate]

Every run makes the same number of steps on the same data, with the bundled autoencoder. The table shows the held-out error of the target, which reads
its own and the exemplar's keys and values, at the windows' own scale and on windows zoomed by 1.5.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

import torch
import torch.nn.functional as F
from diffusers import UNet2DConditionModel
from torch.utils.flop_counter import FlopCounterMode

import texgen
from texgen.diffusion.models.networks.unet import PairMode
from training.crops import Crops, generator_of
from training.loop import Settings, train
from training.manifest import save_csv
from training.unet import UNetObjective, UNetSettings, new_unet

TIMESTEPS = (20, 60, 120, 250)
MIXED = (0.1, 0.25, 0.65)
BASE = (64, 128, 256)
VARIANTS = {
    "base": {},
    "narrow (48, 96, 192)": {"widths": (48, 96, 192)},
    "wide (96, 192, 384)": {"widths": (96, 192, 384)},
    "no attention at the finest scale": {"coarse": True},
    "no zoom": {"zoom": 1.0},
}


def network(widths: tuple[int, ...], coarse: bool, channels: int) -> UNet2DConditionModel:
    """A fresh UNet; `coarse` has no attention at the finest scale."""
    unet = new_unet(channels, widths)
    if not coarse:
        return unet
    blocks = {"up_block_types": (*unet.config.up_block_types[:-1], "UpBlock2D")}
    torch.manual_seed(0)
    return UNet2DConditionModel.from_config({**unet.config, **blocks})


def held_out(objective: UNetObjective, mode: PairMode, zoom: float) -> list[float]:
    """The target's error at `TIMESTEPS` on held-out pairs resized by `zoom` and cut to the same size."""
    images = objective.held_out
    side = images.shape[-1]
    if zoom != 1:
        grown = F.interpolate(images, scale_factor=zoom, mode="bicubic", antialias=True)
        images = grown[..., :side, :side].clamp(-1, 1)
    latents = objective.encoded(images)
    pairs = len(latents) // 2
    found = []
    with torch.no_grad():
        for timestep in TIMESTEPS:
            steps = torch.full((pairs,), timestep)
            errors = objective.errors(latents, steps, mode, generator_of(1, timestep))
            found.append(float(errors[:pairs].mean()))
    return found


def gigaflops(objective: UNetObjective) -> float:
    """Floating-point operations of the forward pass of one small tile, by torch's own counter."""
    latents = objective.encoded(objective.held_out[:1])
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        objective.errors(torch.cat([latents, latents]), torch.tensor([100]), "self", generator_of(0, 0))
    return counter.get_total_flops() / 2e9


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("out/ablate"))
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    autoencoder = texgen.load("mini").autoencoder
    rows: list[list[object]] = []
    for name, changed in VARIANTS.items():
        options = {"widths": BASE, "coarse": False, "zoom": 1.5, "modes": MIXED, **changed}
        unet = network(options["widths"], options["coarse"], autoencoder.config.latent_channels)
        objective = UNetObjective(
            Crops(arguments.data, zoom=options["zoom"]), unet, autoencoder,
            UNetSettings(modes=options["modes"], focus=250, focus_share=0.9, large_share=0.0), 0, torch.device("cpu"),
        )  # fmt: skip
        run = arguments.out / "run"
        shutil.rmtree(run, ignore_errors=True)
        cost, dtype, steps = gigaflops(objective), getattr(torch, arguments.dtype), arguments.steps
        settings = Settings(steps=steps, lr=4e-4, warmup=20, look_every=steps, dtype=dtype)
        train(objective, run, settings, resume=False, log=lambda _line: None)
        averaged = UNet2DConditionModel.from_pretrained(run / "model" / "unet", torch_dtype=torch.float32)
        objective.module = averaged.to(memory_format=torch.channels_last)
        size = sum(p.numel() for p in unet.parameters()) / 1e6
        row = [name, f"{size:.1f}", f"{cost:.1f}"]
        row += [f"{error:.3f}" for zoom in (1.0, 1.5) for error in held_out(objective, "beside", zoom)]
        rows.append(row)
        print("| " + " | ".join(str(value) for value in row) + " |", flush=True)
        save_csv(arguments.out / "ablation.csv", columns(), rows)


def columns() -> list[str]:
    return [
        "variant",
        "million parameters",
        "GFLOP a tile",
        *(f"t {t}, {s}" for s in ("1:1", "zoom 1.5") for t in TIMESTEPS),
    ]


if __name__ == "__main__":
    main()
