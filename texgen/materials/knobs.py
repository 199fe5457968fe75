"""Options of a material: its physical size, and how maps are estimated from its colour."""

from __future__ import annotations

from dataclasses import dataclass

from texgen.errors import OptionError
from texgen.knobs import Table, knob


@dataclass(frozen=True, kw_only=True)
class Extent(Table):
    """The physical size of a surface."""

    size_m: float | None = knob(
        None, "Width of the surface that the texture shows; stored in its file and in exports.", kind="float", unit="metres", low=0.0001, high=100000, everyday=True
    )  # fmt: skip
    texel_density: float | None = knob(
        None,
        "Physical size given as pixels per metre, instead of as a width.",
        kind="float",
        unit="px a metre",
        low=0.001,
        high=10000000,
        everyday=True,
    )

    def width_m(self, width: int) -> float | None:
        """Width in metres of a surface that is `width` pixels wide; None if its size was not given.

        Raises:
            OptionError: Both `size_m` and `texel_density` were given.

        Example:
            >>> Extent(texel_density=1024).width_m(2048)
            2.0
        """
        if self.size_m is not None and self.texel_density is not None:
            raise OptionError("size_m and texel_density both tell the physical size; give one of them.")
        return self.size_m if self.texel_density is None else width / self.texel_density


@dataclass(frozen=True, kw_only=True)
class Knobs(Table):
    """Options of `texgen material`."""

    tileable: str | None = knob(
        None, "Axes along which the picture and its maps repeat; detected by default.", choices=("both", "x", "y", "none"), everyday=True
    )  # fmt: skip
    relief: float | None = knob(
        None, "Difference in height between the lowest and the highest point: larger makes normals and occlusion bumpier; 0 is flat. By default it follows the contrast.",
        kind="float", low=0, high=1000, unit="px", everyday=True,
    )  # fmt: skip
    bump_size: float | None = knob(
        None, "Radius of the largest bumps; wider changes of brightness are taken for paint or light. Smaller keeps only fine relief. Detected by default.",
        kind="float", low=1, high=1000, unit="px", everyday=True,
    )  # fmt: skip
    invert: bool = knob(False, "Treat bright places as deep, for light joints between dark stones.", kind="flag", everyday=True)  # fmt: skip
    roughness: float = knob(0.7, "Mean of the roughness: 0 is a mirror, 1 is chalk.", kind="float", low=0, high=1, everyday=True)  # fmt: skip
    roughness_contrast: float = knob(
        1.0, "How much the roughness varies: it rises where the grain is coarse and in crevices, and falls where the surface is smooth and high; 0 is even.",
        kind="float", low=0, high=4, everyday=True,
    )  # fmt: skip
    ao: float = knob(1.0, "Strength of the ambient occlusion: larger darkens crevices more; 0 is white.", kind="float", low=0, high=4, everyday=True)  # fmt: skip
