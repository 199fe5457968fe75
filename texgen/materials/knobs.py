"""What may be set where maps are estimated from a colour."""

from __future__ import annotations

from dataclasses import dataclass

from texgen.knobs import knob


@dataclass(frozen=True, kw_only=True)
class Knobs:
    """Options of `texgen material`."""

    tileable: str | None = knob(
        None, "Axes along which the picture repeats, and the maps with it; found out by default.", choices=("both", "x", "y", "none"), everyday=True
    )  # fmt: skip
    relief: float | None = knob(
        None, "Difference in height between the deepest and the highest place: larger is bumpier, in the normals and in the occlusion; 0 is flat. By default it follows the contrast.",
        kind="float", low=0, high=1000, unit="px", everyday=True,
    )  # fmt: skip
    bump_size: float | None = knob(
        None, "Radius of the largest bumps; wider changes of brightness are taken for paint or light. Smaller keeps only fine relief. Found out by default.",
        kind="float", low=1, high=1000, unit="px", everyday=True,
    )  # fmt: skip
    invert: bool = knob(False, "What is bright is deep: for light joints between dark stones.", kind="flag", everyday=True)  # fmt: skip
    roughness: float = knob(0.7, "Mean of the roughness: 0 is a mirror, 1 is chalk.", kind="float", low=0, high=1, everyday=True)  # fmt: skip
    roughness_contrast: float = knob(
        1.0, "How much the roughness varies: more where the grain is coarse and in crevices, less on what is smooth and high; 0 is even.",
        kind="float", low=0, high=4, everyday=True,
    )  # fmt: skip
    ao: float = knob(1.0, "Strength of the ambient occlusion: larger darkens crevices more; 0 is white.", kind="float", low=0, high=4, everyday=True)  # fmt: skip
