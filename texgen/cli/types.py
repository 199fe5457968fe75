"""The types of values on the command line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from texgen.errors import OptionError
from texgen.knobs import Row, taken
from texgen.tasks.size import size_of


class Spelled(click.ParamType):  # type: ignore[type-arg]
    """Values of several parts that are written as one word.

    Args:
        name: Form of the word as the help shows it, such as `LEFT,TOP`.
        read: Converts a word to a value; raises ValueError if it cannot.
        said: The inverse of `read`.
        wrong: Error message about a word that cannot be read.
    """

    def __init__(
        self, name: str, read: Callable[[str], Any], said: Callable[[Any], str], wrong: str | None = None
    ) -> None:
        self.name, self.read, self.said, self.wrong = name, read, said, wrong or f"is not {name}."

    def get_metavar(self, *_: Any, **__: Any) -> str:
        return self.name

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        try:
            return self.read(str(value))
        except OptionError:
            raise
        except ValueError:
            self.fail(f"{value!r} {self.wrong}", param, ctx)


def _joined(value: Any) -> str:
    return ",".join(map(str, value))


def _integer(text: str) -> int:
    if not text.strip().isdecimal():
        raise ValueError(text)
    return int(text)


def _size(text: str) -> tuple[int, int]:
    width, *height = map(_integer, text.lower().split("x"))
    if len(height) > 1:
        raise ValueError(text)
    return size_of((*height, width) if height else width)


def _integers(name: str) -> Spelled:
    """A tuple of integers, as many as the name has parts."""

    def read(text: str) -> tuple[int, ...]:
        found = tuple(map(_integer, text.split(",")))
        if len(found) != name.count(",") + 1:
            raise ValueError(text)
        return found

    return Spelled(name, read, _joined)


def _pair(name: str, example: str) -> Spelled:
    """A file and a name, written `FILE:LABEL` or `NAME=FILE`; the value is (name, path)."""
    named_first = "=" in name

    def read(text: str) -> tuple[str, Path]:
        first, _, last = text.partition("=") if named_first else text.rpartition(":")
        if not first or not last:
            raise ValueError(text)
        return (first, Path(last)) if named_first else (last, Path(first))

    def said(value: tuple[str, Path]) -> str:
        return f"{value[0]}={value[1].name}" if named_first else f"{value[1].name}:{value[0]}"

    return Spelled(name, read, said, f"is not {name}, such as {example}.")


def _scaled(text: str) -> tuple[Path, float]:
    """Convert `FILE` or `FILE:NUMBER` to a path and a number, 1 by default."""
    path, _, last = text.rpartition(":")
    try:
        return (Path(path), float(last)) if path else (Path(last), 1.0)
    except ValueError:
        return Path(text), 1.0


def _guide(text: str) -> tuple[Path, Path, float]:
    """Convert `SWATCH_MAP:CANVAS_MAP` or `SWATCH_MAP:CANVAS_MAP:WEIGHT` to two paths and a number, 1 by default."""
    maps, weight = _scaled(text)
    swatch, _, canvas = str(maps).partition(":")
    if not swatch or not canvas:
        raise ValueError(text)
    return Path(swatch), Path(canvas), weight


def _layers(text: str) -> tuple[int | str, ...]:
    parts = (part.strip() for part in text.split(","))
    return tuple(int(part) if part.lstrip("-").isdecimal() else part for part in parts)


PATH = click.Path(path_type=Path)
SIZE = Spelled("N|WxH", _size, lambda size: f"{size[1]}x{size[0]}", "is neither a number of pixels nor WIDTHxHEIGHT.")
LABELLED = _pair("FILE:LABEL", "grass.png:green")
TYPES: dict[str, Any] = {
    "text": str, "any": str, "int": int, "float": float, "path": PATH, "pair": _integers("LEFT,TOP"), "crop": _integers("LEFT,TOP,WIDTH,HEIGHT"),
    "weights": Spelled("W,W,...", lambda text: tuple(map(float, text.split(","))), _joined, "is not a list of numbers such as 1,0.5."),
    "layers": Spelled("I,J,...", _layers, _joined), "maps": _pair("NAME=FILE", "normal=swatch_normal.png"),
    "guides": Spelled(
        "SWATCH_MAP:CANVAS_MAP[:WEIGHT]", _guide, lambda guide: f"{guide[0].name}:{guide[1].name}:{guide[2]:g}",
        "is not SWATCH_MAP:CANVAS_MAP[:WEIGHT], such as swatch_height.png:height.png.",
    ),
    "scaled": Spelled("FILE[:NUMBER]", _scaled, lambda scaled: f"{scaled[0].name}:{scaled[1]:g}"),
}  # fmt: skip


def type_of(row: Row) -> Any:
    """The click type of an option's values. Values that the table refuses give the same error messages as in Python."""
    knob = row.knob
    if knob.choices:
        known = {str(each): each for each in knob.choices}
        return _refused_by(row, click.Choice([*known]), lambda value, *_: known.get(str(value), value))
    if knob.kind == "int" and knob.low is not None:
        return _refused_by(row, click.IntRange(knob.low, knob.high), click.INT.convert)  # type: ignore[arg-type]
    if knob.kind == "float" and knob.low is not None:
        return _refused_by(row, click.FloatRange(knob.low, knob.high), click.FLOAT.convert)
    return TYPES[knob.kind]


def _refused_by(row: Row, kind: Any, read: Callable[..., Any]) -> Any:
    kind.convert = lambda value, param, ctx: taken(row, read(value, param, ctx))
    return kind
