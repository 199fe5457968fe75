"""Training of the autoencoder: it starts as a linear code of principal components, and is trained with L1, then with patch statistics."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from texgen.diffusion.decoding.grain import differences, patch_distance
from texgen.diffusion.models import UNetModel
from texgen.diffusion.models.vae.mini_autoencoder import TextureAutoencoder
from training.crops import Crops, crop, generator_of
from training.denoise import as_sampled
from training.folder import save_half, save_model

SPECTRUM = 0.6
"""Each channel of the code is scaled to its own standard deviation to this power; 0 would whiten it, which does not train."""
LATENT_NOISE = 0.15
"""Largest standard deviation of the noise on latents in the second stage, so that noise left by a sampler does not become speckle."""
ENCODER_CHANNELS = 64
VALIDATION_CROPS = 48
CODE_BATCHES = 64
"""Number of batches, of 16 windows each, from which the principal components are computed."""
SQUARES, EDGES = 4.0, 0.1
"""Weights of the squared error and of the difference loss, relative to L1."""
DEPARTURE = 0.02
"""Weight of the squared distance of the latents from the linear code, which preserves their scale and spectrum."""


def principal_components(blocks: np.ndarray, channels: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The linear code of image blocks.

    Args:
        blocks: Flattened blocks, (N, D), values in [-1, 1].
        channels: Number of components to keep.

    Returns:
        Mean (D), encoder (channels, D) and decoder (D, channels). `encoder @ (block - mean)` has unit mean square over
        all channels; a component of standard deviation s is scaled to one proportional to s ** SPECTRUM.
    """
    mean = blocks.mean(0)
    values, vectors = np.linalg.eigh(np.cov(blocks - mean, rowvar=False))
    values, vectors = values[::-1][:channels], vectors[:, ::-1][:, :channels]
    deviation = np.sqrt(np.maximum(values, 1e-12))
    wanted = deviation**SPECTRUM
    wanted /= np.sqrt((wanted**2).mean())
    return mean, (vectors * (wanted / deviation)).T, vectors * (deviation / wanted)


def set_linear_code(model: TextureAutoencoder, images: Tensor) -> None:
    """Make the block encoder and decoder the principal components of `images` (B, 3, H, W) in [-1, 1]."""
    size = model.config.block_size
    blocks = F.unfold(images, size, stride=size).transpose(1, 2).flatten(0, 1).double().numpy()
    mean, encoder, decoder = principal_components(blocks, model.config.latent_channels)
    shape = (-1, 3, size, size)
    offset = mean.reshape(3, -1).mean(1)  # the mean hardly varies within a block
    code = {
        "block_encoder.weight": torch.from_numpy(encoder).view(shape),
        "block_encoder.bias": torch.from_numpy(-encoder @ mean),
        "block_decoder.weight": torch.from_numpy(decoder.T.copy()).view(shape),
        "block_decoder.bias": torch.from_numpy(offset),
    }
    model.load_state_dict({**model.state_dict(), **code})


def new_autoencoder(crops: Crops, channels: int, seed: int) -> TextureAutoencoder:
    """An autoencoder with the linear code of the crops and residuals of zero."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = TextureAutoencoder(latent_channels=channels, encoder_channels=ENCODER_CHANNELS)
    set_linear_code(model, torch.cat([crops.windows(seed, step, 16, 128, 1) for step in range(CODE_BATCHES)]))
    return model


@dataclass(frozen=True, kw_only=True)
class AutoencoderSettings:
    """Settings of the autoencoder's training.

    Attributes:
        batch: Crops per step.
        side: Side of a crop, in pixels.
        patches: Weight of patch statistics. 0 is the first stage (pixel losses only), which also trains the encoder. Above 0,
            the second stage, the encoder is frozen, so that latents keep their meaning.
        sampled: In the second stage with a sampler, share of steps on latents that went through the sampler, instead of clean or
            noisy ones.
    """

    batch: int = 8
    side: int = 128
    patches: float = 0.0
    sampled: float = 0.5


class AutoencoderObjective:
    """Objective of the autoencoder's training, for `training.loop`.

    With a `sampler`, a model with the same latents, the second stage also trains on latents that went through it.
    """

    def __init__(
        self,
        crops: Crops,
        model: TextureAutoencoder,
        settings: AutoencoderSettings,
        seed: int,
        device: torch.device,
        sampler: UNetModel | None = None,
    ) -> None:
        self.crops, self.settings, self.seed, self.sampler = crops, settings, seed, sampler
        self.module = model.to(device, memory_format=torch.channels_last)
        frozen: list[nn.Module] = [model.block_encoder, model.block_decoder]
        if settings.patches and model.residual_encoder is not None:
            frozen.append(model.residual_encoder)
        for module in frozen:
            module.requires_grad_(False)
        self._held_out = torch.cat([crop(crops.pixels(c), 256, 0.5) for c in crops.samples(VALIDATION_CROPS)])

    def batch(self, step: int) -> Tensor:
        return self.crops.windows(self.seed, step, self.settings.batch, self.settings.side, 1)

    def loss(self, batch: Tensor, step: int) -> tuple[Tensor, dict[str, float]]:
        """Weighted sum of L1, squared error and difference loss, plus the departure from the linear code or, in the second stage, the patch distance."""
        generator = generator_of(self.seed, step)
        model = self.module
        image = batch.to(model.device)
        latents = model.encode(image).latents.float()
        if self.settings.patches:
            latents = self.varied(latents, generator)
        decoded = model.decode(latents).sample.float()
        pixels = (decoded - image).abs().mean()
        edges = difference_loss(decoded, image)
        loss = pixels + SQUARES * (decoded - image).square().mean() + EDGES * edges
        logged = {"loss/L1": float(pixels.detach()), "loss/differences": float(edges.detach())}
        if self.settings.patches:
            patches = patch_distance(decoded, image, generator)
            loss = loss + self.settings.patches * patches
            logged["loss/patches"] = float(patches.detach())
        else:
            with torch.no_grad():
                linear = model.block_encoder(image).float()
            departure = (latents - linear).square().mean()
            loss = loss + DEPARTURE * departure
            logged["latents/departure from the linear code"] = float(departure.detach())
        return loss, logged

    def varied(self, latents: Tensor, generator: torch.Generator) -> Tensor:
        """Latents that are clean, slightly noisy, or passed through the sampler, at random."""
        if self.sampler is not None and torch.rand((), generator=generator) < self.settings.sampled:
            return as_sampled(self.sampler, latents.detach(), generator)
        level = LATENT_NOISE * torch.rand(len(latents), 1, 1, 1, generator=generator)
        level = level * (torch.rand(len(latents), 1, 1, 1, generator=generator) < 0.5)
        return latents + (level * torch.randn(latents.shape, generator=generator)).to(latents.device)

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        """Means over held-out crops: PSNR (dB) of the autoencoder and of its linear code alone, sharpness, patch distance."""
        sums: dict[str, float] = defaultdict(float)
        for number, single in enumerate(torch.split(self._held_out, 1)):
            image = single.to(self.module.device)
            latents = self.module.encode(image).latents
            linear = linear_code(self.module, image).clamp(-1, 1)
            sums["PSNR/linear code"] += psnr(linear, image)
            states = {"autoencoder": latents}
            if self.sampler is not None:
                states["sampled"] = as_sampled(self.sampler, latents, generator_of(3, number))
            for name, state in states.items():
                decoded = self.module.decode(state).sample.clamp(-1, 1)
                sums[f"PSNR/{name}"] += psnr(decoded, image)
                sums[f"sharpness/{name}"] += sharpness(decoded, image)
                sums[f"patches/{name}"] += float(patch_distance(decoded, image, generator_of(4, number)))
        return {name: value / len(self._held_out) for name, value in sums.items()}

    @torch.no_grad()
    def sheet(self) -> Image.Image:
        """Held-out crops in the top row, decoded ones in the bottom row."""
        images = self._held_out[:8].to(self.module.device)
        decoded = self.module.decode(self.module.encode(images).latents).sample
        return as_sheet([images, decoded])

    def save(self, folder: Path) -> None:
        if self.sampler is None:
            save_half(self.module, folder / "vae")
        else:
            save_model(folder, self.sampler.unet, self.module, self.sampler.scheduler)


def same_latents(one: object, other: TextureAutoencoder) -> bool:
    """Whether two autoencoders have the same encoder, up to the precision in which weights are saved."""
    if not isinstance(one, TextureAutoencoder):
        return False
    mine, theirs = (
        {name: value.cpu().half() for name, value in model.state_dict().items() if "encoder" in name}
        for model in (one, other)
    )
    return mine.keys() == theirs.keys() and all(torch.equal(mine[name], theirs[name]) for name in mine)


def linear_code(model: TextureAutoencoder, images: Tensor) -> Tensor:
    """Encode and decode images by the linear block code, without the residuals."""
    decoded: Tensor = model.block_decoder(model.block_encoder(images))
    return decoded


def difference_loss(a: Tensor, b: Tensor) -> Tensor:
    """Mean absolute error of horizontal and vertical differences, summed over three scales."""
    total = a.new_zeros(())
    for _ in range(3):
        total = total + differences(a - b)
        a, b = F.avg_pool2d(a, 2), F.avg_pool2d(b, 2)
    return total


def psnr(a: Tensor, b: Tensor) -> float:
    """Peak signal-to-noise ratio of images in [-1, 1], in dB."""
    return float(-10 * ((a - b) / 2).square().mean().clamp_min(1e-8).log10())


def sharpness(a: Tensor, b: Tensor) -> float:
    """Mean absolute difference of neighbouring pixels of `a` over that of `b`."""
    return float(differences(a)) / max(float(differences(b)), 1e-6)


def as_sheet(rows: list[Tensor]) -> Image.Image:
    """One picture from rows of images (B, 3, S, S) in [-1, 1]."""
    strips = [torch.cat(list(row.float().cpu().clamp(-1, 1)), 2) for row in rows]
    values = (torch.cat(strips, 1) / 2 + 0.5) * 255
    return Image.fromarray(values.round().byte().permute(1, 2, 0).numpy())
