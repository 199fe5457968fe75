"""The verb `fill`: fill a hole in a picture and keep every other pixel."""

from __future__ import annotations

from dataclasses import replace
from typing import Unpack

import numpy as np

from texgen.errors import InputError
from texgen.files import image as images
from texgen.files.image import ImageLike
from texgen.job import Constraints, Kept
from texgen.materials.exemplar import NONE
from texgen.materials.holes import filled_in
from texgen.runs import digests
from texgen.tasks.checks import verb
from texgen.tasks.make import Request, make
from texgen.tasks.options import Options
from texgen.tasks.result import Result
from tiling import Tile


@verb()
def fill(image: ImageLike, hole: ImageLike, swatch: ImageLike | None = None, **options: Unpack[Options]) -> Result:
    """Fill a hole in a picture; every pixel outside the hole stays as it is.

    The hole is filled with patches of the rest of the picture, or of the swatch, that match its surroundings; any mismatch that remains at the rim is
    faded into the hole. A diffusion model starts from this result and denoises it with AD, while the picture around the hole is held fixed.

    Args:
        image: The picture.
        hole: A mask of its size; white is filled.
        swatch: Material to fill it with; by default the rest of the picture.
        options: See `texgen.Options`; `tileable` is `none` by default. Options that prepare a swatch apply to the material
            that the hole is filled with.

    Raises:
        InputError: The mask has another size, no white, or no black and there is no swatch.
        OptionError, ModelError, ResourceError: As in `expand`.

    Example:
        >>> fill("wall.png", "graffiti_mask.png", seed=7).save("out.png")  # doctest: +SKIP
    """
    given, mask = images.read_picture(image), images.read_pixels(hole).mean(-1) >= 0.5
    height, width = given.size
    if mask.shape != (height, width):
        raise InputError(
            f"the picture is {width}x{height} px, the mask of its hole {mask.shape[1]}x{mask.shape[0]}; give them one size."
        )
    if not mask.any():
        raise InputError("the mask is black everywhere: there is no hole; what is to be filled must be white.")
    if mask.all() and swatch is None:
        raise InputError("the mask is white everywhere: nothing is kept; give a swatch, or use texgen expand.")
    options.setdefault("tileable", "none")
    given = replace(given, pixels=filled_in(given.pixels, ~mask))  # so that the hole shows nowhere, not even as an edge
    request = Request(
        task="fill",
        sources=[given if swatch is None else swatch],
        size=(height, width),
        maps=[mask * np.uint8(NONE)] if swatch is None else None,
        constraints=Constraints(kept=Kept(given.pixels, ~mask, Tile(0, 0, height, width), is_swatch=swatch is None)),
        base=given,
        notes={"picture": digests.picture_entry(given, given.pixels), "hole": digests.picture_entry(hole, mask)},
    )
    return make(request, **options)
