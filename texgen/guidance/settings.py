"""What guidance does at a step: the knobs of attention distillation and of injection."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from texgen.attention import InjectionMode

ExemplarNoise = Literal["same", "none"]


@dataclass(frozen=True, kw_only=True)
class Guidance:
    """Settings of the two loops.

    Attributes:
        iterations: Inner Adam steps (M) per scheduler step; more follow the exemplar closer and cost more.
        lr: Adam's learning rate: about how far a latent may move per iteration.
        relative_lr: Measure `lr` in standard deviations of the exemplar's own channels. Adam moves every latent by about
            `lr`, however small its gradient: where channels differ much in power, that is speckle in the weak ones.
        end_time: AD acts at timesteps of at least this only; what it does last, no prediction cleans afterwards.
        attn_scale: Sharpness of the ideal branch, see `ad_loss`.
        content_weight: Weight (lambda) of the content loss; 0 leaves it out.
        start_time: AD acts at timesteps below this only; None means always.
        adain: Give each tile the exemplar's channel means and deviations before AD (text-to-image; not for textures).
        inject: Let noise predictions attend to the exemplar's keys and values too (`beside`) or only (`replace`).
        exemplar_noise: How much noise the exemplars carry whose keys and values are injected: `same` as the canvas, as
            published, or `none`, for models trained to read a clean exemplar. The AD loss always compares at the same noise.
        layers: Self-attention layers of the loss by index or name; None means the last six.
    """

    iterations: int = 2
    lr: float = 0.05
    relative_lr: bool = False
    end_time: int = 0
    attn_scale: float = 1.0
    content_weight: float = 0.0
    start_time: int | None = None
    adain: bool = False
    inject: InjectionMode | None = None
    exemplar_noise: ExemplarNoise = "same"
    layers: tuple[int | str, ...] | None = None

    def acts_at(self, timestep: int) -> bool:
        """Whether AD is run at a timestep."""
        return self.end_time <= timestep and (self.start_time is None or timestep < self.start_time)
