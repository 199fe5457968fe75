"""Fill a hole in a picture. The rest stays, to the pixel."""

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
    """A picture with its hole filled; every pixel outside of the hole is as it was.

    The hole takes patches of the rest of the picture, or of the swatch, that fit what lies around it; what remains of a mismatch at the rim is
    faded into the hole. A diffusion model begins there, and denoises with AD, the picture around the hole held fixed.

    Args:
        image: The picture.
        hole: A mask of its size: white is to be filled.
        swatch: What to fill it with; by default the rest of the picture.
        options: Those of `texgen.Options`; `tileable` is `none` by default. Those that prepare a swatch prepare what the
            hole is filled with.

    Raises:
        InputError: A mask of another size, without white, or without black where there is no swatch.
        OptionError, ModelError, ResourceError: As `expand`.

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
    given = replace(given, pixels=filled_in(given.pixels, ~mask))  # the hole is to show in nothing, not even as an edge
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
