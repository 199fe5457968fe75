"""Settings of the diffusion model, with their help texts and ranges."""

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
"""Settings that only `loop="sample"` uses."""
PUBLISHED = "published"
"""The preset with the published method, unchanged."""
PUBLISHED_SIDE = 512
"""Side in pixels to which this preset resizes every exemplar."""


GUIDANCE_SCALE = 7.0
"""Default guidance scale of a prompt, for models without one of their own."""
LOADED_WITH = ("loras", "controlnets", "compile")
"""Settings that are applied when a model is loaded."""


@dataclass(frozen=True, kw_only=True)
class TextKnobs(Table):
    """Settings of `texgen text`."""

    negative_prompt: str | None = knob(
        None,
        "What the picture should not show. By default empty, which Stable Diffusion XL encodes as zeros.",
        everyday=True,
    )
    guidance_scale: float | None = knob(
        None, "How closely to follow the prompt (classifier-free guidance); larger costs variety, 1 turns guidance off. 7 by default, 3.5 for Flux.", kind="float", low=1, high=50, everyday=True
    )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Knobs(Table):
    """Settings as the user gave them; None means the preset's value."""

    WHOSE: ClassVar[str] = "diffusion models"
    MIN_SIDE: ClassVar[int] = 128

    start: str | None = knob(
        None, "What the canvas starts from: `swatch` (the swatch model's result for the same job), `noise` (the published start), `layout` (the layout, or the content of `transfer`, itself) or `scatter` (random "
        "pixels of the same label, in `paint`).", choices=("swatch", "noise", "layout", "scatter"),
    )  # fmt: skip
    loop: LoopKind | None = knob(
        None, "`sample` (Algorithm 2) or `optimize` (Algorithm 1, from noise or the layout itself). By default `sample`, except in `transfer` and when a diffusion model paints a canvas of one tile.", choices=("sample", "optimize")
    )  # fmt: skip
    strength: float | None = knob(
        None, "Amount of noise added to the start: larger departs further from it, 1 keeps nothing of it. ceil(strength * steps) steps are run.", kind="float", low=0, high=1
    )  # fmt: skip
    steps: int | None = knob(
        None,
        "Scheduler steps at strength 1. With `optimize`, 200 by default and 300 with `best`, for textures that are not the same everywhere.",
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
        None, "Placement of tiles: `rolled` uses tiles without overlap, whose grid shifts at random at every step; `fixed` is MultiDiffusion's.", choices=("fixed", "rolled")
    )  # fmt: skip
    window: WindowKind | None = knob(None, "Weights of overlapping tiles.", choices=("ones", "hann", "gaussian"))
    tile_overlap: int | None = knob(
        None, "Overlap of neighbouring tiles of the fixed schedule.", kind="int", unit="px", low=0, high=65536
    )
    tile_batch: int | None = knob(
        None, "Tiles per batch; by default as many as fit into `memory`.", kind="int", low=1, high=4096
    )
    memory: float | None = knob(
        None, "Memory for tiles on the device; by default what is free.", kind="float", unit="GiB", low=0.1, high=1e6
    )
    attn_scale: float = knob(
        1.0, "Sharpness of the ideal attention; larger attends to fewer keys.", kind="float", low=0.01, high=100
    )
    start_time: int | None = knob(
        None, "Run attention distillation only in steps from timesteps below this.", kind="int", low=0, high=1000
    )
    adain: bool | None = knob(
        None, "Match channel statistics of each tile to the swatch's; by default only in `text`.", kind="switch"
    )
    inject: InjectionMode | Literal["none"] | None = knob(
        None, "Use the swatch's keys and values in the noise prediction, beside the canvas' own or in their place.", choices=("none", "beside", "replace")
    )  # fmt: skip
    layers: Sequence[int | str] | None = knob(
        None, "Attention layers of the loss by index or name; the last six by default.", kind="layers"
    )
    match_spectrum: bool | None = knob(
        None, "Give the canvas the swatch's mean and cross-spectrum after every step.", kind="switch"
    )
    detail: DetailKind | None = knob(
        None, "What to transfer from matching places of the swatch: `residual` (the detail that the autoencoder loses), `pixels` (the swatch itself) or `none`.", choices=("residual", "pixels", "none")
    )  # fmt: skip
    tune_decoder: int | None = knob(
        None, "Iterations for which a copy of the decoder is first trained on the swatch (75 were published); 0 skips this.", kind="int", low=0, high=100_000
    )  # fmt: skip
    loras: Sequence[LoraLike] = knob(
        (), "A LoRA file, optionally with its scale, such as moss.safetensors:0.8; needs peft (`texgen[lora]`). In Python, a file or a pair.", kind="scaled", flag="lora", several=True
    )  # fmt: skip
    controlnets: Sequence[str | Path] = knob(
        (), "A ControlNet: a diffusers folder or a hub id. Give its picture with `--control`, in the same order.", kind="any", flag="controlnet", several=True
    )  # fmt: skip
    controls: Sequence[ControlLike] = knob(
        (), "Picture for a ControlNet, stretched over the result, optionally with its weight (1 by default), such as edges.png:0.6. In Python, a picture or a pair.", kind="scaled", flag="control", several=True
    )  # fmt: skip
    device: str = knob("auto", "`auto`, `cpu`, `cuda`, `cuda:1`, `mps`.", everyday=True)
    dtype: str = knob(
        "auto",
        "Dtype of the network. By default, on CUDA `bfloat16` if the GPU supports it, else `float16`; elsewhere `float32`.",
        choices=("auto", "float32", "float16", "bfloat16"),
    )
    deterministic: bool = knob(
        True, "On a GPU, sum in a fixed order: the same command gives the same bytes on the same kind of card with the same versions, resumed or not. Turned off, it may be faster. CPUs are always deterministic.", kind="switch"
    )  # fmt: skip
    compile: bool = knob(
        False, "Compile the repeated parts of the network with torch, which takes minutes and should make long runs on a GPU faster; the last bits of the result differ.", kind="flag"
    )  # fmt: skip
    prediction_type: Literal["epsilon", "v"] | None = knob(
        None, "What the network predicts, for a checkpoint that is wrongly taken for the other kind. By default as the model says, or as its weights show.", choices=("epsilon", "v")
    )  # fmt: skip
    native_size: int | None = knob(
        None,
        "Side of a tile; by default the size that the model was trained at.",
        kind="int",
        unit="px",
        low=64,
        high=4096,
    )
    checkpoint_minutes: float = knob(
        1.0, "Time between two checkpoints of the unfinished canvas.", kind="float", unit="min", low=0, high=1e6
    )

    def check(self, size: Size, constraints: Constraints) -> None:
        """Refuse settings that are wrong whatever the picture and the model."""
        if min(size) < self.MIN_SIDE:
            raise OptionError(f"size={size} is too small; at least {self.MIN_SIDE} px a side.")

    @property
    def sampling(self) -> list[str]:
        """Names of the given settings that only `loop="sample"` uses."""
        return [name for name in SAMPLING if getattr(self, name) is not None and getattr(self, name) is not False]
