"""The types of values on the command line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from texgen.knobs import Row, taken
from texgen.tasks.size import size_of


class NamedType(click.ParamType):  # type: ignore[type-arg]
    """A type that the help shows by its name as it is; `said` is the inverse of `convert`."""

    def get_metavar(self, *_: Any, **__: Any) -> str:
        return self.name

    def said(self, value: Any) -> str:
        return ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


class SizeType(NamedType):
    """`1024` or `WIDTHxHEIGHT`, to (height, width)."""

    name = "N|WxH"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, int]:
        parts = str(value).lower().split("x")
        if len(parts) > 2 or not all(part.isdecimal() for part in parts):
            self.fail(f"{value!r} is neither a number of pixels nor WIDTHxHEIGHT.", param, ctx)
        return size_of((int(parts[-1]), int(parts[0])))

    def said(self, value: Any) -> str:
        return f"{value[1]}x{value[0]}"


class WholeType(click.IntRange):
    """A whole number, refused by the table in the words that Python's errors have."""

    def __init__(self, row: Row) -> None:
        super().__init__(row.knob.low, row.knob.high)  # type: ignore[arg-type]
        self.row = row

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        return taken(self.row, click.INT.convert(value, param, ctx))


class NumberType(click.FloatRange):
    """A number, the same way."""

    def __init__(self, row: Row) -> None:
        super().__init__(row.knob.low, row.knob.high)
        self.row = row

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        return taken(self.row, click.FLOAT.convert(value, param, ctx))


class ChoiceType(click.Choice):  # type: ignore[type-arg]
    """One of a few values, the same way."""

    def __init__(self, row: Row) -> None:
        self.row, self.known = row, {str(each): each for each in row.knob.choices}
        super().__init__([*self.known])

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        return taken(self.row, self.known.get(str(value), value))


class IntegersType(NamedType):
    """So many whole numbers, separated by commas.

    Args:
        name: What they are, such as `LEFT,TOP`.
    """

    def __init__(self, name: str) -> None:
        self.name = name

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, ...]:
        parts = str(value).split(",")
        if len(parts) != len(self.name.split(",")) or not all(part.strip().isdecimal() for part in parts):
            self.fail(f"{value!r} is not {self.name}.", param, ctx)
        return tuple(int(part) for part in parts)


class PairType(NamedType):
    """A file and a name, in either order: `FILE:LABEL` or `NAME=FILE`, to (name, path)."""

    def __init__(self, name: str, example: str) -> None:
        self.name, self.example = name, example

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, Path]:
        if "=" in self.name:
            name, _, path = str(value).partition("=")
        else:
            path, _, name = str(value).rpartition(":")
        if not path or not name:
            self.fail(f"{value!r} is not {self.name}, such as {self.example}.", param, ctx)
        return name, Path(path)

    def said(self, value: Any) -> str:
        return f"{value[0]}={value[1].name}" if "=" in self.name else f"{value[1].name}:{value[0]}"


class WeightType(NamedType):
    """Numbers separated by commas."""

    name = "W,W,..."

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[float, ...]:
        try:
            return tuple(float(part) for part in str(value).split(","))
        except ValueError:
            self.fail(f"{value!r} is not a list of numbers such as 1,0.5.", param, ctx)


class LayerType(NamedType):
    """Indices or names, separated by commas."""

    name = "I,J,..."

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int | str, ...]:
        return tuple(int(p) if p.lstrip("-").isdecimal() else p for p in (q.strip() for q in str(value).split(",")))


class GuideType(NamedType):
    """`SWATCH_MAP:CANVAS_MAP` or `SWATCH_MAP:CANVAS_MAP:WEIGHT`, to two paths and a number."""

    name = "SWATCH_MAP:CANVAS_MAP[:WEIGHT]"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[Path, Path, float]:
        paths, _, last = str(value).rpartition(":")
        try:
            weight = float(last)
        except ValueError:
            paths, weight = str(value), 1.0
        swatch, _, canvas = paths.partition(":")
        if not swatch or not canvas:
            self.fail(f"{value!r} is not {self.name}, such as swatch_height.png:height.png.", param, ctx)
        return Path(swatch), Path(canvas), weight

    def said(self, value: Any) -> str:
        return f"{value[0].name}:{value[1].name}:{value[2]:g}"


class ScaledType(NamedType):
    """`FILE` or `FILE:NUMBER`, to a path and a number, 1 by default."""

    name = "FILE[:NUMBER]"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[Path, float]:
        path, _, last = str(value).rpartition(":")
        try:
            return (Path(path), float(last)) if path else (Path(last), 1.0)
        except ValueError:
            return Path(str(value)), 1.0

    def said(self, value: Any) -> str:
        return f"{value[0].name}:{value[1]:g}"


LABELLED = PairType("FILE:LABEL", "grass.png:green")
PATH = click.Path(path_type=Path)
TYPES: dict[str, Any] = {
    "text": str, "any": str, "int": int, "float": float, "path": PATH, "pair": IntegersType("LEFT,TOP"), "crop": IntegersType("LEFT,TOP,WIDTH,HEIGHT"), "weights": WeightType(),
    "layers": LayerType(), "maps": PairType("NAME=FILE", "normal=swatch_normal.png"), "guides": GuideType(), "scaled": ScaledType(),
}  # fmt: skip
