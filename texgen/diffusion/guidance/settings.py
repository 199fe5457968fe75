"""Settings of attention distillation and of injection."""

from __future__ import annotations

from dataclasses import dataclass

from texgen.diffusion.attention import InjectionMode


@dataclass(frozen=True, kw_only=True)
class Guidance:
    """Settings of the two loops.

    Attributes:
        iterations: Inner Adam steps (M) per scheduler step; more follow the exemplar more closely and cost more.
        lr: Adam's learning rate: roughly how far a latent may move per iteration.
        attn_scale: Sharpness of the ideal branch, see `ad_loss`.
        content_weight: Weight (lambda) of the content loss; 0 leaves it out.
        start_time: AD runs only in steps from timesteps below this; None means all.
        adain: Give each tile the exemplar's channel means and deviations before AD (text-to-image; not for textures).
        inject: Noise predictions attend to the exemplar's keys and values in addition to their own (`beside`) or instead (`replace`).
        layers: Self-attention layers of the loss by index or name; None means the last six.
    """

    iterations: int = 2
    lr: float = 0.05
    attn_scale: float = 1.0
    content_weight: float = 0.0
    start_time: int | None = None
    adain: bool = False
    inject: InjectionMode | None = None
    layers: tuple[int | str, ...] | None = None

    def active(self, timestep: float) -> bool:
        """Whether AD runs in the step from this timestep."""
        return self.iterations > 0 and (self.start_time is None or timestep < self.start_time)
