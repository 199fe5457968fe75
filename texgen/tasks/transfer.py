"""The verb `transfer`: show the structure of a picture in a swatch's material or style."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Unpack

import numpy as np

from texgen.errors import InputError, OptionError
from texgen.files import image as images
from texgen.files.image import ImageLike, Picture
from texgen.job import Constraints, Content, TransferMode
from texgen.materials.labels import Target
from texgen.runs import digests
from texgen.swatch.model import NAME
from texgen.tasks.checks import verb
from texgen.tasks.knobs import TransferKnobs
from texgen.tasks.make import Request, make
from texgen.tasks.options import Options
from texgen.tasks.paint import labelled, wanted_labels
from texgen.tasks.result import Result

LUMA = np.array([0.299, 0.587, 0.114], np.float32)


@verb(TransferKnobs)
def transfer(
    image: ImageLike,
    content: ImageLike,
    size: int | tuple[int, int] | None = None,
    *,
    weight: float | None = None,
    mode: TransferMode | None = None,
    content_weight: float | None = None,
    labels: ImageLike | None = None,
    target: ImageLike | None = None,
    **options: Unpack[Options],
) -> Result:
    """Render a picture in the material or style of the swatch.

    The swatch model makes an image analogy by luminance: the content's luminance is scaled to the mean and deviation of the swatch's, and patches
    are chosen by how well they match it and how well they fit together. A diffusion model runs Algorithm 1 of attention distillation: it starts from
    the latents of the picture and lowers the AD loss to the swatch and the content loss to the picture, in tiles of the model's native size.

    Args:
        image: The swatch, as in `expand`.
        content: The picture whose structure is shown.
        size: Size of the result; the content's own by default.
        weight: Swatch model only: how closely the content is followed; 1 by default, 0 ignores it.
        mode: Diffusion models only: `style`, the default, keeps more of the content than `appearance`.
        content_weight: Diffusion models only: weight of the content loss, in place of the mode's 0.25 for `style` and 0.2 for
            `appearance` (0.2 for both on Stable Diffusion XL).
        labels: Label map of the swatch, as in `paint`.
        target: Label map of the content: the label to show at each place. Required if `labels` is given.
        options: See `texgen.Options`; `tileable` is `none` by default.

    Raises:
        OptionError: Only one of `labels` and `target` is given, or an option belongs to the other kind of model.
        InputError, ModelError, ResourceError: As in `expand`.

    References:
        Hertzmann et al., "Image Analogies", SIGGRAPH 2001, https://doi.org/10.1145/383259.383295, section 3.3; Attention Distillation,
        CVPR 2025, https://arxiv.org/abs/2502.20235, Algorithm 1.
    """
    by_swatch = options.get("model", NAME) == NAME
    _check(by_swatch, weight, mode)
    options.setdefault("tileable", "none")
    swatch, picture = images.read_picture(image), images.read_picture(content)
    pixels = images.read_pixels(picture)
    maps, wanted = _masked(swatch, labels, target, pixels.shape[:2])
    given = Constraints(target=wanted, content_weight=content_weight)
    notes: dict[str, Any] = {"content": digests.picture_entry(picture, pixels)}
    notes |= {} if wanted is None else {"labels": list(wanted.names)}
    more: dict[str, Any] = dict(options)
    if by_swatch:
        notes["weight"] = 1.0 if weight is None else weight
        if weight != 0:
            more["guides"] = [*options.get("guides", ()), _guide(swatch, picture, notes["weight"])]
    else:
        notes["mode"] = mode or "style"
        given = replace(given, content=Content(pixels, notes["mode"]))
    size = picture.size if size is None else size
    request = Request(task="transfer", sources=[swatch], maps=maps, size=size, constraints=given, notes=notes)
    return make(request, **more)


def _check(by_swatch: bool, weight: float | None, mode: TransferMode | None) -> None:
    """Refuse options of the other kind of model."""
    if by_swatch and mode is not None:
        raise OptionError(f"mode={mode!r} is for diffusion models; leave it out, or choose another model.")
    if not by_swatch and weight is not None:
        raise OptionError(f"weight={weight} is for the swatch model; use content_weight.")


def _guide(swatch: Picture, picture: Picture, weight: float) -> tuple[np.ndarray, np.ndarray, float]:
    """The guide: luminance of the swatch, that of the picture scaled to the swatch's mean and deviation, and the weight."""
    own, shown = luminance(swatch), luminance(picture)
    spread = max(float(shown.std()), 1e-6)
    return own, (shown - shown.mean()) * np.float32(own.std() / spread) + own.mean(), weight


def _masked(
    image: Picture, labels: ImageLike | None, target: ImageLike | None, size: tuple[int, ...]
) -> tuple[list[np.ndarray] | None, Target | None]:
    """Labels of the swatch's pixels, and the target for a content of size (height, width); both None if neither is given."""
    if labels is None and target is None:
        return None, None
    if labels is None or target is None:
        raise OptionError("labels, the map of the swatch, and target, the map of the content, go together; give both.")
    maps, known = labelled(image, labels)
    wanted = wanted_labels(target, known, 0.0)
    if wanted.values.shape[-2:] != size:
        raise InputError("the target is a map of the content; give them one size.")
    return maps, wanted


def luminance(image: ImageLike) -> np.ndarray:
    """Luminance of a picture, (H, W, 1), float32, in [0, 1]."""
    return np.asarray(images.read_pixels(image) @ LUMA[:, None], np.float32)
