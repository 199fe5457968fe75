"""What may be set: one row an option says its default, range and meaning. Checks, flags and the page of options are made from the rows.

A row is a field of a frozen dataclass:

    steps: int | None = knob(None, "Scheduler steps.", low=1, high=1000)
"""

from __future__ import annotations

import dataclasses
import numbers
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from texgen.errors import OptionError, OptionTypeError

Kind = Literal[
    "text",
    "int",
    "float",
    "flag",
    "switch",
    "path",
    "crop",
    "weights",
    "layers",
    "maps",
    "guides",
    "scaled",
    "folder",
    "call",
    "any",
]


@dataclass(frozen=True, kw_only=True)
class Knob:
    """A row of the table.

    Attributes:
        help: What it does; what larger and smaller do.
        kind: Of its values on the command line; `switch` may be left undecided.
        choices: All values that there are; any if empty.
        low, high: Range of a number, both included.
        unit: Of a number.
        flag: Its name on the command line, without hyphens before; "" takes its own, None leaves it to Python.
        several: Whether it may be given more than once.
        everyday: Whether the short help shows it.
    """

    help: str
    kind: Kind = "text"
    choices: tuple[Any, ...] = ()
    low: float | None = None
    high: float | None = None
    unit: str = ""
    flag: str | None = ""
    several: bool = False
    everyday: bool = False


@dataclass(frozen=True)
class Row:
    """A knob with its name and default."""

    name: str
    default: Any
    knob: Knob

    @property
    def flag(self) -> str | None:
        """On the command line; None where it has none there."""
        return None if self.knob.flag is None else f"--{self.knob.flag or self.name.replace('_', '-')}"


def knob(default: Any, help: str, **about: Any) -> Any:
    """A field of a dataclass that is a row of the table, see `Knob`."""
    return dataclasses.field(default=default, metadata={"knob": Knob(help=help, **about)})


def rows(*groups: type) -> Iterator[Row]:
    """The rows of some dataclasses, in their order."""
    for group in groups:
        for each in dataclasses.fields(group):
            yield Row(each.name, each.default, each.metadata["knob"])


def check(knobs: Any) -> None:
    """Refuse a value that is of another kind, out of its range or none of its choices; None is left to the preset.

    Raises:
        OptionTypeError: A value of another kind.
        OptionError: Saying what is allowed.
    """
    for row in rows(type(knobs)):
        value = getattr(knobs, row.name)
        if value is not None:
            check_value(row, value)


def check_value(row: Row, value: Any) -> None:
    """Refuse a value that the option does not take; see `check`."""
    about = row.knob
    if about.choices and value not in about.choices:
        if isinstance(about.choices[0], str):
            raise OptionError(f"{row.name}={value!r} is not known; choose one of {', '.join(about.choices)}.")
        raise OptionError(f"{row.name}={value} must be {' or '.join(map(str, about.choices))}.")
    takes, said = TAKES[about.kind]
    several = about.several and about.kind != "maps"
    if several and (isinstance(value, str | bytes) or not isinstance(value, Iterable)):
        raise OptionTypeError(f"{row.name}={value!r} must be a list.")
    values = value if several else [value]
    if not about.choices and not all(takes(each) for each in values):
        raise OptionTypeError(f"{row.name}={value!r} must be {said}.")
    if about.low is not None and about.high is not None and not about.low <= value <= about.high:
        raise OptionError(f"{row.name}={value} must be from {about.low:g} to {about.high:g}.")


def is_number(value: Any) -> bool:
    """Whether it is a real number, NumPy's included, and no truth value."""
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


def _is_whole(value: Any) -> bool:
    return isinstance(value, numbers.Integral) and not isinstance(value, bool)


def _are(many: int | None, takes: Callable[[Any], bool]) -> Callable[[Any], bool]:
    """Whether a value is a sequence, of so many where a number is given, of what is taken."""
    return lambda value: (
        hasattr(value, "__len__")
        and not isinstance(value, str | bytes | Mapping)
        and many in (None, len(value))
        and all(takes(each) for each in value)
    )


TAKES: dict[Kind, tuple[Callable[[Any], bool], str]] = {
    "text": (lambda value: isinstance(value, str), "a text"),
    "int": (_is_whole, "a whole number"),
    "float": (is_number, "a number"),
    "flag": (lambda value: isinstance(value, bool), "True or False"),
    "switch": (lambda value: isinstance(value, bool), "True or False"),
    "path": (lambda value: True, "a file"),
    "crop": (_are(4, _is_whole), "four whole numbers"),
    "weights": (_are(None, is_number), "a list of numbers"),
    "layers": (_are(None, lambda each: isinstance(each, str) or _is_whole(each)), "a list of numbers and names"),
    "maps": (lambda value: isinstance(value, Mapping), "a dictionary of names and maps"),
    "guides": (
        lambda value: isinstance(value, tuple | list) and len(value) in (2, 3),
        "tuples of two maps and a weight",
    ),
    "scaled": (lambda value: True, "a file and a number"),
    "folder": (lambda value: isinstance(value, str | os.PathLike), "the path of a folder"),
    "call": (callable, "a function"),
    "any": (lambda value: True, "anything"),
}
"""Which values an option of each kind takes, and how that is said."""


def described(*groups: type) -> str:
    """The rows as the attributes of a docstring."""
    return "\n".join(f"    {row.name}: {row.knob.help}" for row in rows(*groups))
