"""Tune a copy of the UNet to one exemplar, a few dozen steps of the training objective on its own crops."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from texgen.attention import PairMode, tapped
from texgen.exemplar import Source
from texgen.guidance.settings import ExemplarNoise
from texgen.models import Backbone
from texgen.pairs import pair_errors
from tiling import canvas_size

PAIRS = 4
SIDE = 32
"""Latent pixels of a window, half a native tile: four times as many windows in the same time."""
MODES: tuple[PairMode, ...] = ("beside", "beside", "replace", "self")


def adapted(
    backbone: Backbone,
    sources: Sequence[Source],
    *,
    steps: int,
    below: int,
    generator: torch.Generator,
    exemplar_noise: ExemplarNoise = "same",
    lr: float = 3e-4,
) -> Backbone:
    """A backbone whose UNet is a copy, trained on windows of the exemplar; the given one stays as it is.

    Args:
        backbone: Where to start.
        sources: The exemplar's latents at several pixel phases.
        steps: Of AdamW, the rate falling linearly to 0; more follow the exemplar closer.
        below: Timesteps trained on, those the canvas will go through.
        generator: CPU generator of windows, timesteps and noise.
        exemplar_noise: As it will be at synthesis.
        lr: Peak learning rate.
    """
    unet = copy.deepcopy(backbone.unet).float().requires_grad_(True)
    optimizer = torch.optim.AdamW(unet.parameters(), lr, betas=(0.9, 0.98), weight_decay=0.0)
    with tapped(unet, backbone.condition) as tap:
        for step in range(steps):
            optimizer.param_groups[0]["lr"] = lr * (1 - step / steps)
            latents = torch.cat([_windows(sources, PAIRS, generator) for _ in range(2)]).to(unet.device)
            timesteps = torch.randint(1, below + 1, (PAIRS,), generator=generator)
            clean = exemplar_noise == "none"
            mode = MODES[step % len(MODES)]
            errors = pair_errors(
                tap, backbone.scheduler, latents, timesteps, 0 * timesteps if clean else timesteps, mode, generator
            )
            loss = errors[:PAIRS].mean() if clean else errors.mean()
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(unet.parameters(), 1.0)
            optimizer.step()
    return replace(backbone, unet=unet.to(backbone.unet.dtype))


def _windows(sources: Sequence[Source], count: int, generator: torch.Generator) -> Tensor:
    """Random windows (count, C, side, side) of the sources, all of one source's side at least."""
    side = min(SIDE, *(min(canvas_size(source.latents)) for source in sources))
    side -= side % 8
    windows = []
    for _ in range(count):
        latents = sources[int(torch.randint(len(sources), (), generator=generator))].latents
        top, left = (int(torch.randint(n - side + 1, (), generator=generator)) for n in canvas_size(latents))
        windows.append(latents[..., top : top + side, left : left + side])
    return torch.cat(windows)
