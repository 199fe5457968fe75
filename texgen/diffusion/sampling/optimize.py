"""Optimisation by attention distillation (Algorithm 1), over tiles, as a generator over steps."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import torch
from torch import Tensor

from texgen.diffusion.guidance.attention import choose_layers, exemplar_key_values, tapped
from texgen.diffusion.guidance.content import content_loss
from texgen.diffusion.guidance.distill import ad_loss
from texgen.diffusion.guidance.regional import Regions
from texgen.diffusion.guidance.settings import Guidance
from texgen.diffusion.models import Backbone
from texgen.diffusion.sampling.determinism import deterministic
from texgen.diffusion.sampling.sample import Step
from tiling import Accumulator, Tile, canvas_size, cut_batch


def linear_timesteps(backbone: Backbone, steps: int) -> list[int]:
    """`steps` timesteps falling linearly over the scheduler's range."""
    backbone.scheduler.set_timesteps(steps)
    timesteps: list[int] = backbone.scheduler.timesteps.tolist()
    return timesteps


def optimize(
    backbone: Backbone,
    latents: Tensor,
    exemplars: Sequence[Tensor],
    *,
    timesteps: Sequence[int],
    plans: Iterable[Sequence[Tile]],
    window: Tensor,
    guidance: Guidance,
    tile_batch: int = 1,
    content: Tensor | None = None,
    weights: Sequence[float] | None = None,
    regions: Regions | None = None,
) -> Iterator[Step]:
    """Move the latents themselves against the AD loss while the timestep told to the UNet falls.

    Features of exemplar, content and canvas are taken from clean latents; one Adam lives for the whole run. The
    gradients of overlapping tiles are fused like values. `guidance.iterations` is not used: there is one per step.

    Args:
        backbone: The model; its noise prediction is not used.
        latents: The start (1, C, h, w): noise, or the content.
        exemplars: Clean exemplar latents.
        timesteps: Falling timesteps.
        plans: Tiles of each step, covering the canvas.
        window: (h, w) of a tile.
        guidance: Knobs.
        tile_batch: Tiles worked on at once.
        content: Latents (1, C, h, w) that the content loss holds on to.
        weights: Of each exemplar's tokens in attention; equal by default.
        regions: Labels of canvas and exemplars: a token reads exemplar tokens of its own label only.

    Yields:
        The canvas after each step.

    References:
        Attention Distillation, CVPR 2025, https://arxiv.org/abs/2502.20235, Algorithm 1.
    """
    layers = choose_layers(backbone.attention_layers, guidance.layers)
    canvas = latents.detach().float().clone()
    optimizer = torch.optim.Adam([canvas], lr=guidance.lr)
    on_device = [exemplar.to(backbone.device) for exemplar in exemplars]
    held = content is not None and guidance.content_weight > 0
    with tapped(backbone.unet, backbone.condition) as tap:
        for index, (timestep, tiles) in enumerate(zip(timesteps, plans, strict=False)):
            with deterministic(backbone.device):
                ideal = exemplar_key_values(tap, on_device, timestep, layers, weights, regions)
            fused = Accumulator(canvas.shape[1], canvas_size(canvas), canvas.device)
            total = 0.0
            for start in range(0, len(tiles), tile_batch):
                batch = tiles[start : start + tile_batch]
                values = cut_batch(canvas, batch).to(backbone.device).requires_grad_(True)
                with deterministic(backbone.device):
                    features = tap.features(values, timestep, layers)
                    labels = None if regions is None else cut_batch(regions.canvas, batch)
                    loss = ad_loss(features, ideal, guidance.attn_scale, labels)
                    if held:
                        assert content is not None
                        with torch.no_grad():
                            kept = tap.features(cut_batch(content, batch).to(backbone.device), timestep, layers)
                        loss = loss + guidance.content_weight * content_loss(features, kept)
                    (gradient,) = torch.autograd.grad(loss, values)
                total += float(loss.detach())
                for tile, part in zip(batch, gradient, strict=True):
                    fused.add(tile, part[None], window)
            canvas.grad = fused.mean()
            optimizer.step()
            yield Step(
                index=index,
                total=len(timesteps),
                timestep=timestep,
                latents=canvas,
                tiles=len(tiles),
                iterations=1,
                losses=(total / len(tiles),),
            )
