"""Guides: pairs of a map of the swatches and a map of the canvas that should agree, as in image analogies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from texgen.errors import InputError
from texgen.files.pixels import as_float
from texgen.knobs import check_range
from texgen.materials.maps import Map, MapLike, prepared_maps, read_map
from texgen.materials.preparation import Preparation

DETAILED, ROUGH = (0.1, 0.3, 1.0), (0.0, 0.1, 0.3)
"""Strengths of guides by scale, full size first; the last one holds for all coarser scales. Coarse scales find the place, fine ones follow the swatch."""
FLATTEST = 0.05
"""Deviation of a guide, as a share of its range, below which it is not amplified further."""


@dataclass(frozen=True)
class Guide:
    """A map of the swatches and a map of the canvas that should agree.

    Attributes:
        swatch: Map of the exemplars, float32.
        canvas: Map of the canvas in the same units, (h, w, C), float32. It may have any size, as it is stretched over the result.
        weight: Weight relative to the colours; with 1, differences in the guide count as much as differences in colour.
        strengths: Factors of the weight by scale, see `DETAILED`.
    """

    swatch: Map
    canvas: np.ndarray
    weight: float = 1.0
    strengths: tuple[float, ...] = DETAILED

    def entry(self) -> dict[str, Any]:
        """Description for the recipe."""
        canvas = Map("canvas", [self.canvas]).entry()["sha256"]
        return {"swatch": self.swatch.entry()["sha256"], "canvas": canvas, "weight": self.weight}

    def scaled(self, deviation: float) -> Guide:
        """The guide in units in which the swatches' map deviates by `weight` times the deviation of the colours, over all channels together."""
        images = [image.astype(np.float32) for image in self.swatch.images]
        whole = np.concatenate([image.reshape(-1, image.shape[2]) for image in images])
        mean, own = whole.mean(0), float(whole.var(0).sum()) ** 0.5
        least = FLATTEST * max(float(np.ptp(whole)), float(np.ptp(self.canvas)), 1e-6)
        factor = np.float32(deviation * self.weight / max(own, least))
        return Guide(
            Map(self.swatch.name, [(image - mean) * factor for image in images], guides=True),
            ((self.canvas - mean) * factor).astype(np.float32),
            self.weight,
            self.strengths,
        )


def strengths_at(guides: Sequence[Guide], level: int) -> np.ndarray:
    """Strength of each channel of the guides at a scale, (G,), float32."""
    found = [g.strengths[min(level, len(g.strengths) - 1)] for g in guides for _ in range(g.swatch.channels)]
    return np.array(found, np.float32)


SwatchMap = MapLike | Sequence[MapLike]
GuideLike = tuple[SwatchMap, MapLike] | tuple[SwatchMap, MapLike, float]
"""A map of the swatch, or one per swatch in their order; a map of the canvas; and the weight, 1 by default."""


def prepared_guides(
    guides: Sequence[GuideLike], raw: Sequence[tuple[int, int]], preparation: Preparation
) -> list[Guide]:
    """Read guides and prepare their maps of the swatches.

    Args:
        guides: Guides as the user gives them, see `GuideLike`.
        raw, preparation: See `prepared_maps`.

    Raises:
        OptionError: The number of maps differs from that of the swatches, or a weight is out of range.
        InputError: A map cannot be used, or the maps of a guide differ in channels.
    """
    found = []
    for number, (swatch, canvas, *rest) in enumerate(guides):
        name = f"guide {number + 1}"
        weight = float(rest[0]) if rest else 1.0  # type: ignore[arg-type]
        check_range(f"weight of {name}", weight, 0, 100)
        (of_swatch,) = prepared_maps({f"guide-{number + 1}": swatch}, raw, preparation)
        of_canvas = read_map(canvas, name)
        if of_canvas.shape[2] != of_swatch.channels:
            raise InputError(
                f"{name}: the swatch's map has {of_swatch.channels} channels, the canvas' {of_canvas.shape[2]}; give them as many."
            )
        plain = Map(of_swatch.name, [as_float(image) for image in of_swatch.images])
        found.append(Guide(plain, as_float(of_canvas), weight))
    return found
