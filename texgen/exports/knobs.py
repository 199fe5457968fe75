"""Options of an export."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from texgen.exports.profiles import PROFILES
from texgen.knobs import knob
from texgen.materials.knobs import Extent


@dataclass(frozen=True, kw_only=True)
class Knobs(Extent):
    """Options of `texgen export`."""

    profile: str | Sequence[str] = knob(
        ("standard",), f"Engine or library: {', '.join(PROFILES)}; several, separated by commas, go to folders of their names.",
        several=True, everyday=True,
    )  # fmt: skip
    height_m: float | None = knob(
        None, "Difference in height between black and white of the height map. MaterialX and USD displace the surface only if it is given.",
        kind="float", unit="metres", low=0.0001, high=100000, everyday=True,
    )  # fmt: skip
    template: str | None = knob(
        None, "Template of the textures' names, such as `{name}_{map}_{size}`; the profile's own by default.", everyday=True
    )  # fmt: skip
    split: int | None = knob(
        None, "Cut textures that have a longer side than this into UDIM tiles; `NAME.1001.png` is at the bottom left.",
        kind="int", unit="px", low=256, high=65536, everyday=True,
    )  # fmt: skip
