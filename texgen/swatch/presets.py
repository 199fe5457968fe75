"""The presets of the swatch model."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

from texgen.errors import OptionError

StartKind = Literal["quilt", "blocks", "noise"]
SYMMETRIES = {"none": (0,), "mirror": (0, 4), "rotate": (0, 1, 2, 3), "all": tuple(range(8))}
"""Ways in which a swatch is shown beside its own, see `maps.turned`, by the name of the symmetry."""
STARTS: tuple[StartKind, ...] = ("quilt", "blocks", "noise")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How a texture is made. Tuples hold a value a level, full size first; the last one stands for all coarser levels.

    Attributes:
        start: `quilt` sews pieces of the swatch: large features stay whole. `blocks` places pieces at random: the most variety. `noise` places
            single pixels.
        candidates: Starts made with different seeds and finished on the coarse levels; the one of the least energy goes on.
        quilt_level: Scale at which a quilt is sewn; larger is faster, and leaves more to the search.
        block, overlap: Of the quilt's pieces and of random blocks, in pixels at full size; larger keeps larger features and copies more. A quilt's
            are at least a quarter and an eighth of a large swatch's side.
        mend: How often a quilt is gone over for its worst seams.
        iterations: Of search and vote.
        patch: Side of the patches that are compared and voted.
        dims: Length of their descriptors.
        similar: Look-alikes of a neighbour's key that are tried, too.
        probes, reach: Random keys tried a pixel, and how far away in the bank; more gives more variety and less coherence.
        usage: Cost of a key that is used as often as the mean, in median distances; larger shows more of the swatch.
        balance: How strongly colours that are shown too often lose weight in a vote.
        blend: Side in pixels of the window in which the pieces are blended where they meet; 1 does not blend.
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
    """A preset, with another start where one is named.

    Raises:
        OptionError: Unknown preset or start.
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
