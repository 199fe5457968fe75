"""Removal of uneven light from a swatch."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

DEGREE, SIDE, DARKEST = 3, 64, 1 / 255
"""Degree of the polynomial, side of the picture to which it is fitted, and lowest brightness whose logarithm is taken."""


def flattened(image: Tensor) -> Tensor:
    """A swatch (1, 3, H, W) without slow changes of brightness, such as vignettes or light that falls off.

    A polynomial of degree `DEGREE` in x and y is fitted to the logarithm of the brightness, and the picture is divided by
    its exponential: light multiplies what it falls on, also in encoded values, and so few terms cannot follow the texture itself.
    """
    import torch
    import torch.nn.functional as F

    side = tuple(min(SIDE, n) for n in image.shape[-2:])
    brightness = F.interpolate(image.mean(1, keepdim=True), side, mode="area").clamp_min(DARKEST).log()
    powers = _powers(side).flatten(1).T.double()
    terms = torch.linalg.lstsq(powers, brightness.double().flatten()[:, None]).solution[:, 0]
    terms = terms.mul(1e6).round().div(1e6).float()  # the solver's last bits differ from call to call
    light = torch.einsum("k,khw->hw", terms, _powers(tuple(image.shape[-2:])))
    return (image * torch.exp(light.mean() - light)).clamp(0, 1)


def _powers(size: tuple[int, ...]) -> Tensor:
    """x^i y^j for i + j up to `DEGREE` at the centres of the pixels, with x and y from -1 to 1: (terms, H, W)."""
    import torch

    y, x = (((torch.arange(n) + 0.5) / n * 2 - 1) for n in size)
    degrees = [(i, j) for i in range(DEGREE + 1) for j in range(DEGREE + 1 - i)]
    return torch.stack([x[None, :] ** i * y[:, None] ** j for i, j in degrees])
