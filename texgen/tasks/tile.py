"""The verb `tile`: make a picture tileable at its own size by remaking its border; the rest stays, to the pixel."""

from __future__ import annotations

from typing import Unpack

import numpy as np

from texgen.errors import OptionError
from texgen.files import image as images
from texgen.files.image import ImageLike
from texgen.job import Constraints, Kept
from texgen.materials.holes import filled_in
from texgen.tasks.checks import verb
from texgen.tasks.knobs import NARROWEST, TileKnobs
from texgen.tasks.make import Request, make
from texgen.tasks.options import Options
from texgen.tasks.result import Result
from tiling import Tile

BAND = 1 / 16
"""Width of the band that is remade along every border, as a fraction of the shorter side. The total energy of what is remade grows with this width."""


@verb(TileKnobs)
def tile(image: ImageLike, band: int | None = None, **options: Unpack[Options]) -> Result:
    """Make a picture tileable at its own size: a band along its border is remade, and the middle stays, to the pixel.

    Args:
        image: The picture; with a diffusion model, a side that is to tile must be a multiple of 8.
        band: Width in pixels of the band remade along each border; by default a sixteenth of the shorter side, which changes
            least. A wider band gives features more room to join up, and copies more.
        options: See `texgen.Options`; `tileable="x"` remakes the left and right borders only, `crop` selects the part of the picture that they are
            made from.

    Raises:
        OptionError: The band is narrower than 16 px or leaves no middle, `tileable` is `none`, or the picture is turned or resized.
        InputError, ModelError, ResourceError: As in `expand`.

    Example:
        >>> tile("photo.png", seed=7).save("tileable.png")  # doctest: +SKIP
    """
    for name, plain in (("rotate", 0), ("exemplar_scale", 1.0), ("exemplar_size", None)):
        if options.get(name, plain) != plain:
            raise OptionError(f"{name}={options[name]} would make a border unlike the picture; leave it out.")  # type: ignore[literal-required]
    picture = images.read_picture(image)
    height, width = picture.size
    wide = max(NARROWEST, round(min(height, width) * BAND)) if band is None else band
    if 2 * wide >= min(height, width):
        raise OptionError(
            f"band={wide} must be from {NARROWEST} to less than half of the shorter side, {min(height, width)} px."
        )
    axes = options.get("tileable", "both")
    if axes == "none":
        raise OptionError("tileable='none' leaves nothing to do; use 'both', 'x' or 'y'.")
    mask = np.zeros((height, width), bool)
    if axes in ("both", "y"):
        mask[:wide] = mask[-wide:] = True
    if axes in ("both", "x"):
        mask[:, :wide] = mask[:, -wide:] = True
    given = Constraints(kept=Kept(filled_in(picture.pixels, ~mask), ~mask, Tile(0, 0, height, width), is_swatch=True))
    notes = {"band": wide}
    request = Request(task="tile", sources=[picture], size=(height, width), constraints=given, notes=notes)
    return make(request, **options)
