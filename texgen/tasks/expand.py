"""Expand a swatch: a small exemplar becomes a texture of any size."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Unpack

import numpy as np

from texgen.errors import OptionError
from texgen.image import ImageLike
from texgen.tasks import swatch
from texgen.tasks.options import ExpandOptions, Options
from texgen.tasks.result import Result

OF_THE_SWATCH_MODEL = (
    "tileable", "preset", "seed", "exemplars", "exemplar_weights", "crop", "rotate", "exemplar_scale", "exemplar_size", "flatten_light",
    "symmetry", "start", "with_map", "bits", "checkpoint", "resume", "callback",
)  # fmt: skip
WITHOUT_EFFECT = {"device": "auto", "dtype": "auto", "attn_scale": 1.0, "adain": False, "checkpoint_minutes": 1.0}
"""Options of diffusion models that the command line always gives; these values ask for nothing."""


def expand(
    image: ImageLike,
    size: int | tuple[int, int] = 1024,
    *,
    keep: Sequence[int] | None = None,
    **options: Unpack[ExpandOptions],
) -> Result:
    """Expand a swatch to a texture of `size`, with its detail at its own scale.

    Args:
        image: The swatch: a file, a Pillow image, an array (H, W, 3) or a tensor (3, H, W) in [0, 1].
        size: (height, width) in pixels, or one number for both; at least 64, with a diffusion model 128.
        keep: (left, top) in pixels where the prepared swatch itself lies in the result, unchanged; the rest continues it.
        options: Those of `texgen.Options`: `model` (`swatch` by default), `tileable`, `preset`, `seed`, `exemplars`, ...

    Returns:
        The picture with its coordinate map, recipe and timings.

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
    place = None if keep is None else (int(keep[0]), int(keep[1]))
    if options.get("model", swatch.NAME) == swatch.NAME:
        return swatch.synthesize(image, size, keep=place, **_for_the_swatch_model(options))
    others: Any = dict(options)
    if others.pop("symmetry", "none") != "none":
        raise OptionError("symmetry is for the swatch model; leave it out.")
    from texgen.tasks.make import make
    from texgen.tasks.request import Request

    notes = {} if place is None else {"keep": list(place)}
    return make(Request(task="expand", sources=[image], size=size, place=place, notes=notes), **others)


def _for_the_swatch_model(options: ExpandOptions) -> dict[str, Any]:
    """The options it knows.

    Raises:
        OptionError: One that only diffusion models know.
        TypeError: One that none knows.
    """
    if unknown := sorted(options.keys() - ExpandOptions.__annotations__.keys() - Options.__annotations__.keys()):
        raise TypeError(f"expand() got an unexpected keyword argument {unknown[0]!r}")
    known = {name: value for name, value in options.items() if name in OF_THE_SWATCH_MODEL}
    for name in options.keys() - known.keys() - {"model"}:
        value = options[name]  # type: ignore[literal-required]
        if value is not None and value != WITHOUT_EFFECT.get(name):
            raise OptionError(f"{name}={value!r} is for diffusion models; leave it out, or choose one with model.")
    return known
