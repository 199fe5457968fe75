"""What may be set of a diffusion model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from texgen.errors import OptionError
from texgen.job import Constraints
from texgen.knobs import Table, knob
from tiling import Size

if TYPE_CHECKING:
    from pathlib import Path

    from texgen.diffusion.attention import InjectionMode
    from texgen.diffusion.presets import DetailKind, LoopKind
    from texgen.files.image import ImageLike
    from tiling import ScheduleKind, WindowKind

    LoraLike = str | Path | tuple[str | Path, float]
    ControlLike = ImageLike | tuple[ImageLike, float]

SAMPLING = ("strength", "iterations", "inject", "start_time", "match_spectrum", "adain")
"""What only sampling looks at."""
PUBLISHED = "published"
"""The preset that is the published method and nothing else."""
PUBLISHED_SIDE = 512
"""Pixels that it resizes every exemplar to."""


GUIDANCE_SCALE = 7.0
"""Of a prompt, but where a model has its own."""
LOADED_WITH = ("loras", "controlnets", "compile")
"""Settings that a loaded model has already."""


@dataclass(frozen=True, kw_only=True)
class TextKnobs(Table):
    """Settings of `texgen text`."""

    negative_prompt: str | None = knob(
        None,
        "What is not wanted; by default nothing, which Stable Diffusion XL is told as zeros.",
        everyday=True,
    )
    guidance_scale: float | None = knob(
        None, "How closely the prompt is followed (classifier-free guidance); larger costs variety, 1 does without. By default 7, for Flux 3.5.", kind="float", low=1, high=50, everyday=True
    )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Knobs(Table):
    """Settings as the user gave them; None takes the preset's."""

    WHOSE: ClassVar[str] = "diffusion models"
    MIN_SIDE: ClassVar[int] = 128

    start: str | None = knob(
        None, "Where the canvas begins: `swatch` (what the swatch model makes of the same job), `noise` (the published start), `layout` (the layout, or the content of `transfer`, itself) or `scatter` (random "
        "pixels of the same label, in `paint`).", choices=("swatch", "noise", "layout", "scatter"),
    )  # fmt: skip
    loop: LoopKind | None = knob(
        None, "`sample` (Algorithm 2) or `optimize` (Algorithm 1: from noise or the layout itself); by default the second only in `transfer`, and where a diffusion model paints a canvas of one tile.", choices=("sample", "optimize")
    )  # fmt: skip
    strength: float | None = knob(
        None, "Noise put on the start; larger departs further from it, 1 keeps nothing. ceil(strength * steps) steps are run.", kind="float", low=0, high=1
    )  # fmt: skip
    steps: int | None = knob(
        None,
        "Scheduler steps at strength 1; of `optimize` 200 by default, and 300 with `best`, for textures that are not alike everywhere.",
        kind="int",
        low=1,
        high=1000,
    )
    iterations: int | None = knob(
        None, "Iterations of attention distillation for each step and tile.", kind="int", low=0, high=1000
    )
    lr: float | None = knob(
        None, "Adam's learning rate on the latents; larger follows the swatch faster, and overshoots.", kind="float", low=1e-6, high=10
    )  # fmt: skip
    schedule: ScheduleKind | None = knob(
        None, "Of the tiles: `rolled` moves a grid without overlap at random every step, `fixed` is MultiDiffusion's.", choices=("fixed", "rolled")
    )  # fmt: skip
    window: WindowKind | None = knob(None, "Weights of overlapping tiles.", choices=("ones", "hann", "gaussian"))
    tile_overlap: int | None = knob(
        None, "Overlap of neighbouring tiles of the fixed schedule.", kind="int", unit="px", low=0, high=65536
    )
    tile_batch: int | None = knob(
        None, "Tiles worked on at once; planned from `memory` by default.", kind="int", low=1, high=4096
    )
    memory: float | None = knob(
        None, "What tiles may take on the device; by default what is free.", kind="float", unit="GiB", low=0.1, high=1e6
    )
    attn_scale: float = knob(
        1.0, "Sharpness of the ideal attention; larger looks at fewer keys.", kind="float", low=0.01, high=100
    )
    start_time: int | None = knob(
        None, "Attention distillation follows steps from timesteps below this only.", kind="int", low=0, high=1000
    )
    adain: bool | None = knob(
        None, "Match channel statistics of each tile to the swatch's; by default in `text` alone.", kind="switch"
    )
    inject: InjectionMode | Literal["none"] | None = knob(
        None, "The swatch's keys and values in the noise prediction, beside the canvas' own or in their place.", choices=("none", "beside", "replace")
    )  # fmt: skip
    layers: Sequence[int | str] | None = knob(
        None, "Attention layers of the loss by index or name; the last six by default.", kind="layers"
    )
    match_spectrum: bool | None = knob(
        None, "Give the canvas the swatch's mean and cross-spectrum after every step.", kind="switch"
    )
    detail: DetailKind | None = knob(
        None, "What is carried over from matching places of the swatch: `residual` (what the autoencoder loses), `pixels` (the swatch itself) or nothing.", choices=("residual", "pixels", "none")
    )  # fmt: skip
    tune_decoder: int | None = knob(
        None, "Iterations that a copy of the decoder is trained on the swatch first (75 were published); 0 does not.", kind="int", low=0, high=100_000
    )  # fmt: skip
    loras: Sequence[LoraLike] = knob(
        (), "Weights that are added to the model's own, and how much of them, such as moss.safetensors:0.8; needs peft (`texgen[lora]`); in Python a file, or a pair.", kind="scaled", flag="lora", several=True
    )  # fmt: skip
    controlnets: Sequence[str | Path] = knob(
        (), "A ControlNet: a diffusers folder or a hub id; its picture comes as `--control`, in the same order.", kind="any", flag="controlnet", several=True
    )  # fmt: skip
    controls: Sequence[ControlLike] = knob(
        (), "What a ControlNet sees, stretched over the result, and its weight, 1 by default, such as edges.png:0.6; in Python a picture, or a pair.", kind="scaled", flag="control", several=True
    )  # fmt: skip
    device: str = knob("auto", "`auto`, `cpu`, `cuda`, `cuda:1`, `mps`.", everyday=True)
    dtype: str = knob(
        "auto",
        "Of the network; by default on CUDA `bfloat16` where the GPU has it, else `float16`, and `float32` elsewhere.",
        choices=("auto", "float32", "float16", "bfloat16"),
    )
    deterministic: bool = knob(
        True, "On a GPU, sum in a fixed order: the same command gives the same bytes on the same kind of card with the same versions, resumed or not. Without, it may be faster; CPUs always do.", kind="switch"
    )  # fmt: skip
    compile: bool = knob(
        False, "Have torch compile the parts of the network that repeat, which takes minutes and should make long runs on a GPU faster; the last bits differ.", kind="flag"
    )  # fmt: skip
    prediction_type: Literal["epsilon", "v"] | None = knob(
        None, "What the network predicts, for a checkpoint that is taken for the other kind; by default what the model says, or its weights show.", choices=("epsilon", "v")
    )  # fmt: skip
    native_size: int | None = knob(
        None, "Side of a tile; by default what the model was trained at.", kind="int", unit="px", low=64, high=4096
    )
    checkpoint_minutes: float = knob(
        1.0, "Between two savings of the unfinished canvas.", kind="float", unit="min", low=0, high=1e6
    )

    def check(self, size: Size, constraints: Constraints) -> None:
        """Refuse what needs neither picture nor model to be refused."""
        if min(size) < self.MIN_SIDE:
            raise OptionError(f"size={size} is too small; at least {self.MIN_SIDE} px a side.")

    @property
    def sampling(self) -> list[str]:
        """Which were given that only sampling looks at."""
        return [name for name in SAMPLING if getattr(self, name) is not None and getattr(self, name) is not False]
