"""Swatches as they are used: read, cut, turned, resized, with the labels of their pixels."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from texgen import image as images
from texgen.image import NONE, ImageLike
from texgen.job import Exemplar

if TYPE_CHECKING:
    from torch import Tensor


def prepared(
    sources: Sequence[ImageLike], maps: Sequence[Tensor] | None, preparation: dict[str, Any]
) -> tuple[list[Exemplar], list[tuple[int, int]]]:
    """Exemplars of swatches and of the labels of their pixels where there are any; a hole is filled in smoothly. And the swatches' own sizes.

    Args:
        sources: In their order; only the first is cropped.
        maps: Labels of the first ones, (H, W), uint8; the pixels of others have label 0. None where there are no labels.
        preparation: Keyword arguments of `image.prepare`.
    """
    found, sizes = [], []
    for index, source in enumerate(sources):
        options = preparation if index == 0 else {**preparation, "crop": None}
        name = Path(source).name if isinstance(source, str | Path) else "swatch"
        pixels, labels = images.read_pixels(source), None
        sizes.append((pixels.shape[0], pixels.shape[1]))
        if maps is not None:
            labels = maps[index].numpy() if index < len(maps) else np.zeros(pixels.shape[:2], np.uint8)
            pixels, labels = _filled(pixels, labels), _turned(labels, options)
        found.append(Exemplar(_prepared(pixels, name, options), labels))
    return found, sizes


def _prepared(pixels: np.ndarray, name: str, options: dict[str, Any]) -> np.ndarray:
    if any(options[key] for key in ("crop", "rotate", "size", "flatten_light")) or options["scale"] != 1:
        import torch

        tensor = torch.from_numpy(np.array(pixels)).permute(2, 0, 1)[None]
        pixels = images.prepare(tensor, name=name, **options)[0].permute(1, 2, 0).numpy()
    images.check_side(name, *pixels.shape[:2])
    return np.ascontiguousarray(pixels)


def _filled(pixels: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """A picture whose pixels without a label are carried on smoothly from the others."""
    if not (labels == NONE).any():
        return pixels
    import torch

    from texgen.keep import filled_in

    tensor = torch.from_numpy(np.array(pixels)).permute(2, 0, 1)[None]
    return filled_in(tensor, torch.from_numpy(labels != NONE))[0].permute(1, 2, 0).numpy()


def _turned(labels: np.ndarray, options: dict[str, Any]) -> np.ndarray:
    import torch

    same = {key: value for key, value in options.items() if key != "flatten_light"}
    return images.prepare_map(torch.from_numpy(labels), **same).numpy()
