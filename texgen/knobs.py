"""What may be set: one row an option says its default, range and meaning. Checks, flags and the page of options are made from the rows.

A row is a field of a frozen dataclass:

    steps: int | None = knob(None, "Scheduler steps.", low=1, high=1000)
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from texgen.errors import OptionError

Kind = Literal[
    "text", "int", "float", "flag", "switch", "path", "crop", "weights", "layers", "maps", "guides", "scaled"
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
    """Refuse a value that is out of its range or is none of its choices; None is left to the preset.

    Raises:
        OptionError: Saying what is allowed.
    """
    for row in rows(type(knobs)):
        value, about = getattr(knobs, row.name), row.knob
        if value is None:
            continue
        if about.choices and value not in about.choices:
            if isinstance(about.choices[0], str):
                raise OptionError(f"{row.name}={value!r} is not known; choose one of {', '.join(about.choices)}.")
            raise OptionError(f"{row.name}={value} must be {' or '.join(map(str, about.choices))}.")
        if about.low is not None and about.high is not None and not about.low <= value <= about.high:
            raise OptionError(f"{row.name}={value} must be from {about.low:g} to {about.high:g}.")


def described(*groups: type) -> str:
    """The rows as the attributes of a docstring."""
    return "\n".join(f"    {row.name}: {row.knob.help}" for row in rows(*groups))
