"""Checks that the verbs share, whatever the model."""

from __future__ import annotations

from collections.abc import Sequence

from texgen.errors import OptionError
from texgen.tasks.size import WRAPS
from tiling import Size


def check_tileable(tileable: str) -> None:
    """Refuse what is no name of wrapping axes."""
    if tileable not in WRAPS:
        raise OptionError(f"tileable={tileable!r} is not known; choose one of {', '.join(WRAPS)}.")


def check_bits(bits: int, allowed: Sequence[int]) -> None:
    """Refuse a depth that pixels cannot have."""
    if bits not in allowed:
        raise OptionError(f"bits={bits} must be {' or '.join(map(str, allowed))}.")


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
