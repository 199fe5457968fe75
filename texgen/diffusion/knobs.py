"""What may be set of a diffusion model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from texgen.errors import OptionError, check_range
from texgen.job import Constraints
from tiling import Size

if TYPE_CHECKING:
    from texgen.diffusion.guidance.attention import InjectionMode
    from texgen.diffusion.presets import DetailKind, LoopKind
    from tiling import ScheduleKind, WindowKind

SAMPLING = ("strength", "iterations", "inject", "start_time", "match_spectrum", "adain")
"""What only sampling looks at."""


@dataclass(frozen=True, kw_only=True)
class Knobs:
    """Settings as the user gave them; `texgen.Options` says what they mean. None takes the preset's."""

    WHOSE: ClassVar[str] = "diffusion models"
    MIN_SIDE: ClassVar[int] = 128

    start: str | None = None
    loop: LoopKind | None = None
    strength: float | None = None
    steps: int | None = None
    iterations: int | None = None
    lr: float | None = None
    schedule: ScheduleKind | None = None
    window: WindowKind | None = None
    tile_overlap: int | None = None
    tile_batch: int | None = None
    memory: float | None = None
    attn_scale: float = 1.0
    start_time: int | None = None
    adain: bool = False
    inject: InjectionMode | Literal["none"] | None = None
    layers: Sequence[int | str] | None = None
    match_spectrum: bool | None = None
    detail: DetailKind | None = None
    tune_decoder: int | None = None
    device: str = "auto"
    dtype: str = "auto"
    checkpoint_minutes: float = 1.0

    def check(self, size: Size, constraints: Constraints) -> None:
        """Refuse what needs neither picture nor model to be refused."""
        if min(size) < self.MIN_SIDE:
            raise OptionError(f"size={size} is too small; at least {self.MIN_SIDE} px a side.")
        for name, low, high in (
            ("strength", 0, 1),
            ("steps", 1, 1000),
            ("iterations", 0, 1000),
            ("lr", 1e-6, 10),
            ("tile_batch", 1, 4096),
            ("attn_scale", 0.01, 100),
            ("memory", 0.1, 1e6),
            ("tune_decoder", 0, 100_000),
            ("checkpoint_minutes", 0, 1e6),
        ):
            check_range(name, getattr(self, name), low, high)

    @property
    def sampling(self) -> list[str]:
        """Which were given that only sampling looks at."""
        return [name for name in SAMPLING if getattr(self, name) is not None and getattr(self, name) is not False]
