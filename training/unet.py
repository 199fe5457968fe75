"""Training of the UNet on pairs: a target and an exemplar of the same texture, equally noised, where the target's self-attention
may read the exemplar's keys and values."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import torch
from diffusers import DDIMScheduler, UNet2DConditionModel
from PIL import Image
from torch import Tensor

from texgen.diffusion.models.networks.unet import PairMode, tapped
from texgen.diffusion.models.schedules import DDIMSchedule
from texgen.diffusion.models.vae.mini_autoencoder import TextureAutoencoder
from texgen.diffusion.sampling.loop import normal
from training.autoencoder import as_sheet
from training.crops import Crops, crop, generator_of
from training.denoise import denoised
from training.folder import save_model

CONDITION_WIDTH = 64
VALIDATION_TIMESTEPS = (20, 60, 120, 250, 500)
VALIDATION_PAIRS = 16
SHEET_STEPS, SHEET_STRENGTH = 24, 0.25
"""Scheduler steps and strength of the contact sheet: six steps from timestep 206."""
MODES: tuple[PairMode, ...] = get_args(PairMode)


def new_scheduler() -> DDIMScheduler:
    """The noise schedule of a base trained here: Stable Diffusion's, with v-prediction."""
    return DDIMScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", clip_sample=False, set_alpha_to_one=False,
        steps_offset=1, prediction_type="v_prediction",
    )  # fmt: skip


def new_unet(channels: int, widths: tuple[int, ...] = (64, 128, 256), seed: int = 0) -> UNet2DConditionModel:
    """A small UNet with self-attention at three scales, for tiles of 64x64 latents.

    Args:
        channels: Channels of the latents.
        widths: Channels at each scale; multiples of 32.
        seed: Seed of the weights.
    """
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return UNet2DConditionModel(
            sample_size=64, in_channels=channels, out_channels=channels, block_out_channels=widths, layers_per_block=1,
            down_block_types=("DownBlock2D", *("CrossAttnDownBlock2D",) * (len(widths) - 1)),
            up_block_types=("CrossAttnUpBlock2D",) * len(widths),
            cross_attention_dim=CONDITION_WIDTH, attention_head_dim=tuple(width // 32 for width in widths), norm_num_groups=16,
        )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class UNetSettings:
    """Settings of the UNet's training.

    Attributes:
        batch: Pairs per step with small tiles; a quarter of it with large tiles.
        side: Side of a small tile, in pixels.
        large_share: Share of steps on large tiles, of twice the side, the size used for synthesis.
        modes: Shares of steps in which the target reads its own keys and values, the exemplar's, or both.
        focus: `focus_share` of the pairs get timesteps below this; the others from the whole range.
        focus_share: See `focus`.
    """

    batch: int = 8
    side: int = 256
    large_share: float = 0.15
    modes: tuple[float, float, float] = (0.15, 0.3, 0.55)
    focus: int = 300
    focus_share: float = 0.85


class UNetObjective:
    """Objective of the UNet's training, for `training.loop`: v-prediction of both images of every pair.

    Attributes:
        held_out: Targets, then exemplars, (2 * pairs, 3, side, side) in [-1, 1], from held-out crops; from training crops if the
            library is too small for held-out ones.
    """

    def __init__(
        self,
        crops: Crops,
        unet: UNet2DConditionModel,
        autoencoder: TextureAutoencoder,
        settings: UNetSettings,
        seed: int,
        device: torch.device,
    ) -> None:
        self.crops, self.settings, self.seed = crops, settings, seed
        self.module = unet.to(device, memory_format=torch.channels_last)
        self.autoencoder = autoencoder.to(device).requires_grad_(False).eval()
        self.scheduler = new_scheduler()
        self.condition = {"encoder_hidden_states": torch.zeros(1, 1, unet.config.cross_attention_dim, device=device)}
        held_out = [crops.pixels(c) for c in crops.samples(VALIDATION_PAIRS)]
        pairs = [(crop(p, settings.side, 0.0), crop(p, settings.side, 1.0)) for p in held_out]
        self.held_out = torch.cat([torch.cat(half) for half in zip(*pairs, strict=True)])

    def batch(self, step: int) -> Tensor:
        """Targets, then exemplars: (2 * pairs, 3, side, side)."""
        chosen = self.settings
        large = bool(torch.rand((), generator=generator_of(self.seed + 1, step)) < chosen.large_share)
        side, pairs = (2 * chosen.side, max(1, chosen.batch // 4)) if large else (chosen.side, chosen.batch)
        return self.crops.windows(self.seed, step, pairs, side, 2)

    def loss(self, batch: Tensor, step: int) -> tuple[Tensor, dict[str, float]]:
        """Mean squared error of the predicted velocity of targets and exemplars; that of the targets is logged."""
        chosen, generator = self.settings, generator_of(self.seed, step)
        pairs = len(batch) // 2
        share = torch.tensor(chosen.modes)
        mode = MODES[int(torch.multinomial(share / share.sum(), 1, generator=generator))]
        total = self.scheduler.config.num_train_timesteps
        timesteps = torch.randint(total, (pairs,), generator=generator)
        focused = torch.rand(pairs, generator=generator) < chosen.focus_share
        timesteps = torch.where(focused, timesteps * chosen.focus // total, timesteps).clamp_min(1)
        errors = self.errors(self.encoded(batch), timesteps, mode, generator)
        return errors.mean(), {f"loss/{mode}": float(errors[:pairs].detach().mean())}

    def errors(self, latents: Tensor, timesteps: Tensor, mode: PairMode, generator: torch.Generator) -> Tensor:
        """Mean squared error of the predicted velocity, per image, (2 B,).

        Both halves are noised, x_t = sqrt(abar_t) x + sqrt(1 - abar_t) noise, and go through the UNet in one batch, which predicts
        v = sqrt(abar_t) noise - sqrt(1 - abar_t) x.

        Args:
            latents: (2 B, C, h, w): clean targets, then their exemplars.
            timesteps: (B,) of the pairs.
            mode: Which keys and values the targets read, see `TappedUNet.pairing`.
            generator: CPU generator of the noise.
        """
        both = torch.cat([timesteps, timesteps]).to(latents.device)
        noise = torch.randn(latents.shape, generator=generator).to(latents.device)
        with tapped(self.module, self.condition) as tap, tap.pairing(mode):
            predicted = tap(self.scheduler.add_noise(latents, noise, both), both)
        wanted = self.scheduler.get_velocity(latents, noise, both)
        return (predicted - wanted).square().mean((1, 2, 3))

    @torch.no_grad()
    def encoded(self, images: Tensor) -> Tensor:
        """Latents of images in [-1, 1], float32."""
        with torch.autocast(self.module.device.type, enabled=False):
            return self.autoencoder.encode(images.to(self.module.device)).latents.float()

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        """The targets' error on held-out pairs, by timestep and mode, always with the same noise."""
        latents = self.encoded(self.held_out)
        pairs, measures = len(latents) // 2, {}
        for mode in MODES:
            for timestep in VALIDATION_TIMESTEPS:
                errors = self.errors(latents, torch.full((pairs,), timestep), mode, generator_of(1, timestep))
                measures[f"held out {mode}/t {timestep}"] = float(errors[:pairs].mean())
        return measures

    @torch.no_grad()
    def sheet(self) -> Image.Image:
        """Rows of held-out exemplars, noisy targets, targets denoised with the exemplars, and clean targets."""
        count, pairs = 6, len(self.held_out) // 2
        latents = self.encoded(torch.cat([self.held_out[:count], self.held_out[pairs : pairs + count]]))
        noise = normal(latents.shape, generator_of(2, 0)).to(latents.device)
        schedule = DDIMSchedule(self.scheduler, SHEET_STEPS)
        timesteps = schedule.last(SHEET_STRENGTH)
        noisy = schedule.noised(latents[:count], noise[:count], timesteps[0])
        with tapped(self.module, self.condition) as tap, tap.pairing("beside"):

            def velocity(current: Tensor, timestep: float) -> Tensor:
                exemplar = schedule.noised(latents[count:], noise[count:], timestep)
                return tap(torch.cat([current, exemplar]), timestep)[:count]

            found = denoised(schedule, noisy, timesteps, velocity)
        decode = self.autoencoder.decode
        return as_sheet(
            [self.held_out[pairs : pairs + count], *(decode(x).sample for x in (noisy, found, latents[:count]))]
        )

    def save(self, folder: Path) -> None:
        save_model(folder, self.module, self.autoencoder, self.scheduler)
