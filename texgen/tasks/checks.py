"""Checks that the verbs share, whatever the model."""

from __future__ import annotations

from collections.abc import Sequence

from texgen.errors import OptionError, check_range
from texgen.job import Constraints
from tiling import Size


def check_constraints(given: Constraints, weighted: bool) -> None:
    """Refuse numbers out of their ranges, and weights of exemplars (`weighted`) beside labels."""
    check_range("layout_weight", None if given.layout is None else given.layout.weight, 0, 1000)
    check_range("content_weight", given.content_weight, 0, 1000)
    check_range("softness", None if given.target is None else given.target.softness, 0, 4096)
    if weighted and given.target is not None:
        raise OptionError("exemplar_weights do not go with labels: the target says how much there is of each swatch.")


def check_place(place: tuple[int, int], swatch: Size, size: Size) -> None:
    """Refuse a swatch that does not fit whole at (left, top) of the result, or fills all of it."""
    left, top = place
    if swatch == size:
        raise OptionError(
            f"keep={left},{top}: the swatch is as large as the result, nothing is left to make; ask for a larger size."
        )
    if min(place) < 0 or left + swatch.width > size.width or top + swatch.height > size.height:
        raise OptionError(f"keep={left},{top}: the {swatch} swatch does not fit there in {size}.")


def shares_of(weights: Sequence[float], count: int) -> list[float]:
    """Weights of exemplars, summing to 1."""
    if len(weights) != count or not all(0 < weight < float("inf") for weight in weights):
        raise OptionError(f"exemplar_weights={list(weights)} must be {count} numbers above 0, one a swatch.")
    return [weight / sum(weights) for weight in weights]
