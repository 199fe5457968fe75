"""Options of a preview."""

from __future__ import annotations

from dataclasses import dataclass

from texgen.knobs import Table, knob


@dataclass(frozen=True, kw_only=True)
class Knobs(Table):
    """Options of `texgen preview`."""

    width: int = knob(
        1536, "Width of the image, rounded down to a multiple of 3; its height is a third of that.", kind="int", unit="px", low=192, high=6144, everyday=True
    )  # fmt: skip
    light: float = knob(
        135.0, "Direction of the key light, counterclockwise from the right of the texture: 135 is at the top left.",
        kind="float", unit="degrees", low=-360, high=360, everyday=True,
    )  # fmt: skip
    depth: float | None = knob(
        None, "Difference in height between the lowest and the highest point of the height map, as a share of the texture's width. By default it fits the normal map; without one, slopes are kept gentle.",
        kind="float", low=0, high=0.5, everyday=True,
    )  # fmt: skip
