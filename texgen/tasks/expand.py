"""The verb `expand`: grow a small swatch to a texture of any size."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Unpack

from texgen.files.image import ImageLike
from texgen.job import Constraints
from texgen.tasks.checks import verb
from texgen.tasks.knobs import ExpandKnobs
from texgen.tasks.make import Request, make
from texgen.tasks.options import Options
from texgen.tasks.result import Result


@verb(ExpandKnobs)
def expand(
    image: ImageLike,
    size: int | tuple[int, int] = 1024,
    *,
    keep: Sequence[int] | None = None,
    **options: Unpack[Options],
) -> Result:
    """Expand a swatch to a texture of `size`, with its detail at its own scale.

    Args:
        image: The swatch: a file, a Pillow image, an array (H, W, 3) or a tensor (3, H, W) in [0, 1].
        size: (height, width) in pixels, or one number for both; at least 64, with a diffusion model 128.
        keep: (left, top) in pixels at which the prepared swatch itself appears in the result, unchanged; the rest continues it.
        options: See `texgen.Options`: `model` (`swatch` by default), `tileable`, `preset`, `seed`, `exemplars`, ...

    Returns:
        The picture with its coordinate map, recipe and timings.

    Raises:
        OptionError: Options make no sense; found before any model call.
        InputError: A swatch cannot be used.
        ModelError: The model cannot be loaded.
        ResourceError: Out of memory or disk.
        KeyboardInterrupt: The user interrupted the run. With `checkpoint` it first finishes and saves the current batch of tiles.

    Example:
        >>> result = expand("swatch.png", size=(1024, 2048), seed=7)  # doctest: +SKIP
        >>> result.image.size  # doctest: +SKIP
        (2048, 1024)
    """
    place = None if keep is None else (keep[0], keep[1])
    notes = {} if place is None else {"keep": list(place)}
    request = Request(task="expand", sources=[image], size=size, constraints=Constraints(place=place), notes=notes)
    return make(request, **options)
