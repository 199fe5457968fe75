"""Classifier-free guidance by a prompt, and the control pictures of ControlNets."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor

from texgen.diffusion.denoising import Condition


@dataclass(frozen=True)
class Led:
    """An encoded prompt with its guidance.

    Attributes:
        condition: Condition of the prompt.
        away: Condition that guidance leads away from: the negative prompt or the empty one; None without guidance.
        scale: Guidance scale; 1 means no guidance.
    """

    condition: Condition
    away: Condition | None
    scale: float


class ControlPlane(NamedTuple):
    """Control pictures of the canvas' size, those of n ControlNets concatenated along the channels, (1, 3 n, H, W) in [0, 1]; and their weights."""

    pictures: Tensor
    weights: tuple[float, ...]


def guided(predicted: Callable[[Condition | None], Tensor], led: Led | None) -> Tensor:
    """The guided prediction: eps(z, t, away) + scale (eps(z, t, prompt) - eps(z, t, away)); without a prompt eps(z, t, empty prompt).

    Args:
        predicted: Gives the prediction for a condition.
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
