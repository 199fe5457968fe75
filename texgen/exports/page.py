"""The table of profiles in the documentation: `python -m texgen.exports.page docs/export.md` brings it up to date."""

from __future__ import annotations

import sys
from pathlib import Path

from texgen.exports.plan import file_name
from texgen.exports.profiles import PROFILES, Output, Profile

MARK = "<!-- profiles -->"
SIZE = (4096, 4096)


def table() -> str:
    """All profiles, in Markdown."""
    return "\n".join(_section(name, profile) for name, profile in PROFILES.items())


def _section(name: str, profile: Profile) -> str:
    normals = "up (OpenGL)" if profile.normal == "gl" else "down (DirectX)"
    cap = "" if profile.cap is None else f" At most {profile.cap} px a side: {profile.cap_reason}."
    inside = f" All textures are inside `NAME{profile.side_file}`." if profile.embedded else ""
    beside = f" Also `NAME{profile.side_file}`." if profile.side_file and not profile.embedded else ""
    head = f"### `{name}`: {profile.engine}\n\nThe y axis of normals points {normals}.{inside}{beside}{cap}\n"
    rows = [_row(profile, output) for output in profile.outputs]
    return "\n".join([head, "| texture | channels | depth | colours |", "|---|---|---|---|", *rows, ""])


def _row(profile: Profile, output: Output) -> str:
    file = output.name if profile.embedded else file_name(profile.template, "NAME", output.name, SIZE) + output.suffix
    depth = {"uint8": "8 bits", "uint16": "16 bits", "float32": "float"}[output.dtype]
    space = "sRGB" if output.space == "srgb" else "linear"
    return f"| `{file}` | {', '.join(output.channels)} | {depth} | {space} |"


def main(path: Path) -> None:
    """Put the table between the marks of a page."""
    before, _, after = path.read_text().split(MARK)
    path.write_text(f"{before}{MARK}\n\n{table()}\n{MARK}{after}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
