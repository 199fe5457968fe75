"""Tables of options. Each row holds the default, range and meaning of one option; checks, flags and `docs/options.md` are made from the rows.

A row is a field of a frozen dataclass that derives from `Table`:

    steps: int | None = knob(None, "Scheduler steps.", low=1, high=1000)
"""

from __future__ import annotations

import dataclasses
import difflib
import numbers
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from texgen.errors import OptionError, OptionTypeError

Kind = Literal[
    "text", "int", "float", "flag", "switch", "path", "pair", "crop", "weights", "layers", "maps", "guides", "scaled", "file", "folder", "call", "any"
]  # fmt: skip


REQUIRED = object()
"""The default of an option that must be given."""


@dataclass(frozen=True, kw_only=True)
class Knob:
    """What a table says about an option.

    Attributes:
        help: What the option does, and the effect of larger and smaller values.
        kind: Type of its values; a `switch` may be left undecided.
        choices: All allowed values; empty if any value of its kind is allowed.
        low, high: Range of a number, both included.
        unit: Unit of a number.
        flag: Name on the command line without the leading hyphens; "" takes the option's own name, None makes it an option of Python only.
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
    """A row of a table: a knob with its name and default."""

    name: str
    default: Any
    knob: Knob

    @property
    def flag(self) -> str | None:
        """Flag on the command line, with hyphens; None if the option exists in Python only."""
        return None if self.knob.flag is None else f"--{self.knob.flag or self.name.replace('_', '-')}"


def knob(default: Any, help: str, **about: Any) -> Any:
    """A field of a `Table`; the keyword arguments are those of `Knob`."""
    return dataclasses.field(default=default, metadata={"knob": Knob(help=help, **about)})


def rows(*groups: type) -> Iterator[Row]:
    """The rows of some tables, in their order."""
    for group in groups:
        for each in dataclasses.fields(group):
            yield Row(each.name, each.default, each.metadata["knob"])


def picked(values: Mapping[str, Any], *groups: type) -> dict[str, Any]:
    """The values whose names are rows of some tables."""
    names = {row.name for row in rows(*groups)}
    return {name: value for name, value in values.items() if name in names}


class Table:
    """Base class of tables of options. Instances check their values on construction; None takes the default of an option.

    Raises:
        OptionTypeError: A value has the wrong type.
        OptionError: A value is out of range, or not one of the choices.
    """

    def __post_init__(self) -> None:
        for row in rows(type(self)):
            object.__setattr__(self, row.name, taken(row, getattr(self, row.name)))


def taken(row: Row, value: Any) -> Any:
    """The value of an option, checked as in `Table`, with NumPy scalars converted to Python numbers."""
    about, (takes, said) = row.knob, TAKES[row.knob.kind]
    if value is None and row.default is not REQUIRED:
        return row.default
    value = plain(value)
    if about.choices:
        return _chosen(row, value)
    if about.several and about.kind != "maps":
        if isinstance(value, str | bytes) or not isinstance(value, Sequence):
            raise OptionTypeError(f"{row.name}={short(value)} must be a list.")
        value = tuple(map(plain, value))
        if wrong := [each for each in value if not takes(each)]:
            raise OptionTypeError(f"{row.name}: {short(wrong[0])} must be {said}.")
    elif not takes(value):
        raise OptionTypeError(f"{row.name}={short(value)} must be {said}.")
    if about.kind in ("crop", "pair", "weights", "layers"):
        value = tuple(map(plain, value))
    if about.low is not None and about.high is not None and not about.low <= value <= about.high:
        raise OptionError(f"{row.name}={value} must be from {_bound(about.low)} to {_bound(about.high)}.")
    return value


def check_range(name: str, value: Any, low: float, high: float) -> None:
    """Refuse anything but a number from `low` to `high`."""
    taken(Row(name, REQUIRED, Knob(help="", kind="float", low=low, high=high)), value)


def _chosen(row: Row, value: Any) -> Any:
    """The value, if it is one of the choices."""
    choices = row.knob.choices
    if isinstance(value, bool) or not isinstance(value, type(choices[0])):
        raise OptionTypeError(f"{row.name}={short(value)} must be {' or '.join(map(repr, choices))}.")
    if value not in choices:
        raise OptionError(f"{row.name}={value!r} is not known; choose one of {', '.join(map(str, choices))}.")
    return value


def _bound(number: float) -> str:
    return str(number) if isinstance(number, int) else f"{number:g}"


def short(value: Any) -> str:
    """A value as error messages show it: one line of at most 80 characters."""
    said = " ".join(repr(value).split())
    return said if len(said) <= 80 else f"{said[:77]}..."


def plain(value: Any) -> Any:
    """Convert a NumPy scalar to a Python number; return anything else unchanged."""
    return value.item() if isinstance(value, np.generic) else value


def is_number(value: Any) -> bool:
    """Whether a value is a real number, of Python or NumPy, and not a boolean."""
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


def is_whole(value: Any) -> bool:
    """Whether a value is an integer, of Python or NumPy, and not a boolean."""
    return isinstance(value, numbers.Integral) and not isinstance(value, bool)


def _are(many: int | None, takes: Callable[[Any], bool]) -> Callable[[Any], bool]:
    """A test whether a value is a sequence whose elements pass `takes`, of length `many` unless that is None."""
    return lambda value: (
        isinstance(value, Sequence | np.ndarray)
        and not isinstance(value, str | bytes)
        and many in (None, len(value))
        and all(takes(each) for each in value)
    )


TAKES: dict[Kind, tuple[Callable[[Any], bool], str]] = {
    "text": (lambda value: isinstance(value, str), "a text"),
    "int": (is_whole, "a whole number"),
    "float": (is_number, "a number"),
    "flag": (lambda value: isinstance(value, bool), "True or False"),
    "switch": (lambda value: isinstance(value, bool), "True or False"),
    "path": (lambda value: True, "a file"),
    "pair": (_are(2, is_whole), "two whole numbers"),
    "crop": (_are(4, is_whole), "four whole numbers"),
    "weights": (_are(None, is_number), "a list of numbers"),
    "layers": (_are(None, lambda each: isinstance(each, str) or is_whole(each)), "a list of numbers and names"),
    "maps": (lambda value: isinstance(value, Mapping), "a dictionary of names and maps"),
    "guides": (
        lambda value: isinstance(value, tuple | list) and len(value) in (2, 3),
        "a tuple of two maps and, if wanted, a weight",
    ),
    "scaled": (lambda value: True, "a file and a number"),
    "file": (lambda value: isinstance(value, str | os.PathLike), "the path of a file"),
    "folder": (lambda value: isinstance(value, str | os.PathLike), "the path of a folder"),
    "call": (callable, "a function"),
    "any": (lambda value: True, "anything"),
}
"""For each kind of option, a test of its values and their name in error messages."""


def unknown(where: str, name: str, known: Iterable[str]) -> OptionTypeError:
    """The error for an option that does not exist; it suggests the closest known name."""
    return OptionTypeError(f"{where}() has no option {name!r}{meant(name, known)}")


def meant(name: str, known: Iterable[str]) -> str:
    """End of an error message about an unknown name: a suggestion, if a known name is close."""
    near = difflib.get_close_matches(name, known, 1)
    return f"; did you mean {near[0]!r}?" if near else "."


def described(*groups: type) -> str:
    """The rows, written as the attributes of a docstring."""
    return "\n".join(f"    {row.name}: {row.knob.help}" for row in rows(*groups))
