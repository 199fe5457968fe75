"""Transfer: the structure of a picture, shown in a swatch's material."""

from __future__ import annotations

from typing import Any, Unpack

import numpy as np

from texgen.errors import InputError, OptionError, check_range
from texgen.files import image as images
from texgen.files.image import ImageLike
from texgen.job import Constraints
from texgen.materials.labels import Target
from texgen.runs import recipe
from texgen.swatch.model import NAME
from texgen.tasks.make import Request, make
from texgen.tasks.options import Options
from texgen.tasks.paint import labelled, wanted_labels
from texgen.tasks.result import Result

LUMA = np.array([0.299, 0.587, 0.114], np.float32)


def transfer(
    image: ImageLike,
    content: ImageLike,
    size: int | tuple[int, int] | None = None,
    *,
    weight: float = 1.0,
    labels: ImageLike | None = None,
    target: ImageLike | None = None,
    **options: Unpack[Options],
) -> Result:
    """A texture of the swatch whose light and dark follow a picture: an image analogy by luminance.

    The picture's luminance takes the mean and deviation of the swatch's; patches are chosen by how well the two agree, and by how they fit.

    Args:
        image: The swatch, as in `expand`.
        content: The picture whose structure is shown.
        size: Of the result; the content's own by default.
        weight: How closely the content is followed; 0 leaves it out.
        labels: A map of the swatch's parts, as in `paint`.
        target: Which of these parts is shown where, a map of the content; given with `labels`.
        options: Those of `texgen.Options`; `tileable` is `none` by default.

    Raises:
        OptionError: A diffusion model; labels without a target, or a target without labels.
        InputError, ResourceError: As `expand`.

    Example:
        >>> transfer("rust.png", "portrait.png", seed=7).save("out.png")  # doctest: +SKIP

    References:
        Hertzmann et al., "Image Analogies", SIGGRAPH 2001, https://doi.org/10.1145/383259.383295, section 3.3.
    """
    check_range("weight", weight, 0, 100)
    if options.get("model", NAME) != NAME:
        raise OptionError("transfer is done by the swatch model; leave model out.")
    if (labels is None) != (target is None):
        raise OptionError("labels, the map of the swatch, and target, the map of the content, go together; give both.")
    options.setdefault("tileable", "none")
    image, content = images.read_picture(image), images.read_picture(content)
    swatch, picture = luminance(image), luminance(content)
    maps, wanted = (
        (None, None) if labels is None or target is None else _masked(image, labels, target, picture.shape[:2])
    )
    spread = float(picture.std())
    picture = (picture - picture.mean()) * np.float32(swatch.std() / max(spread, 1e-6)) + swatch.mean()
    guides: list[Any] = [*options.pop("guides", ()), *([(swatch, picture, weight)] if weight > 0 else [])]
    request = Request(
        task="transfer",
        sources=[image],
        maps=maps,
        size=images.size(content) if size is None else size,
        constraints=Constraints(target=wanted),
        notes={
            "content": recipe.picture_entry(content, images.read_pixels(content)),
            "weight": weight,
            **({} if wanted is None else {"labels": list(wanted.names)}),
        },
    )
    return make(request, guides=guides, **options)


def _masked(
    image: ImageLike, labels: ImageLike, target: ImageLike, size: tuple[int, ...]
) -> tuple[list[np.ndarray], Target]:
    """Labels of the swatch's pixels, and which of them is wanted where in a content of a size."""
    maps, known = labelled(image, labels)
    wanted = wanted_labels(target, known, 0.0)
    if wanted.values.shape[-2:] != size:
        raise InputError("the target is a map of the content; give them one size.")
    return maps, wanted


def luminance(image: ImageLike) -> np.ndarray:
    """Of a picture, (H, W, 1), float32, in [0, 1]."""
    return np.asarray(images.read_pixels(image) @ LUMA[:, None], np.float32)
