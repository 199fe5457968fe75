"""The verbs that show a picture, or a prompt, in a swatch's style, on the command line."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import click

from texgen.cli.flags import PATH, SizeType, options_of, verb
from texgen.cli.invocation import read_input
from texgen.diffusion.knobs import TextKnobs
from texgen.files import image as images
from texgen.swatch.settings import STARTS


@verb("texgen transfer rust.png portrait.png -o metal.png --weight 2", (*STARTS, "layout"), tileable="none")
@click.argument("swatch", type=PATH)
@click.argument("content", type=PATH)
@click.option("--size", type=SizeType(), help="In pixels; the content's own by default.")
@click.option("--weight", type=float, help="How closely the swatch model follows the content; 1 by default.")
@click.option(
    "--mode",
    type=click.Choice(["style", "appearance"]),
    help="How much of the content a diffusion model keeps: style, the default, more than appearance.",
)
@click.option(
    "--content-weight", type=float, help="The same as a number: by default 0.25 for style, 0.2 for appearance and XL."
)
@click.option("--labels", type=PATH, help="Label map of SWATCH: a PNG in which each colour is a label.")
@click.option("--target", type=PATH, help="Which label is shown where in CONTENT, in the same colours.")
def transfer(swatch: Path, content: Path, size: tuple[int, int] | None, **options: Any) -> None:
    """Show the structure of the picture CONTENT in the material or, by a diffusion model, the style of SWATCH."""
    from texgen.cli.outputs import make_outputs
    from texgen.tasks.transfer import transfer as run

    picture, shown = read_input(swatch), read_input(content)
    wanted = size or images.size(shown)
    make_outputs(partial(run, picture, shown, wanted), wanted, [picture], **options)


@verb('texgen text bark.png "an old castle" --model ~/models/sdxl -o castle.png', ("noise", "swatch"), tileable="none")
@click.argument("swatch", type=PATH)
@click.argument("prompt")
@click.option(
    "--size", type=SizeType(), help="In pixels; the model's native size by default: 1024 of SDXL, 512 of SD 1.x."
)
def text(swatch: Path, prompt: str, size: tuple[int, int] | None, **options: Any) -> None:
    """Make a picture of what PROMPT says in the style of SWATCH, by a Stable Diffusion --model.

    Every step is denoised under the prompt, and attention is distilled towards the swatch.
    """
    from texgen.cli.outputs import loader, make_outputs
    from texgen.tasks.text import check_words
    from texgen.tasks.text import text as run

    check_words(options["model"], prompt)
    picture = read_input(swatch)
    if size is None:
        model = loader(options)()
        size = model.native_tile.scaled(model.factor)
    make_outputs(partial(run, picture, prompt, size), size, [picture], **options)


text.params += options_of(TextKnobs)
