"""How far a network of plain convolutions looks: the context that makes a tile of it equal the same part of the whole."""

from __future__ import annotations

from diffusers.models.unets.unet_2d_blocks import AutoencoderTinyBlock
from torch import nn


def reach(layers: nn.Sequential) -> int:
    """Pixels of the input, on each side of those that it lies over, that a pixel of the output depends on.

    Example:
        >>> reach(nn.Sequential(nn.Conv2d(1, 1, 3, padding=1), nn.Upsample(scale_factor=2), nn.Conv2d(1, 1, 3, padding=1)))
        2
    """
    needed = 0
    for layer in reversed(layers):
        if isinstance(layer, nn.Conv2d):
            needed = needed * layer.stride[0] + layer.kernel_size[0] // 2
        elif isinstance(layer, AutoencoderTinyBlock):
            needed += 3  # three convolutions after each other
        elif isinstance(layer, nn.Upsample):
            needed = -(-needed // 2)  # the factor of all that are known
    return needed
