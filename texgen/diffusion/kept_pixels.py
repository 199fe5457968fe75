"""Given pixels of the result: latent pixels that sampling keeps, and pixels that are pasted into the decoded picture."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from texgen import job
from texgen.diffusion.denoising import DenoisingModel
from texgen.diffusion.encoding import encoded_image
from texgen.materials.holes import faded
from tiling import Size, Tile


class Given(NamedTuple):
    """Latent pixels of a canvas that stay as they are.

    Attributes:
        latents: Latents of the canvas, (1, C, h, w).
        mask: Which latent pixels stay, (h, w), bool.
        coordinates: Their places if they show an exemplar itself, (3, h, w), see `start.Start`.
    """

    latents: Tensor
    mask: Tensor
    coordinates: Tensor | None = None


@dataclass(frozen=True)
class Kept:
    """A picture on the canvas, and which of its pixels stay as they are.

    Attributes:
        image: The picture, (1, 3, h, w) in [0, 1]; pixels that are not kept continue the others smoothly.
        mask: Which pixels are kept, (h, w), bool.
        place: Area of the canvas that it covers, in px; inside the canvas.
    """

    image: Tensor
    mask: Tensor
    place: Tile

    @classmethod
    def of(cls, kept: job.Kept) -> Kept:
        """The kept pixels of a job, as tensors."""
        return cls(as_tensor(kept.image), torch.from_numpy(kept.mask), kept.place)

    def latent_mask(self, canvas: Size, factor: int) -> Tensor:
        """Which latent pixels of the canvas consist of kept pixels only, (h, w), bool."""
        whole = self._padded(self.mask[None, None].float(), factor, "constant")
        inside = self._latent_tile(factor)
        mask = torch.zeros(tuple(canvas), dtype=torch.bool)
        mask[inside.top : inside.bottom, inside.left : inside.right] = F.avg_pool2d(whole, factor)[0, 0] == 1
        return mask

    def latents(self, model: DenoisingModel, canvas: Size) -> Tensor:
        """Latents of the canvas, (1, C, h, w): those of the picture at its place, 0 elsewhere."""
        inside = self._latent_tile(model.factor)
        picture = self._padded(self.image, model.factor, "replicate")
        latents = torch.zeros(1, model.latent_channels, *canvas)
        latents[..., inside.top : inside.bottom, inside.left : inside.right] = encoded_image(model, picture)
        return latents

    def coordinates(self, canvas: Size, factor: int) -> Tensor:
        """Place of each latent pixel of the canvas in the picture, as a map to exemplar 0, (3, h, w); meaningless outside the picture."""
        y = torch.arange(canvas.height)[:, None] * factor - self.place.top
        x = torch.arange(canvas.width) * factor - self.place.left
        return torch.stack([torch.zeros(tuple(canvas), dtype=torch.long), y.expand(*canvas), x.expand(*canvas)])

    def apply(self, made: Tensor, area: Tile, canvas: Size) -> Tensor:
        """Paste the kept pixels into a part of the result (1, 3, h, w), and fade out the mismatch around them, see `texgen.materials.holes`.

        Args:
            made: Pixels of `area`.
            area: Part of the canvas, in px; `texgen.materials.holes.MARGIN` larger than the part that is needed.
            canvas: Size in px.
        """
        image, mask = self._cut(area, canvas)
        if not bool(mask.any()):
            return made
        mismatch = ((image - made) * mask)[0].permute(1, 2, 0).contiguous().numpy()
        change = torch.from_numpy(faded(mismatch, mask.float().numpy())).permute(2, 0, 1)[None]
        return torch.where(mask, image, made + change)

    def whole(self, area: Tile, canvas: Size) -> Tensor | None:
        """The picture (1, 3, h, w) in an area in px, if all pixels of the area are kept; else None."""
        image, mask = self._cut(area, canvas)
        return image if bool(mask.all()) else None

    def _cut(self, area: Tile, canvas: Size) -> tuple[Tensor, Tensor]:
        """Picture and mask in an area; 0 and False outside the picture."""
        rows, columns = (torch.from_numpy(way) for way in (area.rows(canvas), area.columns(canvas)))
        rows, columns = rows - self.place.top, columns - self.place.left
        height, width = self.mask.shape
        inside = ((rows >= 0) & (rows < height))[:, None] & ((columns >= 0) & (columns < width))
        at = (rows.clamp(0, height - 1)[:, None], columns.clamp(0, width - 1))
        return self.image[..., at[0], at[1]] * inside, self.mask[at] & inside

    def _latent_tile(self, factor: int) -> Tile:
        """The latent pixels that the picture touches."""
        top, left, bottom, right = self.place
        return Tile(top // factor, left // factor, -(-bottom // factor), -(-right // factor))

    def _padded(self, values: Tensor, factor: int, mode: str) -> Tensor:
        """Values (1, C, h, w) of the picture, padded to whole latent pixels; `mode` is that of `F.pad`."""
        inside, place = self._latent_tile(factor).scaled(factor), self.place
        beside = (place.left - inside.left, inside.right - place.right)
        return F.pad(values, (*beside, place.top - inside.top, inside.bottom - place.bottom), mode=mode)


def as_tensor(pixels: np.ndarray) -> Tensor:
    """Pixels (H, W, 3) as (1, 3, H, W)."""
    return torch.from_numpy(np.ascontiguousarray(pixels)).permute(2, 0, 1)[None].contiguous()


def on_grid(kept: Kept, size: Size, canvas: Size) -> Kept:
    """A kept picture, extended to the end of the canvas if it reaches the end of the result; sizes in px."""
    top, left, bottom, right = kept.place
    below = canvas.height - bottom if bottom == size.height else 0
    beside = canvas.width - right if right == size.width else 0
    image = F.pad(kept.image, (0, beside, 0, below), mode="replicate")
    mask = F.pad(kept.mask[None, None].float(), (0, beside, 0, below), mode="replicate")[0, 0] > 0
    return Kept(image, mask, Tile(top, left, bottom + below, right + beside))
