"""A diffusers UNet as a `texgen.diffusion.denoising.Denoiser`: attention processors capture and inject its self-attention."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
import torch.nn.functional as F
from diffusers import UNet2DConditionModel
from diffusers.models.attention_processor import Attention
from torch import Tensor

from texgen.diffusion.attention import (
    ExemplarKeyValues,
    Features,
    InjectionMode,
    KeyValue,
    LayerFeatures,
    attend,
    joined,
    token_labels,
)
from texgen.diffusion.denoising import Denoiser
from texgen.diffusion.models.networks.network import LastLayerReached, OfNetwork, project, recomputing, repeated

PairMode = Literal["self", "replace", "beside"]


@dataclass
class _Tap:
    """What the processors currently capture and inject, and what they captured."""

    wanted: frozenset[str] = frozenset()
    stop_after: str | None = None
    captured: Features = field(default_factory=dict)
    injected: ExemplarKeyValues = field(default_factory=dict)
    mode: InjectionMode = "beside"
    labels: Tensor | None = None
    pairs: PairMode | None = None


class _TappedProcessor:
    """Self-attention that can capture its tensors, and attend to other keys and values."""

    def __init__(self, name: str, tap: _Tap) -> None:
        self.name = name
        self.tap = tap

    def __call__(self, attn: Attention, hidden_states: Tensor, **_options: Any) -> Tensor:
        query, key, value = project(attn, hidden_states)
        output = self._attend(query, key, value)
        if self.name in self.tap.wanted:
            self.tap.captured[self.name] = LayerFeatures(query, key, value, output)
        if self.name == self.tap.stop_after:
            raise LastLayerReached
        projection, dropout = attn.to_out
        result: Tensor = dropout(projection(output.transpose(1, 2).flatten(2).to(hidden_states.dtype)))
        return result

    def _attend(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        own, injected = KeyValue(key, value), self.tap.injected.get(self.name)
        if self.tap.pairs in (None, "self"):
            if injected is None:
                return F.scaled_dot_product_attention(query, key, value)
            labels = None if self.tap.labels is None else token_labels(self.tap.labels, query.shape[2])
            return attend(query, injected, labels, own if self.tap.mode == "beside" else None)
        half = len(query) // 2
        target, exemplar = KeyValue(key[:half], value[:half]), KeyValue(key[half:], value[half:])
        read = exemplar if self.tap.pairs == "replace" else joined([target, exemplar])
        return torch.cat([
            F.scaled_dot_product_attention(query[:half], read.key, read.value),
            F.scaled_dot_product_attention(query[half:], exemplar.key, exemplar.value),
        ])  # fmt: skip


def _is_self_attention(unet: UNet2DConditionModel, processor_name: str) -> bool:
    module = unet.get_submodule(processor_name.removesuffix(".processor"))
    return not getattr(module, "is_cross_attention", True)


class TappedUNet(OfNetwork, Denoiser):
    """A UNet whose self-attention can be captured and injected; made by `tapped`.

    Attributes:
        unet: The UNet.
        condition: Keyword arguments of every forward pass (text condition), batch 1, expanded to the batch.
        recomputed: Whether it uses gradient checkpointing.
    """

    def __init__(
        self, unet: UNet2DConditionModel, condition: Mapping[str, Any], tap: _Tap, recomputed: bool = False
    ) -> None:
        self.unet = unet
        self.condition = condition
        self.recomputed = recomputed
        self._tap = tap

    @property
    def network(self) -> UNet2DConditionModel:
        return self.unet

    def __call__(self, latents: Tensor, timestep: float | Tensor, condition: Mapping[str, Any] | None = None) -> Tensor:
        """Prediction for latents (B, C, h, w), float32, computed in the UNet's dtype."""
        prediction: Tensor = self._forward(latents, timestep, condition).sample
        return prediction.float()

    def features(self, latents: Tensor, timestep: float, layers: Sequence[str]) -> Features:
        """Features of `layers`; without gradient checkpointing, the forward pass ends at the last of them."""
        last = None if self.recomputed else layers[-1]  # checkpointing cannot recompute a block that was interrupted
        tap = _Tap(wanted=frozenset(layers), stop_after=last)
        with self._set(tap), suppress(LastLayerReached):
            self._forward(latents, timestep)
        return tap.captured

    def injecting(
        self, key_values: ExemplarKeyValues, mode: InjectionMode, labels: Tensor | None = None
    ) -> AbstractContextManager[None]:
        return self._set(_Tap(injected=key_values, mode=mode, labels=labels))

    def pairing(self, mode: PairMode) -> AbstractContextManager[None]:
        """Context in which the second half of a batch holds the exemplars of the first half, for training.

        Exemplars attend to themselves; targets attend to themselves (`self`), to their exemplars (`replace`) or to both (`beside`).
        Gradients reach both halves.
        """
        return self._set(_Tap(pairs=mode))

    @contextmanager
    def _set(self, tap: _Tap) -> Iterator[None]:
        before = dict(vars(self._tap))
        vars(self._tap).update(vars(tap))
        try:
            yield
        finally:
            vars(self._tap).update(before)

    def _forward(self, latents: Tensor, timestep: float | Tensor, given: Mapping[str, Any] | None = None) -> Any:
        condition = repeated(self.condition if given is None else given, len(latents), self.unet.dtype)
        sample = latents.to(self.unet.dtype).contiguous(memory_format=torch.channels_last)
        return self.unet(sample, timestep, **condition)


@contextmanager
def tapped(unet: UNet2DConditionModel, condition: Mapping[str, Any], recomputed: bool = False) -> Iterator[TappedUNet]:
    """Context that gives the UNet with capturing processors in every self-attention layer; its own are restored afterwards.

    Cross-attention keeps its processors.

    Args:
        unet: The UNet.
        condition: Keyword arguments of its calls, batch 1.
        recomputed: See `recomputing`.
    """
    tap = _Tap()
    before = dict(unet.attn_processors)
    taps = {
        name: _TappedProcessor(name.removesuffix(".processor"), tap) if _is_self_attention(unet, name) else processor
        for name, processor in before.items()
    }
    unet.set_attn_processor(dict(taps))
    try:
        with recomputing(unet, recomputed):
            yield TappedUNet(unet, condition, tap, recomputed)
    finally:
        unet.set_attn_processor(dict(before))


def self_attention_layers(unet: UNet2DConditionModel, condition: Mapping[str, Any]) -> list[str]:
    """Names of the self-attention layers in order of execution, found by running the UNet once on small latents.

    The order of registration differs: diffusers registers `mid_block` after `up_blocks`.
    """
    side = 2 ** len(unet.config.block_out_channels)
    names = frozenset(n.removesuffix(".processor") for n in unet.attn_processors if _is_self_attention(unet, n))
    with tapped(unet, condition) as tap, torch.no_grad():
        latents = torch.zeros(1, unet.config.in_channels, side, side, device=unet.device)
        everything = _Tap(wanted=names)
        with tap._set(everything):
            tap._forward(latents, 0)
    return list(everything.captured)
