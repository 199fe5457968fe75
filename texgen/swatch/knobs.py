"""The options of the swatch model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from texgen.errors import OptionError
from texgen.job import Constraints
from texgen.knobs import Table, knob
from texgen.materials.preparation import MIN_SIDE
from texgen.swatch.presets import STARTS, SYMMETRIES
from tiling import Size

if TYPE_CHECKING:
    from texgen.materials.guides import GuideLike
    from texgen.materials.maps import MapLike, Maps


@dataclass(frozen=True, kw_only=True)
class Knobs(Table):
    """Options as the user gave them; None stands for the preset's."""

    WHOSE: ClassVar[str] = "the swatch model"
    MIN_SIDE: ClassVar[int] = MIN_SIDE

    start: str | None = knob(
        None,
        "Where the canvas begins: `quilt` (pieces sewn together), `blocks` (random pieces: more variety) or `noise`.", choices=STARTS,
    )  # fmt: skip
    symmetry: str = knob(
        "none", "How the material may be shown beside as it is: turned (`rotate`), mirrored sideways (`mirror`) or both (`all`).", choices=tuple(SYMMETRIES)
    )  # fmt: skip
    maps: Maps | None = knob(
        None, "A companion map of the swatch by its name, such as `normal` or `height`, shown in register at its own depth; with several swatches one each, in their order, and last that of a "
        "picture that is kept in part, if it is no swatch. A name that begins with `normal` holds vectors, y upwards unless it ends in `dx`. On the command line, `:guide` after the file "
        "compares patches by it, too.", kind="maps", flag="map", several=True, everyday=True,
    )  # fmt: skip
    map_guides: Sequence[str] = knob(
        (), "Names of maps by which patches are compared as well as by colour, so that bumps do not break where the colour is flat.", flag=None, several=True
    )  # fmt: skip
    guides: Sequence[GuideLike] = knob(
        (), "An image analogy: a map of the swatch (with several swatches, in Python, a list) and one of the result that are to agree, and how strongly. The second is stretched over the "
        "result.", kind="guides", flag="guide", several=True, everyday=True,
    )  # fmt: skip
    orientation: MapLike | None = knob(
        None, "A map of the result by which the material is turned: grey, from 0 to 180 degrees counterclockwise, or a flow map (red to the right, green upwards), into whose vectors the "
        "swatch's upright is turned.", kind="path", everyday=True,
    )  # fmt: skip

    def check(self, size: Size, constraints: Constraints) -> None:
        """Refuse what can be refused without looking at a picture."""
        if min(size) < self.MIN_SIDE:
            raise OptionError(f"size={size} is too small; at least {self.MIN_SIDE} px a side.")
        if constraints.content_weight is not None:
            raise OptionError(
                f"content_weight={constraints.content_weight} is for diffusion models; leave it out, or choose another model."
            )
        if self.orientation is not None and constraints.place is not None:
            raise OptionError("orientation does not go with keep: the swatch would be turned.")
