"""The presets of the swatch model."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

from texgen.errors import OptionError

StartKind = Literal["quilt", "blocks", "noise"]
SYMMETRIES = {"none": (0,), "mirror": (0, 4), "rotate": (0, 1, 2, 3), "all": tuple(range(8))}
"""The turns in which a swatch may be shown, see `maps.turned`, by the name of the symmetry."""
STARTS: tuple[StartKind, ...] = ("quilt", "blocks", "noise")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How a texture is made. Tuples hold one value per level, full size first; the last value stands for all coarser levels.

    Attributes:
        start: `quilt` sews pieces of the swatch: large features stay whole. `blocks` places pieces at random: the most variety. `noise` places
            single pixels.
        candidates: Number of starts that are made with different seeds and improved a little at the coarse scale; the one of least energy is used.
        quilt_level: Scale at which a quilt is sewn; larger is faster, and leaves more to the search.
        block, overlap: Of the pieces of a quilt, and of random blocks, in pixels at full size; larger values keep larger features and copy more. Those of a
            quilt are at least a quarter and an eighth of the side of a large swatch.
        mend: How often the worst seams of a quilt are sewn over.
        iterations: Of search and vote.
        patch: Side of the patches that are compared and voted.
        dims: Length of the descriptors.
        similar: Number of keys similar to a neighbour's key that are tried, too.
        probes, reach: Number of random keys tried per pixel, and their distance in the bank; more give more variety and less coherence.
        usage: Cost of a key that is used as often as the mean, in median distances; larger values show more of the swatch.
        balance: How strongly colours that are shown too often lose weight in a vote.
        blend: Side, in pixels, of the window in which pieces are blended where they meet; 1 does not blend.
    """

    start: StartKind = "quilt"
    candidates: int = 3
    quilt_level: int = 2
    block: int = 128
    overlap: int = 64
    mend: int = 1
    iterations: tuple[int, ...] = (2, 4, 4, 12, 20)
    patch: int = 7
    dims: tuple[int, ...] = (16, 16, 24)
    similar: tuple[int, ...] = (0, 0, 2)
    probes: tuple[int, ...] = (0, 0, 4, 6)
    reach: tuple[int, ...] = (8, 16, 64, 512)
    usage: tuple[float, ...] = (0.0, 0.0, 0.2, 0.5)
    balance: tuple[float, ...] = (0.0, 0.0, 0.3, 0.5)
    blend: int = 3


PRESETS: dict[str, Settings] = {
    "draft": Settings(
        candidates=1, quilt_level=3, mend=0, iterations=(1, 2, 2, 3, 8), dims=(16,), similar=(0,), probes=(0, 0, 2, 4)
    ),
    "standard": Settings(),
    "best": Settings(candidates=8, mend=2, iterations=(4, 6, 8, 16, 24)),
}


def choose(name: str, start: str | None = None) -> Settings:
    """A preset; `start` replaces its start.

    Raises:
        OptionError: The preset or the start is unknown.
    """
    if name not in PRESETS:
        raise OptionError(f"preset={name!r} is not known; choose one of {', '.join(PRESETS)}.")
    if start is None:
        return PRESETS[name]
    if start not in STARTS:
        raise OptionError(f"start={start!r} is not for the swatch model; use one of {', '.join(STARTS)}.")
    return replace(PRESETS[name], start=start)  # type: ignore[arg-type]


def at(values: tuple[Any, ...], level: int) -> Any:
    """The value of a level.

    Example:
        >>> at((1, 2), 0), at((1, 2), 5)
        (1, 2)
    """
    return values[min(level, len(values) - 1)]
