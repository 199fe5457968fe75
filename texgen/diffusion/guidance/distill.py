"""Attention distillation (AD): its loss, the content loss, and the inner loop that minimises both."""

from __future__ import annotations

import torch
from torch import Tensor

from texgen.diffusion.attention import ExemplarKeyValues, Features, attend, token_labels
from texgen.diffusion.denoising import Denoiser
from texgen.diffusion.guidance.settings import Guidance


def ad_loss(
    features: Features, exemplar: ExemplarKeyValues, attn_scale: float = 1.0, labels: Tensor | None = None
) -> Tensor:
    """Distance between a target's attention outputs and those with the exemplar's keys and values.

    ideal = stop_grad(Attn(Q, K_s, V_s)), current = Attn(Q, K, V), loss = sum over layers of mean |current - ideal|,
    as a mean per tile and a sum over tiles, reduced in float32. The gradient reaches the latents through `current` only.
    With labels, K_s and V_s of a token are those of the exemplar tokens with its label (masked AD).

    Args:
        features: Features of the target, each tensor (B, heads, tokens, head_dim).
        exemplar: Keys and values (1, heads, exemplar tokens, head_dim) of the layers of the loss, one pair per label.
        attn_scale: Factor of Q in the ideal branch; larger than 1 makes attention sharper, on fewer exemplar tokens.
        labels: Labels of the target's latents, (B, 1, h, w); None if every token may read all exemplar tokens.

    Returns:
        A scalar; 0 if both attention outputs are the same.

    References:
        Zhou, Gao, Chen, Huang, "Attention Distillation: A Unified Approach to Visual Characteristics Transfer",
        CVPR 2025, https://arxiv.org/abs/2502.20235, Eq. 3.
    """
    total = torch.zeros((), device=next(iter(features.values())).query.device)
    for name, key_values in exemplar.items():
        layer = features[name]
        with torch.no_grad():
            tokens = None if labels is None else token_labels(labels, layer.query.shape[2])
            ideal = attend(layer.query * attn_scale, key_values, tokens)
        total = total + (layer.output.float() - ideal.float()).abs().flatten(1).mean(1).sum()
    return total


def content_loss(features: Features, content: Features) -> Tensor:
    """Sum over layers of mean |Q - stop_grad(Q_c)|, as a mean per tile and a sum over tiles, in float32.

    Args:
        features: Features of the target, each query (B, heads, tokens, head_dim).
        content: Features of the content at the same timestep and layers, of the same shapes.

    References:
        Attention Distillation, CVPR 2025, https://arxiv.org/abs/2502.20235, Eq. 4.
    """
    total = torch.zeros((), device=next(iter(features.values())).query.device)
    for name, layer in content.items():
        difference = features[name].query.float() - layer.query.detach().float()
        total = total + difference.abs().flatten(1).mean(1).sum()
    return total


def guidance_loss(
    features: Features,
    ideal: ExemplarKeyValues,
    guidance: Guidance,
    content: Features | None = None,
    labels: Tensor | None = None,
) -> Tensor:
    """The AD loss of a batch of tiles, plus the weighted content loss if there is content.

    Args:
        features: Features of the tiles.
        ideal: The exemplar's keys and values.
        guidance: Settings.
        content: Features of the content at the same places.
        labels: Labels of the tiles, (B, 1, h, w).
    """
    loss = ad_loss(features, ideal, guidance.attn_scale, labels)
    return loss if content is None else loss + guidance.content_weight * content_loss(features, content)


def gradient(loss: Tensor, latents: Tensor, features: Features) -> Tensor:
    """Gradient of a loss of features with respect to the latents (B, C, h, w), float32.

    The gradient of a mean over a million numbers is a millionth for each, which underflows in float16. With float16, the loss is
    therefore scaled by about a sixteenth of that count, a power of two, and the gradient is divided by it in float32.
    """
    scale = 1
    if any(layer.output.dtype == torch.float16 for layer in features.values()):
        scale = 2 ** (max(layer.output[0].numel() for layer in features.values()).bit_length() - 5)
    (found,) = torch.autograd.grad(loss, latents, torch.full_like(loss, scale))
    return found / scale


def distill(
    denoiser: Denoiser,
    latents: Tensor,
    timestep: float,
    ideal: ExemplarKeyValues,
    guidance: Guidance,
    content: Tensor | None = None,
    labels: Tensor | None = None,
) -> tuple[Tensor, tuple[float, ...]]:
    """Minimise `guidance_loss` over latents (B, C, h, w) by `guidance.iterations` steps of a new Adam, in float32.

    `content` (latents) and `labels` (B, 1, h, w) belong to the same tiles.

    Returns:
        The new latents, and the loss summed over tiles at the first and last iteration.
    """
    latents = latents.detach().clone().requires_grad_(True)
    layers = list(ideal)
    optimizer = torch.optim.Adam([latents], lr=guidance.lr)
    losses: list[float] = []
    with torch.no_grad():
        wanted = None if content is None else denoiser.features(content, timestep, layers)
    for _ in range(guidance.iterations):
        features = denoiser.features(latents, timestep, layers)
        loss = guidance_loss(features, ideal, guidance, wanted, labels)
        latents.grad = gradient(loss, latents, features)
        optimizer.step()
        losses.append(float(loss.detach()))
    return latents.detach(), (losses[0], losses[-1])
