"""The command line: parses arguments and returns exit codes. torch is imported only when work starts."""

from __future__ import annotations

import sys
import time
from typing import Any, NoReturn

import click

from texgen.cli.config import defaults
from texgen.cli.process import Interrupted, begin, outcome
from texgen.cli.progress import RESUMABLE, Reporter
from texgen.cli.verbs import VERBS
from texgen.errors import TexgenError
from texgen.runs.interrupt import INTERRUPTED


class Group(click.Group):
    """The group of all verbs."""

    def invoke(self, context: click.Context) -> Any:
        """Run a verb. Interrupts pass as `Interrupted`, because click itself would print an empty line."""
        try:
            return super().invoke(context)
        except KeyboardInterrupt as interrupt:
            raise Interrupted from interrupt


@click.group(cls=Group)
@click.version_option(package_name="texgen")
@click.pass_context
def cli(context: click.Context) -> None:
    """texgen turns a small material swatch into a large, seamless texture.

    Exit codes: 0 ok, 1 internal error, 2 usage, 3 bad input, 4 model missing or refused, 5 out of memory or disk,
    8 output in use by another run, 130 interrupted.
    """
    context.default_map = defaults({str(verb.name): verb for verb in VERBS})


@cli.command()
def models() -> None:
    """List what --model takes."""
    from texgen.diffusion.bundled import BUNDLED

    click.echo("swatch\tthe swatch's own patches, no weights; the default, works offline")
    for name, folder in BUNDLED.items():
        size = sum(path.stat().st_size for path in folder.rglob("*.safetensors")) / 2**20
        click.echo(f"{name}\tbundled, {size:.0f} MiB, works offline")
    click.echo("FOLDER\ta Stable Diffusion 1.x, 2.x or XL folder saved by diffusers")
    click.echo("FILE.safetensors\ta Stable Diffusion 1.x, 2.x or XL checkpoint")
    click.echo("OWNER/NAME\tthe same from the Hugging Face hub")


@cli.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print a script that makes SHELL complete texgen's options; add it to the settings of the shell.

    For example: texgen completion bash >> ~/.bashrc
    """
    from click.shell_completion import get_completion_class

    found = get_completion_class(shell)
    assert found is not None
    click.echo(found(cli, {}, "texgen", "_TEXGEN_COMPLETE").source())


@cli.command()
@click.option("--quick", is_flag=True, help="Check only versions and files; load nothing.")
def doctor(quick: bool) -> None:
    """Check the installation: versions, device, bundled model, a forward pass."""
    import platform

    from texgen.diffusion.bundled import BUNDLED
    from texgen.runs import digests

    click.echo(f"python {platform.python_version()}, {platform.system()} {platform.machine()}")
    for name in ("texgen", "torch", "diffusers", "transformers", "numba", "numpy", "pillow", "openimageio"):
        click.echo(f"{name} {digests.package_version(name)}")
    missing = [name for name, folder in BUNDLED.items() if not (folder / "model_index.json").is_file()]
    if missing:
        raise TexgenError(f"the bundled model {missing[0]} is not there; reinstall texgen.")
    if quick:
        click.echo(f"{', '.join(BUNDLED)} found")
    else:
        _try_out()


def _try_out() -> None:
    """Load and use the bundled model."""
    import torch

    from texgen.diffusion import models

    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "none"
    click.echo(f"threads {torch.get_num_threads()}, gpu {gpu}")
    started = time.perf_counter()
    backbone = models.load("mini")
    latents = backbone.encode(torch.rand(1, 3, 128, 128))
    if not torch.isfinite(backbone.decode(latents)).all() or len(backbone.attention_layers) < 6:
        raise TexgenError("the bundled model does not work here; reinstall texgen.")
    click.echo(f"mini ok, {time.perf_counter() - started:.1f} s")


for command in VERBS:
    cli.add_command(command)


def main(args: list[str] | None = None) -> NoReturn:
    """Run texgen's command line."""
    begin(lambda: cli, args)


def run(command: click.Command, args: list[str] | None = None) -> NoReturn:
    """Run a command that handles interrupts itself."""
    with Reporter(sys.argv[1:] if args is None else args) as report:
        try:
            code = outcome(lambda: command, args, report)
        except KeyboardInterrupt:
            code = report.failed(RESUMABLE, INTERRUPTED)
    sys.exit(code)


if __name__ == "__main__":
    main()
