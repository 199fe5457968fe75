"""Attention distillation (AD)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from texgen.attention import ExemplarKeyValues, Features


def ad_loss(features: Features, exemplar: ExemplarKeyValues, attn_scale: float = 1.0) -> Tensor:
    """Distance between a target's attention outputs and what the exemplar's keys and values would give.

    ideal = stop_grad(Attn(Q, K_s, V_s)), current = Attn(Q, K, V), loss = sum over layers of mean |current - ideal|,
    as a mean per tile and a sum over tiles. The gradient reaches the latents through `current` only. Reduced in
    float32.

    Args:
        features: The target's, each tensor (B, heads, tokens, head_dim).
        exemplar: Keys and values (1, heads, exemplar tokens, head_dim) per layer; its layers are those of the loss.
        attn_scale: Multiplies Q in the ideal branch; larger than 1 picks fewer exemplar tokens, more sharply.

    Returns:
        A scalar, 0 where the target already attends like the exemplar.

    References:
        Zhou, Gao, Chen, Huang, "Attention Distillation: A Unified Approach to Visual Characteristics Transfer",
        CVPR 2025, https://arxiv.org/abs/2502.20235, Eq. 3.
    """
    total = torch.zeros((), device=next(iter(features.values())).query.device)
    for name, key_value in exemplar.items():
        layer = features[name]
        batch = layer.query.shape[0]
        with torch.no_grad():
            key, value = (tensor.to(layer.query.dtype).expand(batch, -1, -1, -1) for tensor in key_value)
            ideal = F.scaled_dot_product_attention(layer.query * attn_scale, key, value)
        total = total + (layer.output.float() - ideal.float()).abs().flatten(1).mean(1).sum()
    return total
