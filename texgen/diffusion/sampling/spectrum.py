"""Give a canvas the exemplar's second-order statistics: the covariance of its channels at every frequency."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from texgen.diffusion.denoising import Schedule
from tiling import Wrap, bordered, canvas_size

BLOCK = 16
"""Side in latent pixels of the blocks over which spectra are averaged; correlations up to half of it are matched."""
HOP = BLOCK // 4
ROWS = 8
PRIOR = 8.0
"""Weight, in blocks, of the wanted spectrum in the estimate of a region's own: a small region shows too little of its material."""
COVERED = 0.5
"""Fraction of a block's windowed energy that must lie in the region for the block to count."""
RIDGE = 1e-3
FLOOR = 1e-8


@dataclass(frozen=True)
class SpectrumMatcher:
    """Transports a canvas to the exemplar's mean and cross-spectrum by the linear filter that changes it least.

    Latents are modelled as a stationary Gaussian field. Between two such fields with cross-spectra A(f) (canvas) and B(f)
    (exemplar), C x C matrices at each frequency f, the optimal transport is the filter
    T(f) = A^-1/2 (A^1/2 B A^1/2)^1/2 A^-1/2. Artefacts of a weak network, such as speckle in channels that should be calm and
    grain on the latent grid, are excess power at some f and are removed; edges, which depend on the phases, stay.

    Attributes:
        mean: Mean of the exemplar, (1, C, 1, 1).
        spectrum: Cross-spectrum of the exemplar, (BLOCK, BLOCK, C, C), complex.
        schedule: Gives alpha and sigma of a timestep; a noised exemplar has the spectrum alpha^2 B(f) + sigma^2 I.

    References:
        Xia, Ferradans, Peyré, Aujol, "Synthesizing and Mixing Stationary Gaussian Texture Models", SIAM Journal on
        Imaging Sciences 7(1), 2014, https://doi.org/10.1137/130918010, section 3.
    """

    mean: Tensor
    spectrum: Tensor
    schedule: Schedule

    def __call__(self, latents: Tensor, timestep: float, wrap: Wrap, mask: Tensor | None = None) -> Tensor:
        """Match a canvas at a timestep; returns it unchanged if it is too small to have a spectrum.

        Args:
            latents: The canvas, (1, C, h, w), float32.
            timestep: Timestep of the canvas, which determines its noise level.
            wrap: Axes that wrap around.
            mask: Area of the exemplar's material, (h, w), bool; only this area is measured and changed.
        """
        have = cross_spectrum([latents], wrap, None if mask is None else [mask])
        if have is None:
            return latents
        kept, noise = self.schedule.levels(timestep)
        wanted = kept**2 * self.spectrum + noise**2 * torch.eye(latents.shape[1])
        if mask is not None:
            alone = float(mask.sum()) / BLOCK**2
            have = (alone * have + PRIOR * wanted) / (alone + PRIOR)
        mask = torch.ones(tuple(canvas_size(latents)), dtype=torch.bool) if mask is None else mask
        spread = (latents - _mean([latents], [mask])) * mask
        kernel = _kernel(transport(have, wanted))
        moved = F.conv2d(bordered(spread, BLOCK // 2, wrap)[..., 1:, 1:], kernel)
        return torch.where(mask, moved + kept * self.mean, latents)


def spectrum_matcher(
    exemplars: Sequence[Tensor], schedule: Schedule, masks: Sequence[Tensor] | None = None
) -> SpectrumMatcher | None:
    """A matcher for clean exemplars (1, C, h, w), or for the areas of their masks (h, w); None if they are too small to have a spectrum."""
    spectrum = cross_spectrum(exemplars, Wrap(), masks)
    return None if spectrum is None else SpectrumMatcher(_mean(exemplars, masks), spectrum, schedule)


def cross_spectrum(fields: Sequence[Tensor], wrap: Wrap, masks: Sequence[Tensor] | None = None) -> Tensor | None:
    """Covariance of the channels at each frequency, (BLOCK, BLOCK, C, C), averaged over Hann-windowed blocks.

    White noise of unit variance gives the identity everywhere. Returns None if there are fewer than 2 C blocks.

    Args:
        fields: Fields to average over, (1, C, h, w) each.
        wrap: Axes on which blocks cross the border.
        masks: Area of each field, (h, w), bool; pixels outside count as 0, and blocks that lie mostly outside (see `COVERED`) are left out.
    """
    profile = torch.hann_window(BLOCK)
    window = profile[:, None] * profile
    whole = float(window.square().sum())
    total, count, energy = torch.zeros(()), 0, 0.0
    around = (0, BLOCK - HOP if wrap.x else 0, 0, BLOCK - HOP if wrap.y else 0)
    for number, field in enumerate(fields):
        if min(canvas_size(field)) < BLOCK:
            continue
        mask = torch.ones(tuple(canvas_size(field))) if masks is None else masks[number].float()
        inside = F.pad(mask[None, None], around, mode="circular")[0, 0]
        mean = field.mean((2, 3), keepdim=True) if masks is None else _mean([field], [masks[number]])
        spread = F.pad(field - mean, around, mode="circular")
        parts = (
            torch.split(rows, ROWS)
            for rows in (inside.unfold(0, BLOCK, HOP), spread[0].unfold(1, BLOCK, HOP).transpose(0, 1))
        )
        for shown, rows in zip(*parts, strict=True):
            windows = shown.unfold(1, BLOCK, HOP) * window
            energies = windows.square().sum((2, 3))
            counted = energies >= COVERED * whole
            blocks = (rows.transpose(0, 1).unfold(2, BLOCK, HOP) * windows)[:, counted]
            if not blocks.shape[1]:
                continue
            transformed = torch.fft.fft2(blocks)
            total = total + torch.einsum("cnyx,dnyx->yxcd", transformed, transformed.conj())
            energy += float(energies[counted].sum())
            count += transformed.shape[1]
    return total / energy if count >= 2 * fields[0].shape[1] else None


def _mean(fields: Sequence[Tensor], masks: Sequence[Tensor] | None) -> Tensor:
    """Mean of each channel, (1, C, 1, 1)."""
    parts = [f.flatten(2) if masks is None else f[..., masks[n]] for n, f in enumerate(fields)]
    return torch.cat(parts, 2).mean(2)[..., None, None]


def transport(have: Tensor, want: Tensor) -> Tensor:
    """The Hermitian matrices T (..., C, C) with T have T* = want, where `RIDGE` of its mean power is first added to the diagonal of each."""
    have, want = (m.to(torch.complex128) for m in (have, want))
    have, want = (m + RIDGE * _power_of(m) * torch.eye(m.shape[-1]) for m in (have, want))
    root, inverse = _power(have, 0.5), _power(have, -0.5)
    return inverse @ _power(root @ want @ root, 0.5) @ inverse


def _power_of(matrices: Tensor) -> Tensor:
    return matrices.diagonal(dim1=-2, dim2=-1).real.mean(-1)[..., None, None]


def _power(matrices: Tensor, exponent: float) -> Tensor:
    values, vectors = torch.linalg.eigh((matrices + matrices.mH) / 2)
    return (vectors * values.clamp_min(FLOOR).pow(exponent)[..., None, :]) @ vectors.mH


def _kernel(response: Tensor) -> Tensor:
    """The filter (C, C, BLOCK, BLOCK) of a frequency response, for `conv2d`."""
    taps = torch.fft.ifft2(response.permute(2, 3, 0, 1)).real.float()
    return torch.fft.fftshift(taps, dim=(-2, -1)).flip(-1, -2).contiguous()
