"""The exemplar's keys and values for attention distillation, and the choice of layers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from texgen.diffusion.attention import KeyValue, joined
from texgen.diffusion.denoising import Denoiser
from texgen.diffusion.guidance.regional import Regions, by_label
from texgen.errors import OptionError


def choose_layers(order: Sequence[str], wanted: Sequence[int | str] | None = None) -> list[str]:
    """The layers of the loss, in order of execution: by default the last six.

    Args:
        order: All self-attention layers in order of execution.
        wanted: Indices (negative ones count from the end) or names.

    Raises:
        OptionError: The network does not have such a layer, or `wanted` is empty.
    """
    if wanted is None:
        return list(order[-6:])
    chosen = set()
    for item in wanted:
        if isinstance(item, int) and -len(order) <= item < len(order):
            chosen.add(order[item])
        elif item in order:
            chosen.add(str(item))
        else:
            raise OptionError(
                f"layer {item!r} is not in this model; it has {len(order)} self-attention layers, 0 to {len(order) - 1}."
            )
    if not chosen:
        raise OptionError("no layer is chosen; give at least one index or name.")
    return [name for name in order if name in chosen]


def exemplar_key_values(
    denoiser: Denoiser,
    exemplars: Sequence[Tensor],
    timestep: float,
    layers: Sequence[str],
    weights: Sequence[float] | None = None,
    regions: Regions | None = None,
) -> dict[str, tuple[KeyValue, ...]]:
    """Keys and values of all exemplars, concatenated along the tokens, one pair per label; without gradient.

    Args:
        denoiser: The network.
        exemplars: Latents (1, C, h, w) of any sizes; noised to `timestep` in Algorithm 2.
        timestep: Timestep given to the network.
        layers: Layers, in order of execution.
        weights: Weight of each exemplar's tokens in the softmax; equal by default.
        regions: Labels, if tokens may read only their own label.
    """
    with torch.no_grad():
        found = [denoiser.features(exemplar, timestep, layers) for exemplar in exemplars]
    result = {}
    for name in layers:
        parts = [KeyValue(f[name].key, f[name].value) for f in found]
        if weights is not None:
            parts = [
                p._replace(bias=p.key.new_full((p.key.shape[2],), w).log()) for p, w in zip(parts, weights, strict=True)
            ]
        result[name] = (joined(parts),) if regions is None else by_label(parts, regions.exemplars, regions.shown)
    return result


@dataclass(frozen=True, kw_only=True)
class Exemplars:
    """The exemplars as the loops read them.

    Attributes:
        crops: Clean latents (1, C, h, w) of any sizes.
        weights: Weight of each crop's tokens in the softmax; equal by default.
        regions: Labels of canvas and crops, if a token may read only exemplar tokens of its own label.
    """

    crops: Sequence[Tensor]
    weights: Sequence[float] | None = None
    regions: Regions | None = None
