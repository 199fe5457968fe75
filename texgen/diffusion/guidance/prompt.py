"""Classifier-free guidance: predictions led by a prompt, and by control pictures."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor

from texgen.diffusion.denoising import Condition


@dataclass(frozen=True)
class Led:
    """A prompt as the network is told it.

    Attributes:
        condition: Of the prompt.
        away: What guidance leads away from; None without guidance.
        scale: How far; 1 is without guidance.
    """

    condition: Condition
    away: Condition | None
    scale: float


class ControlPlane(NamedTuple):
    """Control pictures (1, 3 n, H, W) in [0, 1] on a canvas, in px, those of n ControlNets side by side; and the weight of each."""

    pictures: Tensor
    weights: tuple[float, ...]


def guided(predicted: Callable[[Condition | None], Tensor], led: Led | None) -> Tensor:
    """eps(z, t, away) + scale (eps(z, t, prompt) - eps(z, t, away)); without a prompt eps(z, t, empty prompt).

    Args:
        predicted: The prediction under a condition.
        led: The prompt, if any.

    References:
        Ho, Salimans, "Classifier-Free Diffusion Guidance", 2022, https://arxiv.org/abs/2207.12598, Eq. 6.
    """
    if led is None:
        return predicted(None)
    wanted = predicted(led.condition)
    if led.away is None:
        return wanted
    away = predicted(led.away)
    return away + led.scale * (wanted - away)
