"""Options of the command line, made from the tables of options, and the short and long help."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from texgen.cli.knobs import Outputs
from texgen.cli.types import type_of
from texgen.diffusion.knobs import Knobs as DiffusionKnobs
from texgen.knobs import Knob, Row, rows
from texgen.swatch.knobs import Knobs as SwatchKnobs
from texgen.swatch.model import NAME
from texgen.tasks.knobs import Common

GUIDE = ":guide"
OWN, OUTPUTS, START = "Options", "Outputs", "Where the canvas begins"
GROUPS = {"Any model": Common, "The swatch model": SwatchKnobs, "Diffusion models": DiffusionKnobs}


class Option(click.Option):
    """An option made from a row of a table."""

    def __init__(self, row: Row, default: Any, group: str = OWN, **more: Any) -> None:
        knob = row.knob
        name = str(row.flag)
        declared = [f"{name}/--no-{name[2:]}" if knob.kind == "switch" else name, row.name]
        if knob.kind == "flag":
            more |= {"is_flag": True}
        elif knob.kind != "switch":
            more |= {"type": type_of(row), "multiple": knob.several, "metavar": knob.unit.upper() or None}
        more = {"required": row.name == "out"} | more
        if not more["required"]:  # click would take default=None as the value of a required option
            more |= {"default": default, "show_default": default not in (None, False, (), "")}
        super().__init__(
            [*(["-o"] if row.name == "out" else []), *declared], help=knob.help.replace("`", ""), **more
        )  # fmt: skip
        self.everyday = knob.everyday
        self.group = group


class Verb(click.Command):
    """A verb. `--help` shows the common options, `--help-all` all of them."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options of this verb alone, then those of each table under its name."""
        groups: dict[str, list[tuple[str, str]]] = {OWN: []}
        for param in self.get_params(ctx):
            shown = isinstance(param, click.Option) and (ctx.meta.get("all") or getattr(param, "everyday", True))
            if shown and (said := param.get_help_record(ctx)) is not None:
                groups.setdefault(getattr(param, "group", OWN), []).append(said)
        for name, rows_of in groups.items():
            if rows_of:
                with formatter.section(name):
                    formatter.write_dl(rows_of)


def _help_all(ctx: click.Context, _: click.Parameter, wanted: bool) -> None:
    if wanted and not ctx.resilient_parsing:
        ctx.meta["all"] = True
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
    """The options that all verbs share.

    Args:
        starts: Values of `--start` that this verb allows.
        defaults: Defaults of this verb that differ from the tables.
    """
    found: dict[str, click.Option] = {}
    for whose, group in {OUTPUTS: Outputs, **GROUPS}.items():
        for row in rows(group):
            if row.flag is not None and row.name != "start":
                found[row.name] = Option(row, defaults.get(row.name, row.default), whose)
    places = {whose: row for whose, group in GROUPS.items() for row in rows(group) if row.name == "start"}
    said = " ".join(f"{whose}: {row.knob.help[0].lower()}{row.knob.help[1:]}" for whose, row in places.items())
    joined = Knob(help=said, choices=tuple(starts))
    found["start"] = Option(Row("start", None, joined), None, START)
    return list(found.values())


def options_of(*groups: type, only: Sequence[str] | None = None, **helps: str) -> list[click.Option]:
    """The options of some tables.

    Args:
        groups: The tables.
        only: Names of the options wanted; all by default.
        helps: Help texts that replace those of the tables, by the name of the option.
    """
    found: list[click.Option] = []
    for row in rows(*groups):
        if row.flag is not None and (only is None or row.name in only):
            row = replace(row, knob=replace(row.knob, help=helps.get(row.name, row.knob.help)))
            found.append(Option(row, row.default))
    return found


def given(values: dict[str, Any]) -> dict[str, Any]:
    """The options that the user has set. Defaults from the file or the environment that the chosen kind of model does not have are dropped."""
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
    """Decorator that makes a function a verb of the command line, with the options that all verbs share.

    Args:
        example: An example of its use, for the help.
        starts, defaults: See `table_options`.
    """

    def made(function: Callable[..., Any]) -> click.Command:
        command: click.Command = click.command(cls=Verb, epilog=f"Example: {example}")(HELP_ALL(function))
        command.params += table_options(starts, **defaults)
        return command

    return made


def maps_of(pairs: Sequence[tuple[str, Path]]) -> tuple[dict[str, list[Path]], list[str]]:
    """Map files by name, in their order; and the names marked with `:guide`."""
    found: dict[str, list[Path]] = {}
    guides = []
    for name, path in pairs:
        if path.name.endswith(GUIDE):
            path = path.with_name(path.name.removesuffix(GUIDE))
            guides.append(name)
        found.setdefault(name, []).append(path)
    return found, guides
