"""Swatches as they are used: read, cut, turned, resized, with the labels of their pixels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from texgen.files import image as images
from texgen.files.image import Decoded, ImageLike
from texgen.materials.exemplar import Exemplar


def prepared(
    sources: Sequence[ImageLike | Decoded], maps: Sequence[np.ndarray] | None, preparation: dict[str, Any]
) -> tuple[list[Exemplar], list[tuple[int, int]]]:
    """Exemplars of swatches and of the labels of their pixels where there are any, and the swatches' own sizes.

    Args:
        sources: In their order; only the first is cropped.
        maps: Labels of the first ones, (H, W), uint8; the pixels of others have label 0. None where there are no labels.
        preparation: Keyword arguments of `image.prepare`.
    """
    found, sizes = [], []
    for index, source in enumerate(sources):
        options = preparation if index == 0 else {**preparation, "crop": None}
        name = images.name_of(source)
        pixels, labels = images.read_pixels(source), None
        sizes.append((pixels.shape[0], pixels.shape[1]))
        if maps is not None:
            labels = maps[index] if index < len(maps) else np.zeros(pixels.shape[:2], np.uint8)
            labels = images.prepare_map(labels, **_without_light(options))
        found.append(Exemplar(_prepared(pixels, name, options), labels))
    return found, sizes


def _prepared(pixels: np.ndarray, name: str, options: dict[str, Any]) -> np.ndarray:
    if any(options[key] for key in ("crop", "rotate", "size", "flatten_light")) or options["scale"] != 1:
        import torch

        tensor = torch.from_numpy(np.array(pixels)).permute(2, 0, 1)[None]
        pixels = images.prepare(tensor, name=name, **options)[0].permute(1, 2, 0).numpy()
    images.check_side(name, *pixels.shape[:2])
    return np.ascontiguousarray(pixels)


def _without_light(options: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in options.items() if key != "flatten_light"}
