"""Tune a copy of the UNet to one exemplar, a few dozen steps of the training objective on its own crops."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from texgen.attention import PairMode, tapped
from texgen.exemplar import Exemplar
from texgen.models import Backbone
from texgen.pairs import pair_errors
from tiling import Size, canvas_size, cut

PAIRS = 2
SIDE = 32
"""Latent pixels of a window, half a native tile: four times as many windows in the same time."""
MODES: tuple[PairMode, ...] = ("beside", "beside", "replace", "self")


def adapted(
    backbone: Backbone,
    exemplar: Exemplar,
    *,
    steps: int,
    below: int,
    generator: torch.Generator,
    lr: float = 3e-4,
) -> Backbone:
    """A backbone whose UNet is a copy, trained on windows of the exemplar; the given one stays as it is.

    Args:
        backbone: Where to start.
        exemplar: Its latents at several pixel phases; of a swatch with a hole, windows outside of it.
        steps: Of AdamW, the rate falling linearly to 0; more follow the exemplar closer.
        below: Timesteps trained on, those the canvas will go through.
        generator: CPU generator of windows, timesteps and noise.
        lr: Peak learning rate.
    """
    unet, dtype = copy.deepcopy(backbone.unet).requires_grad_(True), backbone.unet.dtype
    if dtype != torch.float32:
        unet.to(torch.float32)
    optimizer = torch.optim.AdamW(unet.parameters(), lr, betas=(0.9, 0.98), weight_decay=0.0)
    with tapped(unet, backbone.condition) as tap:
        for step in range(steps):
            optimizer.param_groups[0]["lr"] = lr * (1 - step / steps)
            latents = torch.cat([_windows(exemplar, PAIRS, generator) for _ in range(2)]).to(unet.device)
            timesteps = torch.randint(1, below + 1, (PAIRS,), generator=generator)
            mode = MODES[step % len(MODES)]
            with torch.autocast(unet.device.type, torch.bfloat16, enabled=dtype != torch.float32):
                errors = pair_errors(tap, backbone.scheduler, latents, timesteps, mode, generator)
            optimizer.zero_grad(set_to_none=True)
            errors.mean().backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(unet.parameters(), 1.0)
            optimizer.step()
    return replace(backbone, unet=unet if dtype == torch.float32 else unet.to(dtype))


def with_weights(backbone: Backbone, weights: Mapping[str, Tensor]) -> Backbone:
    """A backbone with a copy of the UNet that has other weights."""
    unet = copy.deepcopy(backbone.unet)
    unet.load_state_dict(dict(weights))
    return replace(backbone, unet=unet)


def _windows(exemplar: Exemplar, count: int, generator: torch.Generator) -> Tensor:
    """Random windows (count, C, side, side) of the sources, all of one source's side at least."""
    side = min(SIDE, *(min(canvas_size(source.latents)) for source in exemplar.sources))
    windows = []
    for _ in range(count):
        source = exemplar.sources[int(torch.randint(len(exemplar.sources), (), generator=generator))]
        windows.append(cut(source.latents, exemplar.window(source, Size(side, side), generator)))
    return torch.cat(windows)
