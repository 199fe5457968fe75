"""Command-line verbs that make textures: `expand`, `synthesize`, `layout`, `paint`, `fill`, `tile`, `transfer`, `text`."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

import texgen
from texgen.cli.flags import options_of, verb
from texgen.cli.invocation import read_input
from texgen.cli.material_verbs import export, inspect, material, preview, render
from texgen.cli.run_verb import loader, make_outputs, make_set
from texgen.cli.types import LABELLED, PATH, SIZE
from texgen.diffusion.knobs import TextKnobs
from texgen.errors import OptionError
from texgen.swatch.presets import STARTS
from texgen.tasks.knobs import ExpandKnobs, LayoutKnobs, PaintKnobs, TileKnobs, TransferKnobs
from texgen.tasks.make import native_size
from texgen.tasks.synthesize import check_model
from texgen.tasks.text import check_words

if TYPE_CHECKING:
    from texgen.files.image import Picture
    from texgen.materials.labels import Label


@verb("texgen expand swatch.png -o texture.png --size 2048 --seed 7", (*STARTS, "swatch"))
@click.argument("swatch", type=PATH)
@click.option("--size", type=SIZE, default="1024", show_default=True, help="In pixels.")
@click.option(
    "--wang",
    type=SIZE,
    help="Make a set of Wang tiles of --size that match in every order, with W colours of vertical and H of horizontal edges.",
)
def expand(
    swatch: Path, size: tuple[int, int], keep: tuple[int, int] | None, wang: tuple[int, int] | None, **options: Any
) -> None:
    """Expand SWATCH to a large texture.

    An interrupted or killed run continues with the same command and --resume. `torchrun -m texgen expand ...` shares
    the canvas of a diffusion model among several processes or GPUs.
    """
    picture = read_input(swatch)
    if wang is None:
        make_outputs(
            partial(texgen.expand, picture, size, keep=keep), size, [picture], keeps=keep is not None, **options
        )
    elif keep is not None or size[0] != size[1]:
        raise OptionError("--wang makes square tiles and keeps nothing; give --size N, and leave --keep out.")
    else:
        make_set(partial(texgen.wang, picture, size[0], wang), picture, size[0], (wang[0] * wang[1]) ** 2, **options)


@verb("texgen layout leaves.png --layout plan.png -o laid.png", (*STARTS, "swatch", "layout"))
@click.argument("swatch", type=PATH)
@click.option("--layout", "plan", required=True, type=PATH, help="A rough picture of the result.")
@click.option("--size", type=SIZE, help="In pixels; the layout's own by default.")
def layout(swatch: Path, plan: Path, size: tuple[int, int] | None, **options: Any) -> None:
    """Make a texture of SWATCH that follows the plan of a rough picture.

    All options of `texgen expand` apply.
    """
    picture, rough = read_input(swatch), read_input(plan)
    wanted = size or rough.size
    make_outputs(partial(texgen.layout, picture, rough, wanted), wanted, [picture], **options)


@verb(
    "texgen paint --swatch grass.png:green --swatch stone.png:gray --target map.png -o painted.png",
    (*STARTS, "swatch", "scatter"),
)
@click.argument("swatch", type=PATH, required=False)
@click.option("--labels", type=PATH, help="Label map of SWATCH: a PNG in which each colour is a label.")
@click.option(
    "--swatch",
    "swatches",
    type=LABELLED,
    multiple=True,
    help="A swatch for a label, a colour or grey level, such as grass.png:green or grass.png:1; repeatable.",
)
@click.option("--target", type=PATH, help="The wanted map, in the colours of the labels.")
@click.option(
    "--weights",
    type=LABELLED,
    multiple=True,
    help="Instead of a target, a grey picture for each label; brighter means more of it.",
)
@click.option("--size", type=SIZE, help="In pixels; the target's own by default.")
def paint(
    swatch: Path | None, labels: Path | None, swatches: tuple[tuple[str, Path], ...], target: Path | None,
    weights: tuple[tuple[str, Path], ...], size: tuple[int, int] | None, **options: Any,
) -> None:  # fmt: skip
    """Make a texture of several materials, each where a map wants it.

    Either one SWATCH with --labels, or a --swatch for each label:

    texgen paint --swatch grass.png:green --swatch stone.png:gray --target map.png -o out.png
    """
    if (swatch is None) == (not swatches):
        raise OptionError("give either SWATCH with --labels, or --swatch FILE:LABEL for each label.")
    if (target is None) == (not weights):
        raise OptionError("give either --target or --weights FILE:LABEL for each label.")
    named, shares = _pictures(swatches, "--swatch"), _pictures(weights, "--weights")
    whole = None if target is None else read_input(target)
    picture = None if swatch is None else read_input(swatch)
    wanted = size or (whole or next(iter(shares.values()))).size
    run = partial(texgen.paint, picture or named, whole or shares, labels, wanted)
    make_outputs(run, wanted, [picture] if picture else [*named.values()], **options)


def _pictures(pairs: tuple[tuple[str, Path], ...], option: str) -> dict[Label, Picture]:
    if len(dict(pairs)) < len(pairs):
        raise OptionError(f"{option}: a label is given twice; give each label one picture.")
    return {label: read_input(path) for label, path in pairs}


@verb("texgen fill wall.png --hole mask.png -o filled.png", (*STARTS, "swatch"), tileable="none")
@click.argument("image", type=PATH)
@click.option("--hole", required=True, type=PATH, help="Mask of the picture's size: white is filled.")
@click.option("--swatch", type=PATH, help="What to fill it with; the rest of the picture by default.")
def fill(image: Path, hole: Path, swatch: Path | None, **options: Any) -> None:
    """Fill a hole in IMAGE; every other pixel stays as it is."""
    picture = read_input(image)
    more = [] if swatch is None else [read_input(swatch)]
    make_outputs(partial(texgen.fill, picture, hole, *more), picture.size, [picture, *more], keeps=True, **options)


@verb("texgen tile photo.png -o tileable.png", (*STARTS, "swatch"))
@click.argument("image", type=PATH)
def tile(image: Path, band: int | None, **options: Any) -> None:
    """Make IMAGE tileable at its own size; only a band along its border changes."""
    picture = read_input(image)
    make_outputs(partial(texgen.tile, picture, band), picture.size, [picture], keeps=True, **options)


@verb("texgen transfer rust.png portrait.png -o metal.png --weight 2", (*STARTS, "layout"), tileable="none")
@click.argument("swatch", type=PATH)
@click.argument("content", type=PATH)
@click.option("--size", type=SIZE, help="In pixels; the content's own by default.")
@click.option("--labels", type=PATH, help="Label map of SWATCH: a PNG in which each colour is a label.")
@click.option("--target", type=PATH, help="Which label is shown where in CONTENT, in the same colours.")
def transfer(swatch: Path, content: Path, size: tuple[int, int] | None, **options: Any) -> None:
    """Show the structure of the picture CONTENT in the material or, with a diffusion model, the style of SWATCH."""
    picture, shown = read_input(swatch), read_input(content)
    wanted = size or shown.size
    make_outputs(partial(texgen.transfer, picture, shown, wanted), wanted, [picture], **options)


NATIVE = click.option(
    "--size",
    type=SIZE,
    help="In pixels; the model's native size by default: 512 for SD 1.x, 1024 for SDXL, SD 3 and Flux.",
)


@verb(
    "texgen synthesize bark.png --model ~/models/sd15 -o new.png --variations 4", ("noise", "swatch"), tileable="none"
)
@click.argument("swatch", type=PATH)
@NATIVE
def synthesize(swatch: Path, size: tuple[int, int] | None, **options: Any) -> None:
    """Make a new texture like SWATCH from noise, using only the attention of a diffusion --model (Algorithm 1)."""
    check_model(options["model"])
    picture = read_input(swatch)
    size = size or native_size({"model": loader(options)})
    make_outputs(partial(texgen.synthesize, picture, size), size, [picture], **options)


@verb('texgen text bark.png "an old castle" --model ~/models/sdxl -o castle.png', ("noise", "swatch"), tileable="none")
@click.argument("swatch", type=PATH)
@click.argument("prompt")
@NATIVE
def text(swatch: Path, prompt: str, size: tuple[int, int] | None, **options: Any) -> None:
    """Make a picture of what PROMPT describes in the style of SWATCH, with a Stable Diffusion or Flux --model.

    Every step denoises under the prompt, then distils attention towards the swatch.
    """
    check_words(options["model"], prompt)
    picture = read_input(swatch)
    size = size or native_size({"model": loader(options)})
    make_outputs(partial(texgen.text, picture, prompt, size), size, [picture], **options)


OWN = {"expand": ExpandKnobs, "layout": LayoutKnobs, "paint": PaintKnobs, "tile": TileKnobs, "transfer": TransferKnobs, "text": TextKnobs}  # fmt: skip
for each in (expand, layout, paint, tile, transfer, text):
    each.params += options_of(OWN[str(each.name)])
VERBS = (expand, synthesize, layout, paint, fill, tile, transfer, text, render, material, preview, export, inspect)
