"""Checks that all verbs share, whatever the model."""

from __future__ import annotations

import errno
import functools
import inspect
from collections.abc import Callable, Sequence
from typing import ParamSpec, TypeVar

from texgen.errors import OptionError, OptionTypeError, disk_error
from texgen.files.inputs import noting
from texgen.knobs import REQUIRED, Kind, Knob, Row, rows, taken, unknown
from texgen.tasks.knobs import EVERY
from tiling import Size

Given = ParamSpec("Given")
Made = TypeVar("Made")


def verb(
    *own: type, more: Sequence[type] = EVERY, **kinds: Kind
) -> Callable[[Callable[Given, Made]], Callable[Given, Made]]:
    """Decorator that makes a function a verb: its arguments are checked before it runs, and the files that it reads are noted.

    Args:
        own: Tables of its own options.
        more: Tables of the options that its `**options` take, if it has any. An option given as None counts as left out.
        kinds: Kinds of its other parameters, by name.

    Raises:
        OptionTypeError: Raised by the verb: an unknown option, a missing or surplus argument, a value of the wrong type.
        OptionError: Raised by the verb: a value that is not allowed.
    """

    def made(function: Callable[Given, Made]) -> Callable[Given, Made]:
        signature, name = inspect.signature(function), function.__name__
        parameters = {each.name: each for each in signature.parameters.values()}
        rest = next((each for each, p in parameters.items() if p.kind == p.VAR_KEYWORD), None)
        defaults = {each: REQUIRED if p.default is p.empty else p.default for each, p in parameters.items()}
        checked = [*rows(*own), *(Row(each, defaults[each], Knob(help="", kind=kind)) for each, kind in kinds.items())]
        others = {row.name: row for row in rows(*more)} if rest else {}
        known = [*parameters, *others]

        @functools.wraps(function)
        def called(*args: Given.args, **options: Given.kwargs) -> Made:
            for each in sorted(options.keys() - set(known)):
                raise unknown(name, each, known)
            try:
                arguments = signature.bind(*args, **options)
            except TypeError as error:
                raise OptionTypeError(f"{name}(): {error}.") from error
            given = arguments.arguments
            given |= {row.name: taken(row, given[row.name]) for row in checked if row.name in given}
            if rest in given:
                set_ones = {each: value for each, value in given[rest].items() if value is not None}
                given[rest] = {
                    each: value if each == "start" else taken(others[each], value) for each, value in set_ones.items()
                }
            try:
                with noting():
                    return function(*arguments.args, **arguments.kwargs)
            except OSError as error:
                if error.errno != errno.ENAMETOOLONG:
                    raise
                raise disk_error(error) from error  # type: ignore[misc]

        return called

    return made


def check_place(place: tuple[int, int], swatch: Size, size: Size) -> None:
    """Refuse a swatch that does not fit into the result at (left, top), or is as large as the result."""
    left, top = place
    if swatch == size:
        raise OptionError(
            f"keep={left},{top}: the swatch is as large as the result, nothing is left to make; ask for a larger size."
        )
    if min(place) < 0 or left + swatch.width > size.width or top + swatch.height > size.height:
        raise OptionError(f"keep={left},{top}: the {swatch} swatch does not fit there in {size}.")


def shares_of(weights: Sequence[float], count: int) -> list[float]:
    """Weights of `count` exemplars, scaled to sum to 1."""
    if len(weights) != count or not all(0 < weight < float("inf") for weight in weights):
        raise OptionError(f"exemplar_weights={list(weights)} must be {count} numbers above 0, one a swatch.")
    return [weight / sum(weights) for weight in weights]
