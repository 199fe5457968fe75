"""The present command line: the files that it reads, and the command that makes an output again."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from texgen.cli.flags import GUIDE
from texgen.files.image import Picture, read_picture
from texgen.files.limits import MAX_BYTES

DASH = Path("-")
"""Standard input or output."""
OUTPUTS = ("out", "save_map", "save_field")
"""Options that name output files."""
ASIDE = ("variations", "resume", "overwrite", "progress", "quiet", "checkpoint_minutes")
"""Options that do not change the outputs."""


def inputs() -> list[Path]:
    """All files that the present command reads. For a layer or page this is the file that holds it; for standard input, the file redirected to it."""
    values = click.get_current_context().params
    given = _paths([value for name, value in values.items() if name not in OUTPUTS])
    found = [_stdin() if path == DASH else path.with_name(path.name.removesuffix(GUIDE)) for path in given if path.name]
    return [*found, *(path.with_name(path.name.rpartition("#")[0]) for path in found if "#" in path.name)]


def _stdin() -> Path:
    return Path(f"/dev/fd/{sys.stdin.fileno()}")


def _paths(value: Any) -> Iterator[Path]:
    if isinstance(value, Path):
        yield value
    elif isinstance(value, list | tuple):
        for each in value:
            yield from _paths(each)


def read_input(path: Path) -> Picture:
    """Read the picture that an argument names; `-` is standard input."""
    if path != DASH:
        return read_picture(path)
    return replace(read_picture(sys.stdin.buffer.read(MAX_BYTES + 1)), name="stdin")


def command(changed: Mapping[str, Any]) -> str:
    """The command that makes one output of the present command again, with files named without their folders.

    Args:
        changed: Values that replace those of the command line, such as the seed that was drawn.
    """
    context = click.get_current_context()
    source, words = context.get_parameter_source, ["texgen", str(context.info_name)]
    for param in sorted(context.command.params, key=lambda each: isinstance(each, click.Option)):
        name = str(param.name)
        value = changed.get(name, context.params.get(name))
        known = name in changed or source(name) not in (click.core.ParameterSource.DEFAULT, None)
        if known and value is not None and name not in ASIDE and param.expose_value:
            words += _said(param, value)
    return shlex.join(words)


def _said(param: click.Parameter, value: Any) -> list[str]:
    """The words on the command line that give a parameter a value."""
    if not isinstance(param, click.Option):
        return [_text(param.type, value)]
    flag = max(param.opts, key=len)
    if param.is_flag:
        return [flag] if value else list(param.secondary_opts)
    return [word for each in (value if param.multiple else [value]) for word in (flag, _text(param.type, each))]


def _text(kind: Any, value: Any) -> str:
    """The text that the type `kind` reads as the value; paths without their folders."""
    said = getattr(kind, "said", None)
    if said is not None:
        return str(said(value))
    return Path(value).name if isinstance(value, Path) or os.path.isabs(str(value)) else str(value)  # noqa: PTH117
