"""The command line: argv and files in, exit codes out. No logic of its own; torch is imported when work starts."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from texgen.errors import OptionError, TexgenError
from texgen.train.command import train

if TYPE_CHECKING:
    from texgen.sample import Step

INTERNAL, INTERRUPTED = 1, 130


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


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="texgen")
def cli() -> None:
    """texgen turns a small material swatch into a large, seamless texture.

    Exit codes: 0 ok, 1 internal error, 2 usage, 3 bad input, 4 model missing or refused, 5 out of memory or disk,
    8 output in use by another run, 130 interrupted.
    """


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
]  # fmt: skip

SYNTHESIS_OPTIONS: list[Callable[..., Any]] = [
    click.option("--size", type=SizeType(), default="1024", show_default=True, help="In pixels."),
    click.option("--tileable", type=click.Choice(["both", "x", "y", "none"]), default="both", show_default=True),
    click.option("--preset", type=click.Choice(["draft", "standard", "best"]), default="standard", show_default=True),
    click.option("--seed", type=click.IntRange(0), help="Of all randomness; drawn and printed by default."),
    click.option("--start", type=click.Choice(["noise", "quilt", "coarse"]), help="Where the canvas begins."),
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


def _with(options: list[Callable[..., Any]]) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    def add(function: Callable[..., Any]) -> Callable[..., Any]:
        for option in reversed(options):
            function = option(function)
        return function

    return add


@cli.command()
@click.argument("swatch", type=click.Path(path_type=Path))
@click.option("-o", "--out", required=True, type=click.Path(path_type=Path), help="PNG, TIFF, JPEG or WebP, by suffix.")
@_with(SYNTHESIS_OPTIONS)
@_with(SWATCH_OPTIONS)
@_with(MODEL_OPTIONS)
@click.option(
    "--variations",
    type=click.IntRange(1, 1000),
    default=1,
    show_default=True,
    help="Write OUT-1 ... OUT-N, seeds counting up.",
)
@click.option(
    "--save-map", type=click.Path(path_type=Path), help="TIFF of where each canvas cell came from in the swatch."
)
@click.option(
    "--bits", type=click.Choice(["8", "16"]), default="8", show_default=True, help="A channel; 16 for PNG and TIFF."
)
@click.option("--pyramid", is_flag=True, help="Halved levels inside a TIFF, for viewers.")
@click.option("--resume", is_flag=True, help="Go on with an interrupted run of the same command, to the same bytes.")
@click.option(
    "--checkpoint-minutes",
    type=float,
    default=1.0,
    show_default=True,
    help="Between two savings of the unfinished run, in the folder .OUT.texgen.",
)
@click.option("--no-metadata", is_flag=True, help="No recipe in the picture and no JSON beside it.")
@click.option("--progress", type=click.Choice(["auto", "bar", "json", "none"]), default="auto", show_default=True)
def expand(
    swatch: Path, out: Path, size: tuple[int, int], model: str, device: str, dtype: str, variations: int,
    save_map: Path | None, bits: str, pyramid: bool, resume: bool, no_metadata: bool, progress: str, seed: int | None, **options: Any,
) -> None:  # fmt: skip
    """Expand SWATCH to a large texture.

    An interrupted or killed run is gone on with by the same command and --resume. `torchrun -m texgen expand ...`
    shares one canvas among several processes or GPUs.
    """
    import functools
    from contextlib import ExitStack

    from texgen import models, publish
    from texgen.checkpoint import unfinished_seed
    from texgen.tasks.expand import expand as run
    from texgen.team import join, own_device

    team = join()
    targets = _targets(out, variations)
    maps = [] if save_map is None else _targets(save_map, variations)
    if maps and options["start"] == "noise":
        raise OptionError("--save-map needs --start quilt or coarse; a start of noise has no map.")
    if seed is None and resume:
        seed = unfinished_seed(_folder(targets[0]))
    seed = team.shared(lambda: _drawn_seed() if seed is None else seed)
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
                swatch, size, model=backbone, seed=seed + number, bits=int(bits), checkpoint=_folder(target), resume=resume,
                callback=report.step, **options,
            )  # fmt: skip
            if team.rank == 0:
                if maps:
                    result.save_map(maps[number])
                result.save(target, metadata=not no_metadata, pyramid=pyramid)
                result.discard()
            team.wait()
            report.end(target, result.timings)


@cli.command()
def models() -> None:
    """List the bundled models and say what else --model takes."""
    from texgen.models.load import BUNDLED

    for name, folder in BUNDLED.items():
        size = sum(path.stat().st_size for path in folder.rglob("*.safetensors")) / 2**20
        click.echo(f"{name}\tbundled, {size:.0f} MiB, works offline")
    click.echo("FOLDER\ta Stable Diffusion 1.x, 2.x or XL folder saved by diffusers")
    click.echo("FILE.safetensors\ta Stable Diffusion 1.x, 2.x or XL checkpoint")
    click.echo("OWNER/NAME\tthe same from the Hugging Face hub")


@cli.command()
def doctor() -> None:
    """Check the installation: versions, device, bundled model, a forward pass."""
    import platform

    import torch

    from texgen import models, recipe

    click.echo(f"python {platform.python_version()}, {platform.system()} {platform.machine()}")
    for name in ("texgen", "torch", "diffusers", "transformers", "numpy", "pillow"):
        click.echo(f"{name} {recipe.package_version(name)}")
    gpu = f"{torch.cuda.get_device_name()}" if torch.cuda.is_available() else "none"
    click.echo(f"threads {torch.get_num_threads()}, gpu {gpu}")
    started = time.perf_counter()
    backbone = models.load("mini")
    latents = backbone.encode(torch.rand(1, 3, 128, 128))
    finite = bool(torch.isfinite(backbone.decode(latents)).all())
    if not finite or len(backbone.attention_layers) < 6:
        raise TexgenError("the bundled model does not work here; reinstall texgen.")
    click.echo(f"mini ok, {time.perf_counter() - started:.1f} s")


cli.add_command(train)


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


def _drawn_seed() -> int:
    import secrets

    return secrets.randbits(32)


def main(args: list[str] | None = None) -> NoReturn:
    """Run the command line; every expected failure is one line on stderr and an exit code."""
    try:
        cli.main(args, standalone_mode=False)
        sys.exit(0)
    except click.exceptions.Exit as stop:
        sys.exit(stop.exit_code)
    except (click.Abort, KeyboardInterrupt):
        _fail("interrupted; the same command with --resume goes on where it stopped.", INTERRUPTED)
    except click.ClickException as error:
        _fail(error.format_message(), OptionError.exit_code)
    except TexgenError as error:
        _fail(str(error), error.exit_code)
    except Exception as error:
        _fail(f"internal error: {type(error).__name__}: {error}; please report it.", INTERNAL)


def _fail(message: str, code: int) -> NoReturn:
    click.echo(f"texgen: error: {' '.join(message.split())}", err=True)
    sys.exit(code)


if __name__ == "__main__":
    main()
