"""Options of the verbs on the command line, and the types of their values."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click

from texgen.swatch.settings import SYMMETRIES

GUIDE = ":guide"


class SizeType(click.ParamType):  # type: ignore[type-arg]
    """`1024` or `WIDTHxHEIGHT`, to (height, width)."""

    name = "N|WxH"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, int]:
        parts = str(value).lower().split("x")
        if len(parts) > 2 or not all(part.isdecimal() for part in parts):
            self.fail(f"{value!r} is neither a number of pixels nor WIDTHxHEIGHT.", param, ctx)
        width, height = int(parts[0]), int(parts[-1])
        return height, width


class CropType(click.ParamType):  # type: ignore[type-arg]
    """`LEFT,TOP,WIDTH,HEIGHT` in pixels."""

    name = "L,T,W,H"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, ...]:
        parts = str(value).split(",")
        if len(parts) != 4 or not all(part.strip().isdecimal() for part in parts):
            self.fail(f"{value!r} is not LEFT,TOP,WIDTH,HEIGHT.", param, ctx)
        return tuple(int(part) for part in parts)


class LabelledType(click.ParamType):  # type: ignore[type-arg]
    """`FILE:LABEL`, to (label, path)."""

    name = "FILE:LABEL"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, Path]:
        path, _, label = str(value).rpartition(":")
        if not path or not label:
            self.fail(f"{value!r} is not FILE:LABEL, such as grass.png:green.", param, ctx)
        return label, Path(path)


class NamedType(click.ParamType):  # type: ignore[type-arg]
    """`NAME=FILE`, to (name, path)."""

    name = "NAME=FILE"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, Path]:
        name, _, path = str(value).partition("=")
        if not path or not name:
            self.fail(f"{value!r} is not NAME=FILE, such as normal=swatch_normal.png.", param, ctx)
        return name, Path(path)


class PlaceType(click.ParamType):  # type: ignore[type-arg]
    """`LEFT,TOP` in pixels."""

    name = "LEFT,TOP"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, int]:
        parts = str(value).split(",")
        if len(parts) != 2 or not all(part.strip().isdecimal() for part in parts):
            self.fail(f"{value!r} is not LEFT,TOP.", param, ctx)
        return int(parts[0]), int(parts[1])


class WeightType(click.ParamType):  # type: ignore[type-arg]
    """Numbers separated by commas."""

    name = "W,W,..."

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[float, ...]:
        try:
            return tuple(float(part) for part in str(value).split(","))
        except ValueError:
            self.fail(f"{value!r} is not a list of numbers such as 1,0.5.", param, ctx)


class LayerType(click.ParamType):  # type: ignore[type-arg]
    """Indices or names, separated by commas."""

    name = "I,J,..."

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int | str, ...]:
        return tuple(int(p) if p.lstrip("-").isdecimal() else p for p in (q.strip() for q in str(value).split(",")))


class GuideType(click.ParamType):  # type: ignore[type-arg]
    """`SWATCH_MAP:CANVAS_MAP` or `SWATCH_MAP:CANVAS_MAP:WEIGHT`, to two paths and a number."""

    name = "SWATCH_MAP:CANVAS_MAP[:WEIGHT]"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[Path, Path, float]:
        paths, _, last = str(value).rpartition(":")
        try:
            weight = float(last)
        except ValueError:
            paths, weight = str(value), 1.0
        swatch, _, canvas = paths.partition(":")
        if not swatch or not canvas:
            self.fail(f"{value!r} is not {self.name}, such as swatch_height.png:height.png.", param, ctx)
        return Path(swatch), Path(canvas), weight


def map_option(required: bool = False) -> Callable[..., Any]:
    """Companion maps."""
    said = "A map of the swatch, shown in register and written as OUT_NAME; repeatable, with several swatches once for each."
    if not required:
        said += f" With {GUIDE} after FILE, patches are compared by it, too."
    return click.option("--map", "maps", type=NamedType(), multiple=True, required=required, help=said)


MODEL_OPTIONS: list[Callable[..., Any]] = [
    click.option("--model", default="swatch", show_default=True, help="swatch (its own patches), mini, a diffusers folder, a .safetensors file, or a hub id."),
    click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:1, mps."),
    click.option("--dtype", type=click.Choice(["auto", "float32", "float16", "bfloat16"]), default="auto", show_default=True),
]  # fmt: skip

SWATCH_OPTIONS: list[Callable[..., Any]] = [
    click.option("--exemplar", "exemplars", multiple=True, type=click.Path(path_type=Path), help="One more swatch of the same texture; repeatable."),
    click.option("--exemplar-weights", type=WeightType(), help="How much of each swatch is wanted, the first included."),
    click.option("--crop", type=CropType(), help="Part of the swatch to use, in pixels."),
    click.option("--rotate", type=click.IntRange(0, 270), default=0, help="0, 90, 180 or 270 degrees counterclockwise."),
    click.option("--exemplar-scale", type=float, default=1.0, show_default=True, help="Resize the swatch; larger gives larger features."),
    click.option("--exemplar-size", type=int, help="Resize the whole swatch to this many pixels a side, as published."),
    click.option("--symmetry", type=click.Choice(list(SYMMETRIES)), default="none", show_default=True, help="How the material may be shown beside as it is (swatch model)."),
    map_option(),
    click.option("--guide", "guides", type=GuideType(), multiple=True, help="A map of the swatch and one of the result that are to agree (swatch model); repeatable."),
    click.option("--orientation", type=click.Path(path_type=Path), help="Map of the result by which the material is turned: grey from 0 to 180 degrees, or a flow map (swatch model)."),
    click.option("--flatten-light", is_flag=True, help="Take slow changes of brightness out of the swatch: falling light, vignettes."),
]  # fmt: skip

SYNTHESIS_OPTIONS: list[Callable[..., Any]] = [
    click.option("--preset", type=click.Choice(["draft", "standard", "best"]), default="standard", show_default=True),
    click.option("--seed", type=click.IntRange(0), help="Of all randomness; drawn and printed by default."),
    click.option("--start", type=click.Choice(["quilt", "blocks", "noise", "swatch", "layout", "scatter"]), help="Where the canvas begins."),
    click.option("--loop", type=click.Choice(["sample", "optimize"]), help="Algorithm 2, or 1: optimise the start itself."),
    click.option("--strength", type=float, help="Noise on the start, 0 to 1; ceil(strength * steps) steps are run."),
    click.option("--steps", type=int, help="Scheduler steps at strength 1."),
    click.option("--iterations", type=int, help="AD iterations per step and tile."),
    click.option("--lr", type=float, help="Learning rate of AD on the latents."),
    click.option("--schedule", type=click.Choice(["fixed", "rolled"]), help="Of the tiles."),
    click.option("--window", type=click.Choice(["ones", "hann", "gaussian"]), help="Weights of overlapping tiles."),
    click.option("--tile-overlap", type=int, metavar="PX", help="Overlap of tiles of the fixed schedule."),
    click.option("--tile-batch", type=int, help="Tiles worked on at once; planned from --memory by default."),
    click.option("--memory", type=float, metavar="GIB", help="That tiles may take on the device; by default what is free."),
    click.option("--attn-scale", type=float, default=1.0, show_default=True, help="Sharpness of the ideal attention."),
    click.option("--start-time", type=int, help="AD acts at timesteps below this only."),
    click.option("--adain", is_flag=True, help="Match channel statistics of each tile to the exemplar's."),
    click.option("--inject", type=click.Choice(["none", "beside", "replace"]), help="Exemplar keys and values in the noise prediction."),
    click.option("--match-spectrum/--no-match-spectrum", default=None, help="Give the canvas the swatch's spectrum after every step."),
    click.option("--layers", type=LayerType(), help="Attention layers of the loss, by index or name."),
    click.option("--tune-decoder", type=click.IntRange(0), help="Training iterations of the decoder on the swatch before it decodes."),
    click.option("--detail", type=click.Choice(["residual", "pixels", "none"]), help="What is carried over from the swatch."),
]  # fmt: skip


OUTPUT_OPTIONS: list[Callable[..., Any]] = [
    click.option("-o", "--out", required=True, type=click.Path(path_type=Path), help="PNG, TIFF, JPEG or WebP, by suffix."),
    click.option("--variations", type=click.IntRange(1, 1000), default=1, show_default=True, help="Write OUT-1 ... OUT-N, seeds counting up."),
    click.option("--save-map", type=click.Path(path_type=Path), help="TIFF of where each canvas cell came from in the swatch."),
    click.option("--save-field", type=click.Path(path_type=Path), help="TIFF of where all pixels are from, for texgen render (swatch model)."),
    click.option("--bits", type=click.Choice(["8", "16"]), default="8", show_default=True, help="A channel; 16 for PNG and TIFF."),
    click.option("--pyramid", is_flag=True, help="Halved levels inside a TIFF, for viewers."),
    click.option("--resume", is_flag=True, help="Go on with an interrupted run of the same command, to the same bytes."),
    click.option("--checkpoint-minutes", type=float, default=1.0, show_default=True, help="Between two savings of the unfinished run, in the folder .OUT.texgen."),
    click.option("--no-metadata", is_flag=True, help="No recipe in the picture and no JSON beside it."),
    click.option("--progress", type=click.Choice(["auto", "bar", "json", "none"]), default="auto", show_default=True),
]  # fmt: skip


def tileable_option(default: str) -> Callable[..., Any]:
    """Which axes repeat; the verbs differ in what is usual."""
    kinds = click.Choice(["both", "x", "y", "none"])
    return click.option(
        "--tileable", type=kinds, default=default, show_default=True, help="Axes that repeat without a seam."
    )


def maps_of(pairs: Sequence[tuple[str, Path]]) -> tuple[dict[str, list[Path]], list[str]]:
    """Files by name, in their order; and the names that guide."""
    found: dict[str, list[Path]] = {}
    guides = []
    for name, path in pairs:
        if path.name.endswith(GUIDE):
            path = path.with_name(path.name.removesuffix(GUIDE))
            guides.append(name)
        found.setdefault(name, []).append(path)
    return found, guides


def with_options(options: list[Callable[..., Any]]) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    def add(function: Callable[..., Any]) -> Callable[..., Any]:
        for option in reversed(options):
            function = option(function)
        return function

    return add
