"""The verbs that make textures, on the command line: argv and files in, files out."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from texgen.errors import OptionError

if TYPE_CHECKING:
    from texgen.sample import Step
    from texgen.tasks.run import Result


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


class LayerType(click.ParamType):  # type: ignore[type-arg]
    """Indices or names, separated by commas."""

    name = "I,J,..."

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int | str, ...]:
        return tuple(int(p) if p.lstrip("-").isdecimal() else p for p in (q.strip() for q in str(value).split(",")))


MODEL_OPTIONS: list[Callable[..., Any]] = [
    click.option("--model", default="mini", show_default=True, help="mini, a diffusers folder, a .safetensors file, or a hub id."),
    click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:1, mps."),
    click.option("--dtype", type=click.Choice(["auto", "float32", "float16", "bfloat16"]), default="auto", show_default=True),
]  # fmt: skip

SWATCH_OPTIONS: list[Callable[..., Any]] = [
    click.option("--exemplar", "exemplars", multiple=True, type=click.Path(path_type=Path), help="One more swatch of the same texture; repeatable."),
    click.option("--crop", type=CropType(), help="Part of the swatch to use, in pixels."),
    click.option("--rotate", type=click.IntRange(0, 270), default=0, help="0, 90, 180 or 270 degrees counterclockwise."),
    click.option("--exemplar-scale", type=float, default=1.0, show_default=True, help="Resize the swatch; larger gives larger features."),
    click.option("--exemplar-size", type=int, help="Resize the whole swatch to this many pixels a side, as published."),
    click.option("--flatten-light", is_flag=True, help="Take slow changes of brightness out of the swatch: falling light, vignettes."),
]  # fmt: skip

SYNTHESIS_OPTIONS: list[Callable[..., Any]] = [
    click.option("--tileable", type=click.Choice(["both", "x", "y", "none"]), default="both", show_default=True),
    click.option("--preset", type=click.Choice(["draft", "standard", "best"]), default="standard", show_default=True),
    click.option("--seed", type=click.IntRange(0), help="Of all randomness; drawn and printed by default."),
    click.option("--start", type=click.Choice(["noise", "quilt", "coarse", "layout"]), help="Where the canvas begins."),
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
    click.option("--adapt", type=click.IntRange(0), help="Training steps on the swatch itself before synthesis."),
    click.option("--raise-contrast/--no-raise-contrast", default=None, help="Sample a calm swatch's latents at unit power."),
    click.option("--match-spectrum/--no-match-spectrum", default=None, help="Give the canvas the swatch's spectrum after every step."),
    click.option("--layers", type=LayerType(), help="Attention layers of the loss, by index or name."),
    click.option("--detail", type=click.Choice(["residual", "pixels", "none"]), help="What is carried over from the swatch."),
]  # fmt: skip


OUTPUT_OPTIONS: list[Callable[..., Any]] = [
    click.option("-o", "--out", required=True, type=click.Path(path_type=Path), help="PNG, TIFF, JPEG or WebP, by suffix."),
    click.option("--variations", type=click.IntRange(1, 1000), default=1, show_default=True, help="Write OUT-1 ... OUT-N, seeds counting up."),
    click.option("--save-map", type=click.Path(path_type=Path), help="TIFF of where each canvas cell came from in the swatch."),
    click.option("--bits", type=click.Choice(["8", "16"]), default="8", show_default=True, help="A channel; 16 for PNG and TIFF."),
    click.option("--pyramid", is_flag=True, help="Halved levels inside a TIFF, for viewers."),
    click.option("--resume", is_flag=True, help="Go on with an interrupted run of the same command, to the same bytes."),
    click.option("--checkpoint-minutes", type=float, default=1.0, show_default=True, help="Between two savings of the unfinished run, in the folder .OUT.texgen."),
    click.option("--no-metadata", is_flag=True, help="No recipe in the picture and no JSON beside it."),
    click.option("--progress", type=click.Choice(["auto", "bar", "json", "none"]), default="auto", show_default=True),
]  # fmt: skip


def _with(options: list[Callable[..., Any]]) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    def add(function: Callable[..., Any]) -> Callable[..., Any]:
        for option in reversed(options):
            function = option(function)
        return function

    return add


@click.command()
@click.argument("swatch", type=click.Path(path_type=Path))
@click.option("--size", type=SizeType(), default="1024", show_default=True, help="In pixels.")
@_with(OUTPUT_OPTIONS + SYNTHESIS_OPTIONS + SWATCH_OPTIONS + MODEL_OPTIONS)
def expand(swatch: Path, size: tuple[int, int], **options: Any) -> None:
    """Expand SWATCH to a large texture.

    An interrupted or killed run is gone on with by the same command and --resume. `torchrun -m texgen expand ...`
    shares one canvas among several processes or GPUs.
    """
    from texgen.tasks.expand import expand as run

    _make(partial(run, swatch, size), size, **options)


@click.command()
@click.argument("swatch", type=click.Path(path_type=Path))
@click.option("--layout", "plan", required=True, type=click.Path(path_type=Path), help="A rough picture of the result.")
@click.option("--size", type=SizeType(), help="In pixels; the layout's own by default.")
@click.option(
    "--layout-weight", type=float, default=2.0, show_default=True, help="How closely the quilt follows the layout."
)
@click.option(
    "--content-weight", type=float, default=0.0, show_default=True, help="How closely AD holds on to the layout."
)
@_with(OUTPUT_OPTIONS + SYNTHESIS_OPTIONS + SWATCH_OPTIONS + MODEL_OPTIONS)
def layout(swatch: Path, plan: Path, size: tuple[int, int] | None, **options: Any) -> None:
    """Make a texture of SWATCH that keeps the plan of a rough picture.

    All options of `texgen expand` hold.
    """
    from texgen.tasks.layout import layout as run
    from texgen.tasks.layout import plan_size

    wanted = size or plan_size(plan)
    _make(partial(run, swatch, plan, wanted), wanted, **options)


def _make(
    run: Callable[..., Result], size: tuple[int, int], out: Path, model: str, device: str, dtype: str, variations: int,
    save_map: Path | None, bits: str, pyramid: bool, resume: bool, no_metadata: bool, progress: str, seed: int | None, **options: Any,
) -> None:  # fmt: skip
    """Run a task for every output, in folders that can be gone on with."""
    import functools
    from contextlib import ExitStack

    from texgen import models, publish
    from texgen.checkpoint import agreed_seed
    from texgen.team import join, own_device

    team = join()
    targets = _targets(out, variations)
    maps = [] if save_map is None else _targets(save_map, variations)
    if maps and options["start"] == "noise":
        raise OptionError("--save-map needs --start quilt or coarse; a start of noise has no map.")
    seed = agreed_seed(seed, _folder(targets[0]) if resume else None, team)
    report = _reporter(progress if team.rank == 0 else "silent")
    backbone = functools.cache(lambda: models.load(model, own_device(device), dtype))
    with ExitStack() as locks:
        for target in targets:
            publish.check_target(target, *size, bits=int(bits), pyramid=pyramid)
            if team.rank == 0:
                locks.enter_context(publish.locked(target))
        for target in maps:
            publish.check_target(target, *size, suffixes=(".tif", ".tiff"))
        for number, target in enumerate(targets):
            report.begin(target, seed + number)
            result = run(
                model=backbone, seed=seed + number, bits=int(bits), checkpoint=_folder(target), resume=resume,
                callback=report.step, **options,
            )  # fmt: skip
            if team.rank == 0:
                if maps:
                    result.save_map(maps[number])
                result.save(target, metadata=not no_metadata, pyramid=pyramid)
                result.discard()
            team.wait()
            report.end(target, result.timings)


class _Reporter:
    """Progress on stderr: a bar, JSON lines, or none; the seed always, but where `silent`."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._bar: Any = None

    def begin(self, target: Path, seed: int) -> None:
        if self.kind == "json":
            self._event(event="begin", output=target.name, seed=seed)
        elif self.kind != "silent":
            click.echo(f"{target.name}: seed {seed}", err=True)

    def step(self, step: Step) -> None:
        if self.kind == "json":
            self._event(event="step", index=step.index + 1, total=step.total, timestep=step.timestep, tiles=step.tiles)
        elif self.kind == "bar":
            from tqdm import tqdm

            if self._bar is None:
                self._bar = tqdm(total=step.total, unit="step", file=sys.stderr, leave=False)
            self._bar.update()

    def end(self, target: Path, timings: dict[str, float]) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None
        seconds = round(sum(timings.values()), 1)
        if self.kind == "json":
            self._event(event="done", output=target.name, seconds=seconds)
        elif self.kind != "silent":
            click.echo(f"{target.name}: done in {seconds} s", err=True)

    def _event(self, **content: Any) -> None:
        click.echo(json.dumps(content), err=True)


def _reporter(kind: str) -> _Reporter:
    if kind == "auto":
        kind = "bar" if sys.stderr.isatty() else "none"
    return _Reporter(kind)


def _targets(path: Path, count: int) -> list[Path]:
    """The path itself, or OUT-1 ... OUT-N."""
    if count == 1:
        return [path]
    return [path.with_name(f"{path.stem}-{number}{path.suffix}") for number in range(1, count + 1)]


def _folder(target: Path) -> Path:
    """Where an unfinished run of this output is held."""
    return target.with_name(f".{target.name}.texgen")
