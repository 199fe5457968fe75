"""Label maps, which say which material goes where: users give colours or integers, which become indices."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageColor

from texgen.errors import InputError, OptionError
from texgen.files import image as images
from texgen.files.image import ImageLike
from texgen.files.pixels import rounded
from texgen.materials.exemplar import NONE
from tiling import Size, Wrap

MOST = 64
EXACT = 1 / 1000
"""Largest distance of a label in a deeper picture from a level of 8 bits, in such levels."""
BLURS = 3
LATTICE_PX, REACH_PX = 4, 96
Label = str | int


def label_value(label: Label) -> int:
    """The number of a label: 0xRRGGBB for a colour name, #hex or grey level; an integer stays as it is.

    Raises:
        OptionError: The name is not a colour, or the grey level is over 255.

    Example:
        >>> label_value("lime"), label_value("#00ff00"), label_value("2") == label_value("#020202"), label_value(3)
        (65280, 65280, True, 3)
    """
    if isinstance(label, int):
        return label
    if label.isdecimal():
        if (level := int(label)) > 255:
            raise OptionError(f"label {label!r} is no grey level; use one from 0 to 255.")
        return level * 0x010101
    try:
        red, green, blue = ImageColor.getrgb(label)[:3]
    except ValueError as error:
        raise OptionError(
            f"label {label!r} is no colour; use a name such as 'green', '#00ff00', or a grey level such as '1'."
        ) from error
    return red << 16 | green << 8 | blue


def read_values(source: ImageLike, name: str) -> np.ndarray:
    """Read a map of labels, (H, W), int64: integers as they are, colours as 0xRRGGBB.

    Args:
        source: A picture whose colours are the labels, or an integer array or tensor (H, W).
        name: Name for messages.

    Raises:
        InputError: See `image.read_picture`; there are more than `MOST` labels, as from smoothed borders or JPEG noise; or 8 bits do not
            tell the labels apart.
    """
    plain = np.zeros(0) if isinstance(source, str | Path | Image.Image) else np.asarray(source)  # or a tensor
    if plain.ndim == 2 and plain.dtype.kind in "iub":
        values = plain.astype(np.int64)
    else:
        picture = images.read_picture(source)
        pixels = images.read_pixels(picture)
        colours = rounded(pixels, np.uint8).astype(np.int64)
        if picture.encoding.depth != "8" and np.abs(pixels * 255 - colours).max() > EXACT:
            raise InputError(f"{name}: has labels that 8 bits do not tell apart; save it with 8 bits a channel.")
        values = colours[..., 0] << 16 | colours[..., 1] << 8 | colours[..., 2]
    found = len(np.unique(values))
    if found > MOST:
        raise InputError(
            f"{name}: {found} colours are too many for labels (at most {MOST}); save it as PNG, without smoothed borders."
        )
    return values


def indexed(values: np.ndarray, known: Sequence[int], name: str) -> np.ndarray:
    """Label values (H, W) as indices into `known`, uint8.

    Raises:
        InputError: A value is not known; the message says which one, on how many pixels, and where the first is.
    """
    indices = np.full(values.shape, NONE, np.uint8)
    for index, value in enumerate(known):
        indices[values == value] = index
    missing = np.argwhere(indices == NONE)
    if len(missing):
        y, x = missing[0].tolist()
        value = int(values[y, x])
        others = len(np.unique(values[indices == NONE])) - 1
        raise InputError(
            f"{name}: label {written(value)} ({int((values == value).sum())} px, the first at x={x}, y={y}) has no swatch; "
            f"there are {', '.join(map(written, known))}"
            + (f"; {others} more have none: a JPEG, or smoothed borders? Save maps as PNG, without." if others else ".")
        )
    return indices


def written(value: int) -> str:
    """A label as users write it."""
    return f"#{value:06x}"


@dataclass(frozen=True)
class Target:
    """Which material a painted texture should show where.

    Attributes:
        values: Labels (H, W), uint8; or weights of the labels (labels, H, W), float32, which sum to 1.
        names: Names of the labels, as users write them.
        softness: Width in px over which neighbouring materials interlock.
    """

    values: np.ndarray
    names: Sequence[str]
    softness: float = 0.0

    @property
    def count(self) -> int:
        """Number of labels."""
        return len(self.names)

    def on_canvas(self, size: Size, canvas: Size, wrap: Wrap, seed: int) -> np.ndarray:
        """One label for every pixel, (canvas height, canvas width), uint8; soft weights become ragged borders.

        Where weights are soft, a pixel takes label l with probability w_l, and neighbouring pixels mostly agree: the label is
        argmax log w_l + g_l, with g_l smooth random fields of Gumbel distribution (the Gumbel-max trick). A mixture of
        colours would show both materials at half their contrast; interlocking patches show each as it is.

        Args:
            size: Size of the result in px, to which the map is resized by nearest neighbour.
            canvas: Size of the canvas in px, at least `size`; beyond the result, its border is repeated.
            wrap: Axes that wrap around.
            seed: Seed of the random fields.
        """
        values = _resized(self.values, size, canvas)
        hard = values.ndim == 2
        if hard and not self.softness:
            return values
        weights = np.stack([values == n for n in range(self.count)]).astype(np.float32) if hard else values
        best = np.full(canvas, -np.inf, np.float32)
        labels = np.zeros(canvas, np.uint8)
        seeds = np.random.SeedSequence(seed).generate_state(self.count, np.uint64)
        for index, weight in enumerate(weights):
            with np.errstate(divide="ignore"):
                score = np.log(_blurred(weight, self.softness, wrap)) + _gumbel(canvas, int(seeds[index]))
            labels[score > best] = index
            best = np.maximum(best, score)
        return labels


def _resized(values: np.ndarray, size: Size, canvas: Size) -> np.ndarray:
    """Values (..., H, W) resized by nearest neighbour, with the border repeated to the end of the canvas."""
    rows, columns = (
        ((np.arange(whole).clip(max=wanted - 1) + 0.5) * have / wanted).astype(np.int64)
        for whole, wanted, have in zip(canvas, size, values.shape[-2:], strict=True)
    )
    return np.ascontiguousarray(values[..., rows[:, None], columns])


def soft_target(maps: Mapping[int, ImageLike], known: Sequence[int], softness: float) -> Target:
    """A target from one grey picture per label, brighter where there is more of it; the weights are normalised to sum to 1.

    Raises:
        InputError: A label has no swatch, maps differ in size, or a pixel is black in all of them.
    """
    strangers = [written(value) for value in maps if value not in known]
    if strangers:
        raise InputError(f"label {strangers[0]} has no swatch; there are {', '.join(map(written, known))}.")
    greys = {value: images.read_pixels(source).mean(-1) for value, source in maps.items()}
    shapes = sorted({f"{grey.shape[1]}x{grey.shape[0]}" for grey in greys.values()})
    if len(shapes) > 1:
        raise InputError(f"weight maps have different sizes: {', '.join(shapes)}; give them one size.")
    shape = next(iter(greys.values())).shape
    weights = np.stack([greys.get(value, np.zeros(shape, np.float32)) for value in known])
    total = weights.sum(0)
    if float(total.min()) <= 0:
        y, x = np.argwhere(total <= 0)[0].tolist()
        raise InputError(f"all weight maps are black at x={x}, y={y}; at least one label must have a weight there.")
    return Target(weights / total, [written(value) for value in known], softness)


def _blurred(weight: np.ndarray, softness: float, wrap: Wrap) -> np.ndarray:
    """A weight (H, W) box-blurred `BLURS` times, together about as wide as `softness`."""
    from scipy.ndimage import uniform_filter

    radius = min(math.ceil(softness / (2 * BLURS)), min(weight.shape) // 2 - 1)
    modes = ["wrap" if ring else "nearest" for ring in wrap]
    for _ in range(BLURS if radius > 0 else 0):
        weight = uniform_filter(weight, 2 * radius + 1, mode=modes)
    return np.maximum(weight, 0)


def _gumbel(size: Size, seed: int) -> np.ndarray:
    """A smooth, periodic random field (H, W) of Gumbel distribution, with patches of all sizes up to `REACH_PX`."""
    from scipy.special import ndtr

    coarse = [-(-side // LATTICE_PX) for side in size]
    white = np.random.default_rng(seed).standard_normal(coarse)
    frequency = np.hypot(np.fft.fftfreq(coarse[0])[:, None], np.fft.rfftfreq(coarse[1]))
    response = 1 / (np.square(frequency) + (LATTICE_PX / REACH_PX) ** 2)
    field = np.fft.irfft2(np.fft.rfft2(white) * response, s=coarse)
    uniform = ndtr((field - field.mean()) / field.std()).clip(1e-6, 1 - 1e-6).astype(np.float32)
    smooth = Image.fromarray(uniform).resize(size[::-1], Image.Resampling.BILINEAR)
    return -np.log(-np.log(np.asarray(smooth)))
