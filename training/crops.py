"""Training batches from a folder of crops: random windows of the same texture with the same augmentation. A batch depends
only on seed and step, so that a resumed run sees the same batches as an uninterrupted one."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from texgen.errors import InputError
from training.manifest import Crop, read_manifest

CACHE_BYTES = 5 * 2**30
PERIODIC_SHARE = 0.25
"""Largest share of crops that repeat exactly; a network that sees too many learns to repeat."""


class Crops:
    """The crops of a folder made by `python -m training data`. Some are held out, chosen by a hash of their origin.

    Args:
        folder: Folder with `manifest.csv`.
        held_out: Share of original images whose crops are used for validation only.
        zoom: Half of the windows are zoomed by up to this factor, in or out; with 1 there is no zoom.

    Raises:
        InputError: There is no manifest, or there are too few crops.
    """

    def __init__(self, folder: Path, held_out: float = 0.03, zoom: float = 1.5) -> None:
        manifest = folder / "manifest.csv"
        if not manifest.is_file():
            raise InputError(f"{folder}: no manifest.csv; make the folder with `python -m training data`.")
        rows = [row for row in read_manifest(manifest) if (folder / row.file).is_file()]
        self.folder = folder
        self.zoom = zoom
        self.validation = [row for row in rows if _fraction(row) < held_out]
        training = [row for row in rows if _fraction(row) >= held_out]
        self._plain = [row for row in training if not row.period]
        self._periodic = [row for row in training if row.period]
        if not self.validation:
            self.validation = training[:: max(1, len(training) // 8)]
        if len(training) < 2:
            raise InputError(f"{folder}: {len(rows)} crops; at least a few are needed (hundreds for a usable model).")
        self._cache: OrderedDict[str, np.ndarray] = OrderedDict()
        self._cached_bytes = 0

    def __len__(self) -> int:
        return len(self._plain) + len(self._periodic)

    def pixels(self, row: Crop) -> np.ndarray:
        """Pixels of a crop, (S, S, 3) uint8, from memory if it was read recently."""
        if row.file not in self._cache:
            image = np.asarray(Image.open(self.folder / row.file).convert("RGB"))
            self._cache[row.file] = image
            self._cached_bytes += image.nbytes
            while self._cached_bytes > CACHE_BYTES:
                self._cached_bytes -= self._cache.popitem(last=False)[1].nbytes
        return self._cache[row.file]

    def samples(self, count: int) -> list[Crop]:
        """Up to `count` held-out crops, always the same, spread over all sources."""
        return self.validation[:: max(1, len(self.validation) // count)][:count]

    def windows(self, seed: int, step: int, batch: int, side: int, count: int) -> Tensor:
        """`count` windows of each of `batch` textures, (count * batch, 3, side, side) in [-1, 1].

        Window k of texture i has index k * batch + i. Windows of one texture have the same rotation, flip, zoom and change of colour.
        """
        rng = np.random.default_rng((seed, step))
        chosen = [self._drawn(rng, side) for _ in range(batch)]
        groups = [augmented_windows(self.pixels(row), side, count, rng, self.zoom) for row in chosen]
        return torch.stack(groups, 1).flatten(0, 1)

    def _drawn(self, rng: np.random.Generator, side: int) -> Crop:
        share = min(PERIODIC_SHARE, len(self._periodic) / len(self))
        pool = self._periodic if self._periodic and (not self._plain or rng.random() < share) else self._plain
        for _ in range(64):
            row = pool[rng.integers(len(pool))]
            if row.side >= side:
                return row
        raise InputError(f"{self.folder}: hardly any crop is {side} px wide; train on smaller tiles.")


def crop(image: np.ndarray, side: int, place: float) -> Tensor:
    """A window of an image (H, W, 3) uint8 as (1, 3, side, side) in [-1, 1]; `place` 0 is top left, 1 bottom right."""
    top, left = (round((size - side) * place) for size in image.shape[:2])
    values = torch.from_numpy(image[top : top + side, left : left + side].copy())
    return values.permute(2, 0, 1)[None].float() / 127.5 - 1


def augmented_windows(image: np.ndarray, side: int, count: int, rng: np.random.Generator, most: float = 1.5) -> Tensor:
    """`count` windows (count, 3, side, side) in [-1, 1] of one image (S, S, 3), with the same augmentation.

    Half the time they have the image's own scale, else they are zoomed by 1 / `most` to `most`, as far as its size allows. They are
    rotated by quarter turns, flipped and `recoloured` at random.
    """
    zoom = 1.0 if rng.random() < 0.5 else most ** float(rng.uniform(-1, 1))
    read = min(round(side / zoom), *image.shape[:2])
    windows = []
    for _ in range(count):
        top, left = (int(rng.integers(0, size - read + 1)) for size in image.shape[:2])
        windows.append(np.ascontiguousarray(image[top : top + read, left : left + read]))
    values = torch.from_numpy(np.stack(windows)).permute(0, 3, 1, 2).float() / 127.5 - 1
    if read != side:
        values = F.interpolate(values, (side, side), mode="bicubic", antialias=True, align_corners=False).clamp(-1, 1)
    values = torch.rot90(values, int(rng.integers(4)), (2, 3))
    if rng.random() < 0.5:
        values = values.flip(-1)
    return recoloured(values, rng).contiguous()


def recoloured(values: Tensor, rng: np.random.Generator) -> Tensor:
    """Images in [-1, 1] with their channels permuted (a quarter of the time) and their tone changed (half the time)."""
    if rng.random() < 0.25:
        values = values[:, rng.permutation(3).tolist()]
    if rng.random() < 0.5:
        gain = torch.tensor(rng.uniform(0.75, 1.2, (1, 1, 1, 1)) * rng.uniform(0.93, 1.07, (1, 3, 1, 1)))
        shift = torch.tensor(rng.uniform(-0.15, 0.15, (1, 1, 1, 1)) + rng.uniform(-0.04, 0.04, (1, 3, 1, 1)))
        middle = values.mean((0, 2, 3), keepdim=True)
        values = ((values - middle) * gain.float() + middle + shift.float()).clamp(-1, 1)
    return values


def generator_of(seed: int, step: int) -> torch.Generator:
    """Generator for a training step, which depends only on seed and step."""
    return torch.Generator().manual_seed(seed * 1_000_003 + step)


def _fraction(crop: Crop) -> float:
    """A number in [0, 1) that all crops of one original image share."""
    return int.from_bytes(hashlib.sha256(f"{crop.source}/{crop.path}".encode()).digest()[:4], "big") / 2**32
