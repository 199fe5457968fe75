"""Defaults of options, which the command line replaces: environment variables, then `texgen.toml`."""

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
"""Variables that mean something else."""


def defaults(verbs: Mapping[str, click.Command]) -> dict[str, dict[str, Any]]:
    """For each verb, values of its options that the user has set once and for all.

    A key at the top of the file, or a variable such as `TEXGEN_PRESET`, holds for all verbs that have the option; a table such as `[paint]` for one. The file is that in the current
    folder, else that in the user's configuration folder.

    Raises:
        InputError: A file that cannot be read, or is no TOML.
        OptionError: Names that no option has, or values that it does not take.
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
    """The options of a verb by the names that they have in Python and on the command line."""
    found: dict[str, click.Option] = {}
    for each in verb.params:
        if isinstance(each, click.Option) and each.expose_value and each.name != "out":
            found |= dict.fromkeys((str(each.name), each.opts[-1].removeprefix("--").replace("-", "_")), each)
    return found


def _given(verbs: Mapping[str, click.Command]) -> Iterator[tuple[str, list[str], str, Any]]:
    """Where each value stands, the verbs that it is for, its key and the value; those that hold over others last."""
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
