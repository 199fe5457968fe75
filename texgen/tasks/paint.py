"""The verb `paint`: several materials in one texture, placed by a label map."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Unpack

import numpy as np

from texgen.errors import InputError, OptionError
from texgen.files import image as images
from texgen.files.image import ImageLike, Picture
from texgen.job import Constraints
from texgen.materials.labels import Label, Target, indexed, label_value, read_values, soft_target, written
from texgen.runs import digests
from texgen.tasks.checks import verb
from texgen.tasks.knobs import PaintKnobs
from texgen.tasks.make import Request, make
from texgen.tasks.options import Options
from texgen.tasks.result import Result

TargetLike = ImageLike | Mapping[Label, ImageLike]


@verb(PaintKnobs)
def paint(
    swatches: ImageLike | Mapping[Label, ImageLike],
    target: TargetLike,
    labels: ImageLike | None = None,
    size: int | tuple[int, int] | None = None,
    *,
    softness: float = 0.0,
    content_weight: float | None = None,
    **options: Unpack[Options],
) -> Result:
    """Make a texture of several materials, each where a map wants it (masked AD).

    A region never shows a patch of another label. Near its border, patches are preferred that are equally far from a border of the same two
    materials in the swatch, if it has one. In a Stable Diffusion model every token attends to keys and values of its own label only. The start is
    the published one, random pixels of the same label; a canvas of one tile is made by Algorithm 1, a larger one by Algorithm 2 in tiles.

    Args:
        swatches: One swatch, with `labels`; or a swatch for each label: `{"green": "grass.png", "#808080": stone}`. A label is a
            colour, by name, as #rrggbb or as a grey level (`"1"`), or a value of an integer array.
        target: The wanted label map: a picture in the colours of the labels, or an integer array (H, W). Or a grey picture for each
            label, brighter where there is more of it; the materials then interlock.
        labels: Label map of the single swatch, of its size.
        size: Size of the result; the target's own by default.
        softness: Width in pixels over which materials interlock along the borders of the map; 0 cuts them sharply.
        content_weight: How closely AD in a diffusion model follows the queries of the start (Eq. 4); 0.15 by default, 0 turns this off.
        options: See `texgen.Options`.

    Raises:
        InputError: No swatch has a label of the target, a label map and its swatch differ in size, or there are too many colours.
        OptionError, ModelError, ResourceError: As in `expand`.

    Example:
        >>> materials = {"green": "grass.png", "grey": "stone.png"}
        >>> paint(materials, "map.png", seed=7).save("out.png")  # doctest: +SKIP

    References:
        Attention Distillation, CVPR 2025, https://arxiv.org/abs/2502.20235, controlled texture synthesis.
    """
    if options.get("crop") is not None and isinstance(swatches, Mapping):
        raise OptionError("crop is for a single swatch; crop each of several before.")
    if isinstance(target, Mapping) and len({label_value(label) for label in target}) in (0, len(target) - 1):
        raise OptionError("weight maps: give one picture to each label, and at least one.")
    if options.get("exemplars"):
        raise OptionError("exemplars do not go with labels; give each label a swatch of its own.")
    sources, maps, known = _sources(swatches, labels)
    wanted = wanted_labels(target, known, softness)
    task = Request(
        task="paint",
        sources=sources,
        size=wanted.values.shape[-2:] if size is None else size,
        maps=maps,
        constraints=Constraints(target=wanted, content_weight=content_weight),
        notes={
            "labels": list(wanted.names),
            "label_maps": digests.digest(maps),
            "target": digests.digest([wanted.values]),
            "softness": softness,
        },
    )
    return make(task, **options)


def _sources(
    swatches: ImageLike | Mapping[Label, ImageLike], labels: ImageLike | None
) -> tuple[list[ImageLike], list[np.ndarray], list[int]]:
    """Swatches, the label index of each of their pixels, and the label that each index stands for."""
    if isinstance(swatches, Mapping):
        pictures = [images.read_picture(swatch) for swatch in swatches.values()]
        if labels is not None:
            raise OptionError("labels are for a single swatch; each of several has its own label.")
        if not swatches:
            raise OptionError("no swatch is given; give at least one with its label.")
        known = [label_value(label) for label in swatches]
        if len(set(known)) < len(known):
            raise OptionError("two swatches have the same label; give each its own colour.")
        maps = [np.full(picture.size, index, np.uint8) for index, picture in enumerate(pictures)]
        return [*pictures], maps, known
    if labels is None:
        raise OptionError("labels, the map of the swatch, is missing; or give a swatch for each label.")
    picture = images.read_picture(swatches)
    maps, known = labelled(picture, labels)
    return [picture], maps, known


def labelled(swatch: Picture, labels: ImageLike) -> tuple[list[np.ndarray], list[int]]:
    """The label map of one swatch as a list of one array of indices, (H, W), uint8; and the label that each index stands for.

    Raises:
        InputError: The map differs in size from the swatch, or has too many colours.
    """
    values = read_values(labels, "labels")
    known = np.unique(values).tolist()
    shape = swatch.size
    if values.shape != shape:
        raise InputError(
            f"the swatch is {shape[1]}x{shape[0]} px, its label map {values.shape[1]}x{values.shape[0]}; give them one size."
        )
    return [indexed(values, known, "labels")], known


def wanted_labels(target: TargetLike, known: list[int], softness: float) -> Target:
    """Read a target as the user gives it.

    Raises:
        InputError: It has an unknown label.
    """
    if isinstance(target, Mapping):
        return soft_target({label_value(label): source for label, source in target.items()}, known, softness)
    return Target(
        indexed(read_values(target, "target"), known, "target"), [written(value) for value in known], softness
    )
