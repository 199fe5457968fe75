"""Options on the command line: made from the table of knobs; the types of their values; a short and a long help."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from texgen.cli.knobs import Outputs
from texgen.diffusion.knobs import Knobs as DiffusionKnobs
from texgen.knobs import Knob, Row, rows
from texgen.swatch.knobs import Knobs as SwatchKnobs
from texgen.swatch.model import NAME
from texgen.tasks.knobs import Common

GUIDE = ":guide"
OWN, OUTPUTS, START = "Options", "Outputs", "Where the canvas begins"
GROUPS = {"Any model": Common, "The swatch model": SwatchKnobs, "Diffusion models": DiffusionKnobs}


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
        width, height = int(parts[0]), int(parts[-1])
        return height, width

    def said(self, value: Any) -> str:
        return f"{value[1]}x{value[0]}"


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


class AmongType(NamedType):
    """One of a few whole numbers."""

    def __init__(self, choices: Sequence[int]) -> None:
        self.choices, self.name = choices, "|".join(map(str, choices))

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if str(value) not in map(str, self.choices):
            self.fail(f"{value!r} is none of {', '.join(map(str, self.choices))}.", param, ctx)
        return int(value)


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
    "text": str, "int": int, "float": float, "path": PATH, "crop": IntegersType("LEFT,TOP,WIDTH,HEIGHT"), "weights": WeightType(),
    "layers": LayerType(), "maps": PairType("NAME=FILE", "normal=swatch_normal.png"), "guides": GuideType(), "scaled": ScaledType(),
}  # fmt: skip


def type_of(knob: Knob) -> Any:
    """The type of a knob's values."""
    if knob.choices:
        return click.Choice(knob.choices) if isinstance(knob.choices[0], str) else AmongType(knob.choices)
    if knob.kind in ("int", "float") and knob.low is not None:
        return click.IntRange(knob.low, knob.high) if knob.kind == "int" else click.FloatRange(knob.low, knob.high)  # type: ignore[arg-type]
    return TYPES[knob.kind]


class Option(click.Option):
    """An option that is made from a row of the table."""

    def __init__(self, row: Row, default: Any, group: str = OWN, **more: Any) -> None:
        knob = row.knob
        name = str(row.flag)
        declared = [f"{name}/--no-{name[2:]}" if knob.kind == "switch" else name, row.name]
        if knob.kind == "flag":
            more |= {"is_flag": True}
        elif knob.kind != "switch":
            more |= {"type": type_of(knob), "multiple": knob.several, "metavar": knob.unit.upper() or None}
        shown = default not in (None, False, (), "")
        super().__init__(
            [*(["-o"] if row.name == "out" else []), *declared], default=default, show_default=shown, help=knob.help.replace("`", ""), **more
        )  # fmt: skip
        self.everyday = knob.everyday
        self.group = group


class Verb(click.Command):
    """A verb: its help shows what is used every day, `--help-all` all there is."""

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        params = super().get_params(ctx)
        return params if ctx.meta.get("all", True) else [each for each in params if getattr(each, "everyday", True)]

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The options of this verb alone, then those of each table under its name."""
        groups: dict[str, list[tuple[str, str]]] = {OWN: []}
        for param in self.get_params(ctx):
            said = param.get_help_record(ctx) if isinstance(param, click.Option) else None
            if said is not None:
                groups.setdefault(getattr(param, "group", OWN), []).append(said)
        for name, rows_of in groups.items():
            if rows_of:
                with formatter.section(name):
                    formatter.write_dl(rows_of)

    def get_help(self, ctx: click.Context) -> str:
        ctx.meta["all"] = ctx.meta.get("wanted", False)
        return super().get_help(ctx)


def _help_all(ctx: click.Context, _: click.Parameter, wanted: bool) -> None:
    if wanted and not ctx.resilient_parsing:
        ctx.meta["wanted"] = True
        click.echo(ctx.get_help(), color=ctx.color)
        ctx.exit()


HELP_ALL = click.option(
    "--help-all",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_help_all,
    help="Show every option and exit.",
)


def table_options(starts: Sequence[str], **defaults: Any) -> list[click.Option]:
    """The options that all verbs have.

    Args:
        starts: Where the canvas of this verb may begin.
        defaults: Of this verb, where they differ.
    """
    found: dict[str, click.Option] = {}
    for whose, group in {OUTPUTS: Outputs, **GROUPS}.items():
        for row in rows(group):
            if row.flag is not None and row.name != "start":
                more: dict[str, Any] = {"required": True} if row.name == "out" else {}
                found[row.name] = Option(row, None if more else defaults.get(row.name, row.default), whose, **more)
    places = {whose: row for whose, group in GROUPS.items() for row in rows(group) if row.name == "start"}
    said = " ".join(f"{whose}: {row.knob.help[0].lower()}{row.knob.help[1:]}" for whose, row in places.items())
    joined = Knob(help=said, choices=tuple(starts))
    found["start"] = Option(Row("start", None, joined), None, START)
    return list(found.values())


def options_of(*groups: type, only: Sequence[str] | None = None, **helps: str) -> list[click.Option]:
    """The options of some tables, or those of them that are named; with other words for some, by their names."""
    found: list[click.Option] = []
    for row in rows(*groups):
        if row.flag is not None and (only is None or row.name in only):
            row = replace(row, knob=replace(row.knob, help=helps.get(row.name, row.knob.help)))
            found.append(Option(row, None, required=True) if row.name == "out" else Option(row, row.default))
    return found


def given(values: dict[str, Any]) -> dict[str, Any]:
    """The options that the user has set; of those set once and for all, what the chosen kind of model has."""
    context = click.get_current_context()
    source, sources = context.get_parameter_source, click.core.ParameterSource
    own, other = (SwatchKnobs, DiffusionKnobs) if context.params.get("model") == NAME else (DiffusionKnobs, SwatchKnobs)
    foreign = {row.name for row in rows(other)} - {row.name for row in rows(own)}
    return {
        name: value
        for name, value in values.items()
        if source(name) is not sources.DEFAULT and not (name in foreign and source(name) is sources.DEFAULT_MAP)
    }


def verb(example: str, starts: Sequence[str], **defaults: Any) -> Callable[..., Any]:
    """A verb of the command line, with the options that all have.

    Args:
        example: Of its use.
        starts, defaults: See `table_options`.
    """

    def made(function: Callable[..., Any]) -> click.Command:
        command: click.Command = click.command(cls=Verb, epilog=f"Example: {example}")(HELP_ALL(function))
        command.params += table_options(starts, **defaults)
        return command

    return made


def maps_of(pairs: Sequence[tuple[str, Path]]) -> tuple[dict[str, list[Path]], list[str]]:
    """Files by name, in their order; and the names that guide."""
    found: dict[str, list[Path]] = {}
    guides = []
    for name, path in pairs:
        if path.name.endswith(GUIDE):
            path = path.with_name(path.name.removesuffix(GUIDE))
            guides.append(name)
        found.setdefault(name, []).append(path)
    return found, guides
