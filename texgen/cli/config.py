"""Defaults that the user sets for options in environment variables or `texgen.toml`. The command line overrides both."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click

from texgen.errors import InputError, OptionError
from texgen.knobs import meant

FILE, PREFIX = "texgen.toml", "TEXGEN_"
NO_OPTIONS = ("TEXGEN_CACHE",)
"""Variables with this prefix that are not options."""


def defaults(verbs: Mapping[str, click.Command]) -> dict[str, dict[str, Any]]:
    """The user's defaults for the options of each verb.

    A key at the top of the file, or a variable such as `TEXGEN_PRESET`, applies to all verbs that have the option; a table such as `[paint]` to one verb. The file is read from the
    current folder, or if there is none, from the user's configuration folder.

    Raises:
        InputError: The file cannot be read, or is not TOML.
        OptionError: A name is not an option, or a value is not allowed.
    """
    options = {name: _options(verb) for name, verb in verbs.items()}
    found: dict[str, dict[str, Any]] = {name: {} for name in verbs}
    for said, names, key, value in _given(verbs):
        key = key.replace("-", "_")
        having = [name for name in names if key in options[name]]
        if not having:
            known = {each for name in names for each in options[name]}
            raise OptionError(f"{said}: there is no such option{meant(key, known)}")
        for name in having:
            option = options[name][key]
            try:
                option.type_cast_value(click.Context(click.Command(name)), value)
            except (click.BadParameter, OptionError) as error:
                raise OptionError(f"{said}: {getattr(error, 'message', error)}") from error
            found[name][str(option.name)] = value
    return found


def _options(verb: click.Command) -> dict[str, click.Option]:
    """The options of a verb, each under its name in Python and its name on the command line."""
    found: dict[str, click.Option] = {}
    for each in verb.params:
        if isinstance(each, click.Option) and each.expose_value and each.name != "out":
            found |= dict.fromkeys((str(each.name), each.opts[-1].removeprefix("--").replace("-", "_")), each)
    return found


def _given(verbs: Mapping[str, click.Command]) -> Iterator[tuple[str, list[str], str, Any]]:
    """For each value its place, the verbs it applies to, its key and the value; later ones override earlier ones."""
    path = next((place for place in (Path(FILE), Path(click.get_app_dir("texgen")) / FILE) if place.is_file()), None)
    try:
        content = {} if path is None else tomllib.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read ({error}).") from error
    tables = {key: value for key, value in content.items() if isinstance(value, dict)}
    for key in tables.keys() - verbs.keys():
        raise OptionError(f"{path}: [{key}] is no verb{meant(key, verbs)}")
    for key in content.keys() - tables.keys():
        yield f"{path}: {key}", [*verbs], key, content[key]
    for verb, table in tables.items():
        for key, value in table.items():
            yield f"{path}: [{verb}] {key}", [verb], key, value
    for variable, value in os.environ.items():
        if variable.startswith(PREFIX) and variable not in NO_OPTIONS:
            yield variable, [*verbs], variable.removeprefix(PREFIX).lower(), value
