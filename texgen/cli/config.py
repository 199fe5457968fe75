"""Defaults of options, which the command line replaces: environment variables, then `texgen.toml`."""

from __future__ import annotations

import difflib
import os
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click

from texgen.errors import InputError, OptionError

FILE, PREFIX = "texgen.toml", "TEXGEN_"
NO_OPTIONS = ("TEXGEN_CACHE",)
"""Variables that mean something else."""


def defaults(verbs: Mapping[str, click.Command]) -> dict[str, dict[str, Any]]:
    """For each verb, values of its options that the user has set once and for all.

    A key at the top of the file, or a variable such as `TEXGEN_PRESET`, holds for all verbs that have the option; a table such as `[paint]` for one. The file is that in the current
    folder, else that in the user's configuration folder.

    Raises:
        InputError: A file that cannot be read, or is no TOML.
        OptionError: Names that no option has, or values that it does not take.
    """
    options = {name: {str(each.name): each for each in _options(verb)} for name, verb in verbs.items()}
    found: dict[str, dict[str, Any]] = {name: {} for name in verbs}
    path = next((place for place in (Path(FILE), Path(click.get_app_dir("texgen")) / FILE) if place.is_file()), None)
    content = {} if path is None else _read(path)
    tables = {key: value for key, value in content.items() if isinstance(value, dict)}
    for key in tables.keys() - verbs.keys():
        raise OptionError(f"{path}: [{key}] is no verb{_meant(key, verbs)}.")
    set_for_all = [(f"{path}: {key}", key, content[key]) for key in content.keys() - tables.keys()]
    for said, key, value in set_for_all:
        _set(found, options, said, key, value)
    for verb, table in tables.items():
        for key, value in table.items():
            _set(found, {verb: options[verb]}, f"{path}: [{verb}] {key}", key, value)
    for variable, value in os.environ.items():
        if variable.startswith(PREFIX) and variable not in NO_OPTIONS:
            _set(found, options, variable, variable.removeprefix(PREFIX).lower(), value)
    return found


def _options(verb: click.Command) -> Iterator[click.Option]:
    return (each for each in verb.params if isinstance(each, click.Option) and each.expose_value and each.name != "out")


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read ({error}).") from error


def _set(
    found: dict[str, dict[str, Any]], options: Mapping[str, Mapping[str, click.Option]], said: str, key: str, value: Any
) -> None:
    """Set an option of all verbs that have it, checked."""
    name = key.replace("-", "_")
    aliases = {
        option.opts[-1].removeprefix("--").replace("-", "_"): own
        for each in options.values()
        for own, option in each.items()
    }
    name = aliases.get(name, name)
    having = [verb for verb, known in options.items() if name in known]
    if not having:
        raise OptionError(f"{said}: there is no such option{_meant(name, aliases)}.")
    for verb in having:
        option = options[verb][name]
        try:
            option.type_cast_value(click.Context(click.Command(verb)), value)
        except (click.BadParameter, OptionError) as error:
            raise OptionError(f"{said}: {getattr(error, 'message', error)}") from error
        found[verb][name] = value


def _meant(name: str, known: Mapping[str, Any]) -> str:
    near = difflib.get_close_matches(name, known, 1)
    return f"; did you mean {near[0]}?" if near else ""
