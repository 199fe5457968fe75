"""Expand a swatch: a small exemplar becomes a texture of any size."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Unpack

import numpy as np

from texgen.errors import OptionError
from texgen.image import ImageLike
from texgen.tasks.make import make
from texgen.tasks.options import Options
from texgen.tasks.request import Request
from texgen.tasks.result import Result


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
        size: (height, width) in pixels, or one number for both; at least 128.
        keep: (left, top) in pixels where the prepared swatch itself lies in the result, unchanged; the rest continues it.
        options: Those of `texgen.Options`: `model`, `tileable`, `preset`, `seed`, `exemplars`, ...

    Returns:
        The picture with its latents, coordinate map, recipe and timings.

    Raises:
        OptionError: Options that make no sense, found before any model call.
        InputError: A swatch that cannot be used.
        ModelError: A model that cannot be loaded.
        ResourceError: Out of memory or disk.
        KeyboardInterrupt: Interrupted, with `checkpoint`: at the next batch of tiles, saved.

    Example:
        >>> result = expand("swatch.png", size=(1024, 2048), seed=7)  # doctest: +SKIP
        >>> result.image.size  # doctest: +SKIP
        (2048, 1024)
    """
    if keep is not None and (len(keep) != 2 or not all(isinstance(side, int | np.integer) for side in keep)):
        raise OptionError(f"keep={keep!r} must be (left, top) in whole pixels.")
    notes = {} if keep is None else {"keep": [int(side) for side in keep]}
    place = None if keep is None else (int(keep[0]), int(keep[1]))
    return make(Request(task="expand", sources=[image], size=size, place=place, notes=notes), **options)
