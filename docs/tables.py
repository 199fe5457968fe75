"""The pages and tables of the documentation that are made from those in the code: `python docs/tables.py` brings them up to date."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from texgen.cli.flags import GROUPS, Option
from texgen.cli.knobs import Outputs
from texgen.cli.types import type_of
from texgen.cli.verbs import OWN, VERBS
from texgen.exports.knobs import Knobs as ExportKnobs
from texgen.exports.plan import file_name
from texgen.exports.profiles import PROFILES, Output, Profile
from texgen.knobs import Row, rows
from texgen.materials.knobs import Knobs as MaterialKnobs
from texgen.previews.knobs import Knobs as PreviewKnobs

HEAD = """# Options

This page is generated from the tables in the code. `texgen VERB --help` shows the common options, `--help-all` all of them; in Python they are keyword
arguments. Options that are left out take the value of the preset.
"""

TABLES = {
    **GROUPS, **{f"Of `texgen {verb}`": group for verb, group in OWN.items()}, "Outputs": Outputs, "Estimated maps: `texgen material`": MaterialKnobs, "Exports: `texgen export`": ExportKnobs,
    "A look: `texgen preview`": PreviewKnobs,
}  # fmt: skip

MARK = "<!-- profiles -->"
SIZE = (4096, 4096)


def options() -> str:
    """The whole of `options.md`, in Markdown."""
    parts = [HEAD, "## Verbs\n"]
    parts += [_verb(command) for command in VERBS]
    for whose, group in TABLES.items():
        head = f"## {whose}\n\n| command line | Python | values | default | |\n|---|---|---|---|---|"
        parts.append("\n".join([head, *(_option(row, python=group is not Outputs) for row in rows(group)), ""]))
    return "\n".join(parts)


def _verb(command: click.Command) -> str:
    own = [each for each in command.params if not isinstance(each, Option) and each.name != "help_all"]
    arguments = " ".join(each.make_metavar(click.Context(command)) for each in own if isinstance(each, click.Argument))
    said = (command.help or "").split("\n\n")[0].replace("\n", " ")
    lines = [f"**`texgen {command.name} {arguments}`** {said}", ""]
    for each in own:
        if isinstance(each, click.Option):
            default = f" Default: {each.default}." if each.show_default and each.default is not None else ""
            lines.append(f"- `{', '.join(each.opts)}` {each.help}{default}")
    return "\n".join([*lines, ""])


def _option(row: Row, python: bool) -> str:
    knob = row.knob
    flag = "" if row.flag is None else f"`{row.flag}`"
    default = "" if row.default in (None, (), False) or row.name == "out" or knob.flag is None else f"`{row.default}`"
    return f"| {flag} | {f'`{row.name}`' if python else ''} | {_values(row)} | {default} | {knob.help} |"


def _values(row: Row) -> str:
    knob = row.knob
    if knob.choices:
        return ", ".join(f"`{each}`" for each in knob.choices)
    if knob.low is not None and knob.high is not None:
        span = f"from {knob.low:g}" if knob.high >= 1e6 else f"{knob.low:g} to {knob.high:g}"
        return f"{span} {knob.unit}".strip()
    if knob.flag is None:
        return ""
    if knob.kind in ("flag", "switch"):
        return "on" if knob.kind == "flag" else "on, off"
    named: Any = type_of(row)
    return {str: "text", int: "whole number", float: "number"}.get(
        named
    ) or f"`{getattr(named, 'name', named).upper()}`"


def profiles() -> str:
    """The profiles of `export.md`, in Markdown."""
    return "\n".join(_profile(name, profile) for name, profile in PROFILES.items())


def _profile(name: str, profile: Profile) -> str:
    normals = "up (OpenGL)" if profile.normal == "gl" else "down (DirectX)"
    cap = "" if profile.cap is None else f" At most {profile.cap} px a side: {profile.cap_reason}."
    inside = f" All textures are inside `NAME{profile.side_file}`." if profile.embedded else ""
    beside = f" Also `NAME{profile.side_file}`." if profile.side_file and not profile.embedded else ""
    head = f"### `{name}`: {profile.engine}\n\nThe y axis of normals points {normals}.{inside}{beside}{cap}\n"
    rows = [_texture(profile, output) for output in profile.outputs]
    return "\n".join([head, "| texture | channels | depth | colours |", "|---|---|---|---|", *rows, ""])


def _texture(profile: Profile, output: Output) -> str:
    file = output.name if profile.embedded else file_name(profile.template, "NAME", output.name, SIZE) + output.suffix
    depth = {"uint8": "8 bits", "uint16": "16 bits", "float32": "float"}[output.dtype]
    space = "sRGB" if output.space == "srgb" else "linear"
    return f"| `{file}` | {', '.join(output.channels)} | {depth} | {space} |"


if __name__ == "__main__":
    here = Path(__file__).parent
    (here / "options.md").write_text(options())
    before, _, after = (here / "export.md").read_text().split(MARK)
    (here / "export.md").write_text(f"{before}{MARK}\n\n{profiles()}\n{MARK}{after}")
