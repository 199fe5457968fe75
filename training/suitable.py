"""Selection of textures from images, by words in the path and by measurements on pixels."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Iterator

import numpy as np
from PIL import Image

CROP_PX = 768
"""Largest side of a crop; it leaves room for different tiles of 512 px."""
MIN_CROP_PX = 512
MIN_SIDE_PX = 256
"""Smallest side of an image. Images smaller than MIN_CROP_PX are used only if they tile, repeated to that size."""
CROPS_PER_IMAGE = 5

NOT_TEXTURES = re.compile(
    r"(?:^|[/_\-.!])(?:n|nm|nrm|nor|norm|normals?|normalmap|bump|heights?|hmap|local|spec|specular|gloss|glow|luma|mask|masks|alpha|"
    r"ao|shadow|shadows|reflect|env|envmap|cube|cubemap|decals?|light|lights|lightmap|lm|mr|pbr|rough|"
    r"icons?|pixmaps|gfx|gui|ui|hud|menu|cursors?|fonts?|glyphs?|logos?|signs?|text|flags?|buttons?|loading|splash|"
    r"levelshots?|screenshots?|preview|thumb\w*|minimap|map|maps|portraits?|faces?|skins?|players?|models?|instruments?|"
    r"sky\w*|skies|clouds?|stars?|planets?|space|sun|moon|earth|flares?|particles?|explo\w*|smoke|flames?|fire|sprites?|"
    r"billboards?|trees?|banners?|posters?|ads?|video\w*|screens?|displays?|monitors?|credits|title|campaign|"
    r"runways?|doors?|avatars?|wicons|tanks|windows|races?|rally|emblems?|color_?map|palette|gradient|test|debug|missing|notexture)"
    r"(?:\d*)(?=$|[/_\-.!])",
    re.IGNORECASE,
)
"""Words in a path that name something other than a surface."""


def decode(content: bytes) -> np.ndarray | str:
    """Decode an image to (H, W, 3) uint8, or give the reason why it cannot be used."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            picture = Image.open(io.BytesIO(content))
            if min(picture.size) < MIN_SIDE_PX:
                return "too small"
            if max(picture.size) > 12 * min(picture.size) or picture.size[0] * picture.size[1] > 2**27:
                return "shape"
            if "A" in picture.getbands() or "transparency" in picture.info:
                alpha = np.asarray(picture.convert("RGBA"))[..., 3]
                if (alpha < 250).mean() > 0.002:
                    return "transparent"
            return np.array(picture.convert("RGB"))
    except Exception:
        return "unreadable"


def cuts(image: np.ndarray) -> Iterator[tuple[int, int, float, int, np.ndarray]]:
    """Crops of an image at its own scale, at half and at a quarter of it, as (left, top, scale, period, pixels)."""
    height, width = image.shape[:2]
    if min(height, width) < MIN_CROP_PX:
        if height == width and MIN_CROP_PX % height == 0 and tiles(image):
            yield 0, 0, 1.0, height, np.tile(image, (MIN_CROP_PX // height, MIN_CROP_PX // height, 1))
        return
    scale, count = 1.0, 0
    while min(image.shape[:2]) >= MIN_CROP_PX and scale >= 0.25:
        for left, top, crop in _spread(image, limit=max(1, CROPS_PER_IMAGE - 1 - count)):
            yield left, top, scale, 0, crop
            count += 1
        half = Image.fromarray(image).reduce(2)
        image, scale = np.array(half), scale / 2


def _spread(image: np.ndarray, limit: int) -> Iterator[tuple[int, int, np.ndarray]]:
    height, width = image.shape[:2]
    side = min(height, width, CROP_PX)
    rows, columns = height // side, width // side
    places = [
        (int((width - side) * (x + 0.5) / columns), int((height - side) * (y + 0.5) / rows))
        for y in range(rows)
        for x in range(columns)
    ]
    for left, top in places[:: max(1, -(-len(places) // limit))]:
        yield left, top, image[top : top + side, left : left + side]


def tiles(image: np.ndarray) -> bool:
    """Whether an image tiles: the step across its border is no larger than those inside, on both axes."""
    values = image.astype(np.float32)
    for axis in (0, 1):
        steps = np.abs(np.diff(values, axis=axis)).mean((1 - axis, 2))
        wrap = np.abs(np.take(values, 0, axis) - np.take(values, -1, axis)).mean()
        if wrap > np.percentile(steps, 98) + 1:
            return False
    return True


def unsuitable(crop: np.ndarray) -> str | None:
    """The reason why a crop (S, S, 3) is not a stationary texture, by measurements; None if it is one."""
    values = crop.astype(np.float32)
    red, green, blue = values.reshape(-1, 3).mean(0)
    if blue > 150 and 95 < red < 160 and 95 < green < 160 and blue > max(red, green) + 40:
        return "normal map"
    gray = values.mean(2)
    if gray.std() < 3.5:
        return "flat"
    if len(np.unique((crop[::4, ::4] >> 3).reshape(-1, 3), axis=0)) < 24:
        return "few colours"
    side = crop.shape[0] // 4 * 4
    cells = values[:side, :side].reshape(4, side // 4, 4, side // 4, 3).transpose(0, 2, 1, 3, 4).reshape(16, -1, 3)
    means, spreads = cells.mean(1), cells.std(1).mean(1)
    if (means.max(0) - means.min(0)).max() > 60 or means.std(0).mean() > 0.55 * values.std((0, 1)).mean():
        return "uneven"
    if spreads.max() > 3.5 * spreads.min() + 2:
        return "uneven contrast"
    steps = np.abs(np.diff(gray, axis=1))
    if (steps == 0).mean() > 0.7:
        return "drawn"
    grain = steps[:side, : side - 1]
    busy = np.array([[part.mean() for part in np.array_split(row, 4, 1)] for row in np.array_split(grain, 4, 0)])
    if busy.max() > 4 * busy.min() + 0.5:
        return "uneven grain"
    return None


def thumbnail(image: np.ndarray) -> np.ndarray:
    """A 32x32 gray thumbnail with zero mean and unit norm, for comparing images."""
    small = np.asarray(Image.fromarray(image).convert("L").resize((32, 32), Image.Resampling.BOX), np.float32)
    small = small - small.mean()
    return small / max(float(np.linalg.norm(small)), 1e-6)


def shifted_likeness(a: np.ndarray, b: np.ndarray) -> float:
    """Largest correlation of two thumbnails over all circular shifts, quarter turns and flips."""
    spectrum = np.fft.rfft2(a)
    best = 0.0
    for flipped in (b, b[:, ::-1]):
        for turns in range(4):
            product = spectrum * np.conj(np.fft.rfft2(np.rot90(flipped, turns)))
            best = max(best, float(np.fft.irfft2(product, s=a.shape).max()))
    return best
