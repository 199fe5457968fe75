"""Preparation of swatches: they are cut, turned, flattened and resized, with the labels of their pixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from texgen.errors import InputError, OptionError
from texgen.files.encoding import PRECISION, Encoding, weighted
from texgen.files.image import Picture
from texgen.materials.exemplar import Exemplar
from texgen.materials.uneven_light import flattened

if TYPE_CHECKING:
    from torch import Tensor

MIN_SIDE = 64


@dataclass(frozen=True, kw_only=True)
class Preparation:
    """What is done to a swatch: it is cut, turned, flattened and resized, in this order. By default its pixels stay as they are.

    Attributes:
        crop: (left, top, width, height) in pixels.
        rotate: Degrees counterclockwise: 0, 90, 180 or 270.
        scale: Factor of its size; a larger one makes the features larger in the result.
        size: Side of a square to which the whole swatch is resized, as in the published method; replaces `scale`.
        flatten_light: Whether slow changes of brightness are removed, see `flattened`.
    """

    crop: Sequence[int] | None = None
    rotate: int = 0
    scale: float = 1.0
    size: int | None = None
    flatten_light: bool = False

    def cut(self, shape: Sequence[int]) -> tuple[slice, slice]:
        """Rows and columns of a swatch (height, width) that are used, before it is turned.

        Raises:
            OptionError: The crop reaches outside the swatch.
        """
        left, top, w, h = (0, 0, shape[1], shape[0]) if self.crop is None else self.crop
        if min(left, top) < 0 or min(w, h) < 1 or left + w > shape[1] or top + h > shape[0]:
            raise OptionError(f"crop={left},{top},{w},{h} lies outside the {shape[1]}x{shape[0]} swatch.")
        return slice(top, top + h), slice(left, left + w)

    def resized(self, shape: Sequence[int]) -> tuple[int, int]:
        """(height, width) to which a turned swatch is resized."""
        height, width = (round(side * self.scale) for side in shape)
        return (self.size, self.size) if self.size else (height, width)

    def turned(self, image: np.ndarray) -> np.ndarray:
        """A swatch or one of its maps, (H, W, ...), cut and turned."""
        return np.rot90(image[self.cut(image.shape)], self.rotate // 90)

    def colours(self, pixels: np.ndarray, name: str = "swatch") -> np.ndarray:
        """The pixels of a swatch, prepared.

        Args:
            pixels: Pixels as they are seen, see `texgen.files.encoding.Encoding`: (H, W, 3) or (H, W, 4).
            name: Name for messages.

        Raises:
            OptionError: See `cut`.
            InputError: The prepared swatch has a side under 64 px.
        """
        image = self.turned(pixels)
        if self.flatten_light:
            light = as_array(flattened(as_tensor(image[..., :3])))
            image = np.concatenate([light, image[..., 3:]], -1)
        target = self.resized(image.shape[:2])
        check_side(name, *target)
        if target != image.shape[:2]:
            image = resampled(image, target).clip(min(0.0, image.min()), max(1.0, image.max()))
        return np.ascontiguousarray(image)

    def labels(self, labels: np.ndarray) -> np.ndarray:
        """A map (H, W) of integers, prepared like its swatch, but resized by nearest neighbour."""
        turned = self.turned(labels)
        rows, columns = (
            ((np.arange(wanted) + 0.5) * (have / wanted)).astype(np.int64)
            for have, wanted in zip(turned.shape, self.resized(turned.shape), strict=True)
        )
        return np.ascontiguousarray(turned[rows[:, None], columns])


def prepared(
    pictures: Sequence[Picture], maps: Sequence[np.ndarray] | None, preparation: Preparation
) -> list[Exemplar]:
    """Prepare swatches, with the labels of their pixels if there are any. If one has alpha, all exemplars have it.

    Args:
        pictures: The swatches, of which only the first is cropped.
        maps: Labels of the first swatches, (H, W), uint8; pixels of the others have label 0. None if there are no labels.
        preparation: Preparation of all swatches.
    """
    found = []
    for index, picture in enumerate(with_alpha(pictures)):
        own, labels = preparation if index == 0 else replace(preparation, crop=None), None
        if maps is not None:
            whole = maps[index] if index < len(maps) else np.zeros(picture.pixels.shape[:2], np.uint8)
            labels = own.labels(whole)
        found.append(Exemplar(own.colours(picture.pixels, picture.name), labels))
    return found


def with_alpha(pictures: Sequence[Picture]) -> list[Picture]:
    """Pictures that all have alpha if one of them has it; it is opaque where it is new."""
    if not any(picture.pixels.shape[2] == 4 for picture in pictures):
        return [*pictures]
    return [
        picture if picture.pixels.shape[2] == 4 else replace(picture, pixels=opaque(picture.pixels))
        for picture in pictures
    ]


def result_encoding(pictures: Sequence[Picture], depth: str | None) -> Encoding:
    """Encoding of a texture made from pictures: the depth of the first, unless another is given; in colour and with alpha if one of them is.

    Rounding is dithered if it reduces the depth.
    """
    own = pictures[0].encoding.depth
    wanted = depth or own
    return Encoding(
        depth=wanted,
        colours=max(picture.encoding.colours for picture in pictures),
        alpha=any(picture.pixels.shape[2] == 4 for picture in pictures),
        dithered=PRECISION[wanted] < PRECISION[own],
    )


def opaque(pixels: np.ndarray) -> np.ndarray:
    """Colours (H, W, 3) with alpha 1, as they are seen, see `texgen.files.encoding.Encoding`."""
    return weighted(np.concatenate([pixels, np.ones_like(pixels[..., :1])], -1))


def resampled(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """An image (H, W, C) resized to (height, width) by bicubic interpolation, antialiased where it shrinks; float32."""
    import torch.nn.functional as F

    return as_array(F.interpolate(as_tensor(image), size, mode="bicubic", antialias=True, align_corners=False))


def as_tensor(image: np.ndarray) -> Tensor:
    """An image (H, W, C) as a tensor (1, C, H, W), float32."""
    import torch

    return torch.from_numpy(np.array(image, np.float32)).permute(2, 0, 1)[None]


def as_array(image: Tensor) -> np.ndarray:
    """The inverse of `as_tensor`."""
    return image[0].permute(1, 2, 0).numpy()


def check_side(name: str, height: int, width: int) -> None:
    """Refuse a swatch with a side under `MIN_SIDE`."""
    if min(height, width) < MIN_SIDE:
        raise InputError(f"{name}: {width}x{height} px is too small; at least {MIN_SIDE} px a side are needed.")
