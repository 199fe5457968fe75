"""What may be set of a look at a material."""

from __future__ import annotations

from dataclasses import dataclass

from texgen.knobs import Table, knob


@dataclass(frozen=True, kw_only=True)
class Knobs(Table):
    """Options of `texgen preview`."""

    width: int = knob(
        1536, "Of the image, rounded down to a multiple of 3; the height is a third of it.", kind="int", unit="px", low=192, high=6144, everyday=True
    )  # fmt: skip
    light: float = knob(
        135.0, "Where the key light is, counterclockwise from the right of the texture: 135 is at the top left.",
        kind="float", unit="degrees", low=-360, high=360, everyday=True,
    )  # fmt: skip
    depth: float | None = knob(
        None, "From the lowest to the highest point of the height map, as a share of the texture's width. By default it fits the normal map; without one, slopes are kept gentle.",
        kind="float", low=0, high=0.5, everyday=True,
    )  # fmt: skip
