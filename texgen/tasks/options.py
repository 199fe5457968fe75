"""Keyword arguments that every verb takes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypedDict

from texgen.diffusion.knobs import Knobs as DiffusionKnobs
from texgen.knobs import described
from texgen.swatch.knobs import Knobs as SwatchKnobs
from texgen.tasks.knobs import Common

if TYPE_CHECKING:
    from texgen.diffusion.attention import InjectionMode
    from texgen.diffusion.knobs import ControlLike, LoraLike
    from texgen.diffusion.presets import DetailKind, LoopKind
    from texgen.files.image import ImageLike
    from texgen.materials.guides import GuideLike
    from texgen.materials.maps import MapLike, Maps
    from texgen.runs.torchrun import Team
    from texgen.tasks.knobs import ModelLike
    from texgen.tasks.size import Tileable
    from tiling import ScheduleKind, WindowKind


class Options(TypedDict, total=False):
    """Keyword arguments of all verbs. Those left out take the values of the preset.

    They come from three tables: `texgen.tasks.knobs.Common`, `texgen.swatch.knobs.Knobs` and `texgen.diffusion.knobs.Knobs`. `docs/options.md` lists all.

    Attributes:
    """

    model: ModelLike
    tileable: Tileable
    preset: str
    seed: int | None
    size_m: float | None
    texel_density: float | None
    exemplars: Sequence[ImageLike]
    exemplar_weights: Sequence[float] | None
    crop: Sequence[int] | None
    rotate: int
    exemplar_scale: float
    exemplar_size: int | None
    flatten_light: bool
    start: str | None
    loop: LoopKind | None
    strength: float | None
    steps: int | None
    iterations: int | None
    lr: float | None
    schedule: ScheduleKind | None
    window: WindowKind | None
    tile_overlap: int | None
    tile_batch: int | None
    memory: float | None
    attn_scale: float
    start_time: int | None
    adain: bool | None
    inject: InjectionMode | Literal["none"] | None
    layers: Sequence[int | str] | None
    match_spectrum: bool | None
    detail: DetailKind | None
    tune_decoder: int | None
    with_map: bool
    bit_depth: str | None
    device: str
    dtype: str
    prediction_type: Literal["epsilon", "v"] | None
    native_size: int | None
    loras: Sequence[LoraLike]
    controlnets: Sequence[str | Path]
    controls: Sequence[ControlLike]
    deterministic: bool
    compile: bool
    checkpoint: str | Path | None
    checkpoint_minutes: float
    resume: bool
    maps: Maps | None
    map_guides: Sequence[str]
    guides: Sequence[GuideLike]
    orientation: MapLike | None
    symmetry: str
    team: Team
    planned: Callable[[dict[str, Any]], None] | None
    callback: Callable[[Any], None] | None


Options.__doc__ = f"{Options.__doc__}\n{described(Common, SwatchKnobs, DiffusionKnobs)}"
