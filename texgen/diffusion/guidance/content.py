"""The content loss: keep the queries of a content image."""

from __future__ import annotations

import torch
from torch import Tensor

from texgen.diffusion.attention import Features


def content_loss(features: Features, content: Features) -> Tensor:
    """Sum over layers of mean |Q - stop_grad(Q_c)|, as a mean per tile and a sum over tiles, in float32.

    Args:
        features: The target's, each query (B, heads, tokens, head_dim).
        content: The content's at the same timestep and layers, same shapes.

    References:
        Attention Distillation, CVPR 2025, https://arxiv.org/abs/2502.20235, Eq. 4.
    """
    total = torch.zeros((), device=next(iter(features.values())).query.device)
    for name, layer in content.items():
        difference = features[name].query.float() - layer.query.detach().float()
        total = total + difference.abs().flatten(1).mean(1).sum()
    return total
