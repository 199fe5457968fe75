"""Options that every verb has, whatever the model, and options of single verbs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from texgen.diffusion.knobs import PUBLISHED, PUBLISHED_SIDE
from texgen.diffusion.knobs import Knobs as DiffusionKnobs
from texgen.knobs import Table, knob
from texgen.materials.knobs import Extent
from texgen.materials.preparation import Preparation
from texgen.runs.torchrun import ALONE, Team
from texgen.swatch.knobs import Knobs as SwatchKnobs

if TYPE_CHECKING:
    from texgen.diffusion.denoising import DenoisingModel
    from texgen.files.image import ImageLike
    from texgen.tasks.size import Tileable

    ModelLike = str | Path | DenoisingModel | Callable[[], DenoisingModel]


@dataclass(frozen=True, kw_only=True)
class Common(Extent):
    """Options of every verb and model."""

    model: ModelLike = knob(
        "swatch", "`swatch` (the swatch's own patches), `mini`, a diffusers folder, a `.safetensors` file or a hub id; in Python also a model from `texgen.load`, or a function that "
        "returns one, called once all options and pictures are checked.", kind="any", everyday=True,
    )  # fmt: skip
    tileable: Tileable = knob("both", "Axes along which the result repeats without a seam.", choices=("both", "x", "y", "none"), everyday=True)  # fmt: skip
    preset: str = knob("standard", "How much work is done; `published` is attention distillation as published, for diffusion models. Other options override its values.", choices=("draft", "standard", "best", PUBLISHED), everyday=True)  # fmt: skip
    seed: int | None = knob(
        None, "Seed of all random numbers; by default drawn at random and printed. The recipe holds it.", kind="int", low=0, high=2**63 - 1, everyday=True
    )  # fmt: skip
    exemplars: Sequence[ImageLike] = knob((), "One more swatch of the same texture.", kind="path", flag="exemplar", several=True, everyday=True)  # fmt: skip
    exemplar_weights: Sequence[float] | None = knob(
        None, "How much of each swatch, the first included, is wanted; equal by default.", kind="weights"
    )
    crop: Sequence[int] | None = knob(
        None, "Part of the swatch to use: left, top, width, height.", kind="crop", unit="px"
    )
    rotate: int = knob(0, "Turn the swatch counterclockwise.", kind="int", choices=(0, 90, 180, 270), unit="degrees")
    exemplar_scale: float = knob(
        1.0, "Resize the swatch; larger gives larger features.", kind="float", low=0.05, high=20
    )
    exemplar_size: int | None = knob(
        None, "Resize the whole swatch to this side instead; 512 with the preset `published`.", kind="int", unit="px", low=64, high=8192
    )  # fmt: skip
    flatten_light: bool = knob(
        False, "Remove slow changes of brightness, such as uneven light and vignettes, from the swatches; repeats would show them.", kind="flag", everyday=True
    )  # fmt: skip
    with_map: bool = knob(
        False, "Return the coordinate map, which says where each pixel came from; with a diffusion model, refuse a start that has none before any work.", kind="flag", flag=None
    )  # fmt: skip
    bit_depth: str | None = knob(
        None, "Bits per channel: integers are sRGB-encoded, floats linear; by default those of the swatch, or the nearest that the output format holds. Bits beyond the swatch's matter only where pixels are blended.", choices=("8", "16", "half", "float"), everyday=True
    )  # fmt: skip
    checkpoint: str | Path | None = knob(
        None, "Folder that holds the unfinished run, created if needed; on the command line .OUT.texgen.", kind="folder", flag=None
    )  # fmt: skip
    resume: bool = knob(
        False, "Continue an interrupted run with the same options, to the same bytes; start from the beginning if there is none.", kind="flag", everyday=True
    )  # fmt: skip
    team: Team = knob(ALONE, "Processes that share the work, see `texgen.runs.torchrun.join`; the command line joins those of torchrun.", kind="any", flag=None)  # fmt: skip
    planned: Callable[[dict[str, Any]], None] | None = knob(
        None, "Called before any work with the recipe as far as it is known; an exception ends the run.", kind="call", flag=None
    )  # fmt: skip
    callback: Callable[[Any], None] | None = knob(
        None, "Called with every state of a run, for progress and previews.", kind="call", flag=None
    )

    @property
    def preparation(self) -> Preparation:
        """How the swatches are prepared."""
        return Preparation(
            crop=self.crop,
            rotate=self.rotate,
            scale=self.exemplar_scale,
            size=PUBLISHED_SIDE if self.preset == PUBLISHED and self.exemplar_size is None else self.exemplar_size,
            flatten_light=self.flatten_light,
        )


EVERY = (Common, SwatchKnobs, DiffusionKnobs)
"""Tables of the options that all verbs which make textures share."""
NARROWEST, MOST_COLOURS = 16, 4


@dataclass(frozen=True, kw_only=True)
class ExpandKnobs(Table):
    """Options of `expand` alone."""

    keep: Sequence[int] | None = knob(
        None, "Keep the swatch itself, unchanged, at this place of the result: left, top.", kind="pair", unit="px", everyday=True
    )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class LayoutKnobs(Table):
    """Options of `layout` alone."""

    layout_weight: float = knob(
        1.0, "How closely patches follow the layout; larger values cost seams and variety.", kind="float", low=0, high=1000, everyday=True
    )  # fmt: skip
    content_weight: float | None = knob(
        None, "How closely a diffusion model follows the layout; 0.25 by default.", kind="float", low=0, high=1000, everyday=True
    )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class PaintKnobs(Table):
    """Options of `paint` alone."""

    softness: float = knob(
        0.0, "Width over which materials interlock; 0 cuts them sharply.", kind="float", unit="px", low=0, high=4096, everyday=True
    )  # fmt: skip
    content_weight: float | None = knob(
        None, "How closely a diffusion model follows its start; 0.15 by default.", kind="float", low=0, high=1000, everyday=True
    )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class TileKnobs(Table):
    """Options of `tile` alone."""

    band: int | None = knob(
        None, "Width of the band remade along each border; a sixteenth of the shorter side by default.", kind="int", unit="px", low=NARROWEST, high=65536, everyday=True
    )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class TransferKnobs(Table):
    """Options of `transfer` alone."""

    weight: float | None = knob(
        None, "How closely the swatch model follows the content; 1 by default.", kind="float", low=0, high=100, everyday=True
    )  # fmt: skip
    mode: Literal["style", "appearance"] | None = knob(
        None, "How much of the content a diffusion model keeps: style, the default, keeps more than appearance.", choices=("style", "appearance"), everyday=True
    )  # fmt: skip
    content_weight: float | None = knob(
        None, "The same as a number: by default 0.25 for style, 0.2 for appearance and on Stable Diffusion XL.", kind="float", low=0, high=1000, everyday=True
    )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class WangKnobs(Table):
    """Options of `wang` alone."""

    size: int = knob(256, "Side of a tile.", kind="int", unit="px", low=64, high=16384, flag=None)
    colours: Sequence[int] = knob(
        (2, 2), "Number of colours of the edges between rows, and between columns.", kind="pair", flag=None
    )
