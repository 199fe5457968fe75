"""Command-line verbs for finished textures: `render`, `export`, `material`, `preview`, `inspect`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

import texgen
from texgen.cli.flags import Option, maps_of, options_of
from texgen.cli.knobs import Outputs
from texgen.cli.types import PATH
from texgen.exports.knobs import Knobs as ExportKnobs
from texgen.files.targets import check_new
from texgen.knobs import rows
from texgen.materials.knobs import Knobs as MaterialKnobs
from texgen.previews.knobs import Knobs as PreviewKnobs
from texgen.swatch.knobs import Knobs
from texgen.tasks.preview import SUFFIXES

MAPS = next(row for row in rows(Knobs) if row.name == "maps")


@click.command(epilog="Example: texgen render wall.png.json --map height=swatch_height.exr -o wall.png")
@click.argument("field", type=PATH)
def render(field: Path, out: Path, overwrite: bool, maps: tuple[tuple[str, Path], ...]) -> None:
    """Render more maps of a swatch through the FIELD of an earlier run.

    FIELD is the file that --save-field wrote, or the JSON beside the picture, which names that file. OUT is the picture that the maps belong to: each is
    written as OUT_NAME.
    """
    texgen.render(field, maps_of(maps)[0], out, overwrite)


@click.command(epilog="Example: texgen export wall.png -o Unreal --profile unreal")
@click.argument("material", type=PATH)
def export(material: Path, out: Path, profile: tuple[str, ...], **options: Any) -> None:
    """Write the textures of MATERIAL to the folder OUT in the form that an engine reads.

    MATERIAL is one of its pictures, or a folder that holds one material: wall.png, wall_normal.png, wall_height.exr, ...
    """
    for line in texgen.export(material, out, profile, **options).report():
        click.echo(line, err=True)


@click.command(epilog="Example: texgen material wall.png -o wall.png")
@click.argument("image", metavar="COLOUR", type=PATH)
def material(image: Path, out: Path, no_metadata: bool, **options: Any) -> None:
    """Estimate height, normal, roughness and ambient occlusion from a COLOUR picture.

    Writes OUT_height, OUT_normal, OUT_roughness and OUT_ao beside OUT, which may be COLOUR itself, and OUT.json. Existing maps beside COLOUR
    (wall_normal.png beside wall.png) are kept and used; with --overwrite, those that were estimated before are estimated again.
    """
    made = texgen.material(image, out, metadata=not no_metadata, **options)
    click.echo(
        f"{out.name}: {', '.join(made.estimated)}; relief {made.recipe['relief']:g} px, bumps of {made.recipe['bump_size']:g} px, "
        f"tileable {made.recipe['tileable']}",
        err=True,
    )


@click.command(epilog="Example: texgen preview wall.png -o look.html")
@click.argument("material", type=PATH)
def preview(material: Path, out: Path, overwrite: bool, **options: Any) -> None:
    """Show MATERIAL on a sphere and a plane, and its 2x2 repeats.

    MATERIAL is one of its pictures or the folder that holds them. OUT is a picture (PNG, JPEG, WebP) or a page (HTML), by suffix; a page works
    offline in any browser.
    """
    check_new(out, SUFFIXES, overwrite)
    texgen.preview(material, **options).save(out, overwrite)


@click.command(epilog="Example: texgen inspect wall.png --command")
@click.argument("file", type=PATH)
@click.option("--command", is_flag=True, help="Print only the command that makes the picture again.")
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
def inspect(file: Path, command: bool, as_json: bool) -> None:
    """Print the format and size of a picture, and the recipe that made it.

    FILE is a picture, the JSON beside it, or the folder .OUT.texgen of an unfinished run. The command names files without their folders.
    """
    found = texgen.inspect(file)
    lines = [found.command] if command else [json.dumps(found.as_json(), indent=2)] if as_json else found.report()
    for line in lines:
        click.echo(line)


WRITES = ("out", "overwrite")
render.params += [
    *options_of(Outputs, only=WRITES, out="The picture that the maps belong to."),
    Option(MAPS, None, required=True),
]
export.params += [
    *options_of(Outputs, only=WRITES, out="A folder, created if it does not exist."),
    *options_of(ExportKnobs),
]
material.params += [
    *options_of(Outputs, only=(*WRITES, "no_metadata"), out="PNG, TIFF, EXR, JPEG or WebP, by suffix."),
    *options_of(MaterialKnobs),
]
preview.params += [
    *options_of(Outputs, only=WRITES, out="PNG, JPEG, WebP or HTML, by suffix."),
    *options_of(PreviewKnobs),
]
