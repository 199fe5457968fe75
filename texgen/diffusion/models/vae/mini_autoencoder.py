"""The bundled autoencoder: a linear 8x8 block code with convolutional residuals on both sides, no global statistics."""

from __future__ import annotations

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.autoencoders.autoencoder_tiny import AutoencoderTinyOutput
from diffusers.models.autoencoders.vae import DecoderOutput
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor, nn


class ChannelNorm(nn.Module):
    """Divide each pixel by the root mean square of its own channels.

    It does not pool over pixels, so a network of convolutions and channel norms is local: a tile decoded with
    enough halo equals the same part of the whole.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        scale = x.float().square().mean(1, keepdim=True).add(1e-5).rsqrt()
        return x * (scale * self.weight[:, None, None]).to(x.dtype)


class ResidualBlock(nn.Module):
    """x + conv(act(norm(conv(act(norm(x)))))), both convolutions 3x3."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            ChannelNorm(channels),
            nn.SiLU(),
            nn.Conv2d(channels, channels, 3, padding=1),
            ChannelNorm(channels),
            nn.SiLU(),
            nn.Conv2d(channels, channels, 3, padding=1),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)


class TextureAutoencoder(ModelMixin, ConfigMixin):  # type: ignore[misc]
    """Autoencoder of downsampling factor 8, strictly local on both sides.

    `encode` is a strided 8x8 convolution, the principal components of image blocks scaled so that the latents' spectrum
    falls like an image's, plus a convolutional residual. `decode` is the transposed convolution plus a convolutional
    residual. Both residuals work at a quarter and an eighth of the image resolution.

    Args:
        latent_channels: Channels of the latents.
        encoder_channels: Width of the residual encoder at a quarter of the resolution, twice that at an eighth; with 0 there is none,
            and the code is linear.
        fine_channels: Width of the residual decoder at a quarter of the image resolution.
        coarse_channels: Width of the residual decoder at an eighth of the image resolution.
        fine_blocks: Residual blocks at a quarter of the resolution.
        coarse_blocks: Residual blocks at an eighth of the resolution.
        scaling_factor: Always 1, since the encoder's latents have unit mean square.
        block_size: Side of an image block in pixels.
    """

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(
        self,
        latent_channels: int = 16,
        encoder_channels: int = 0,
        fine_channels: int = 96,
        coarse_channels: int = 192,
        fine_blocks: int = 2,
        coarse_blocks: int = 2,
        scaling_factor: float = 1.0,
        block_size: int = 8,
    ) -> None:
        super().__init__()
        fine, coarse = fine_channels, coarse_channels
        self.block_encoder = nn.Conv2d(3, latent_channels, block_size, block_size)
        self.block_decoder = nn.ConvTranspose2d(latent_channels, 3, block_size, block_size)
        self.residual_encoder = _residual_encoder(latent_channels, encoder_channels) if encoder_channels else None
        self.residual_decoder = nn.Sequential(
            nn.Conv2d(latent_channels, coarse, 3, padding=1),
            *(ResidualBlock(coarse) for _ in range(coarse_blocks)),
            nn.Conv2d(coarse, 4 * fine, 3, padding=1),
            nn.PixelShuffle(2),
            *(ResidualBlock(fine) for _ in range(fine_blocks)),
            ChannelNorm(fine),
            nn.SiLU(),
            nn.Conv2d(fine, 48, 3, padding=1),
            nn.PixelShuffle(4),
        )
        _zero(self.residual_decoder[-2])

    @property
    def halo(self) -> int:
        """Context around a tile on which the decoder's output depends, in latent pixels."""
        fine_radius = 2 * self.config.fine_blocks + 1
        return 2 + 2 * self.config.coarse_blocks + -(-fine_radius // 2)

    @property
    def encoder_halo(self) -> int:
        """Upper bound of the context around a tile on which the encoder's output depends, in latent pixels."""
        return 8

    def encode(self, image: Tensor) -> AutoencoderTinyOutput:
        """Encode an image (B, 3, H, W) in [-1, 1], H and W multiples of 8, to latents (B, C, H/8, W/8)."""
        latents = self.block_encoder(image)
        if self.residual_encoder is not None:
            latents = latents + self.residual_encoder(image)
        return AutoencoderTinyOutput(latents=latents)

    def decode(self, latents: Tensor) -> DecoderOutput:
        """Decode latents (B, C, h, w) to an image (B, 3, 8h, 8w), nominally in [-1, 1]."""
        return DecoderOutput(sample=self.block_decoder(latents) + self.residual_decoder(latents))


def _residual_encoder(latent_channels: int, width: int) -> nn.Sequential:
    last = nn.Conv2d(2 * width, latent_channels, 3, padding=1)
    _zero(last)
    return nn.Sequential(
        nn.PixelUnshuffle(4),
        nn.Conv2d(48, width, 3, padding=1),
        ResidualBlock(width),
        nn.PixelUnshuffle(2),
        nn.Conv2d(4 * width, 2 * width, 1),
        ResidualBlock(2 * width),
        ChannelNorm(2 * width),
        nn.SiLU(),
        last,
    )


def _zero(layer: nn.Module) -> None:
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
