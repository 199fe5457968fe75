"""Pixels of the result that are given, as a diffusion model sees them: latent pixels that stay, and what is drawn over its own at the end."""

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
    """Latent pixels of a canvas that stay.

    Attributes:
        latents: (1, C, h, w).
        mask: (h, w), bool: which stay.
        coordinates: (3, h, w), where they show an exemplar itself, see `start.Start`.
    """

    latents: Tensor
    mask: Tensor
    coordinates: Tensor | None = None


@dataclass(frozen=True)
class Kept:
    """A picture on the canvas, and which of its pixels stay as they are.

    Attributes:
        image: (1, 3, h, w) in [0, 1]; carried on smoothly where it is not kept.
        mask: (h, w), bool: what is kept.
        place: Where on the canvas, in px; inside it.
    """

    image: Tensor
    mask: Tensor
    place: Tile

    @classmethod
    def of(cls, kept: job.Kept) -> Kept:
        """As tensors."""
        return cls(as_tensor(kept.image), torch.from_numpy(kept.mask), kept.place)

    def latent_mask(self, canvas: Size, factor: int) -> Tensor:
        """Latent pixels (canvas height, canvas width) of which every pixel is kept, bool."""
        whole = self._padded(self.mask[None, None].float(), factor, "constant")
        inside = self._latent_tile(factor)
        mask = torch.zeros(tuple(canvas), dtype=torch.bool)
        mask[inside.top : inside.bottom, inside.left : inside.right] = F.avg_pool2d(whole, factor)[0, 0] == 1
        return mask

    def latents(self, model: DenoisingModel, canvas: Size) -> Tensor:
        """The canvas (1, C, h, w) with the picture's latents where it lies and 0 elsewhere."""
        inside = self._latent_tile(model.factor)
        picture = self._padded(self.image, model.factor, "replicate")
        latents = torch.zeros(1, model.latent_channels, *canvas)
        latents[..., inside.top : inside.bottom, inside.left : inside.right] = encoded_image(model, picture)
        return latents

    def coordinates(self, canvas: Size, factor: int) -> Tensor:
        """Where in the picture each latent pixel of the canvas lies, as a map of exemplar 0, (3, h, w); beyond it meaningless."""
        y = torch.arange(canvas.height)[:, None] * factor - self.place.top
        x = torch.arange(canvas.width) * factor - self.place.left
        return torch.stack([torch.zeros(tuple(canvas), dtype=torch.long), y.expand(*canvas), x.expand(*canvas)])

    def apply(self, made: Tensor, area: Tile, canvas: Size) -> Tensor:
        """A part of the result (1, 3, h, w) with the kept pixels in it, and what remains of a mismatch faded into the rest, see `texgen.materials.holes`.

        Args:
            made: Pixels of `area`.
            area: On the canvas, in px, `texgen.materials.holes.MARGIN` larger than what is wanted.
            canvas: In px.
        """
        image, mask = self._cut(area, canvas)
        if not bool(mask.any()):
            return made
        mismatch = ((image - made) * mask)[0].permute(1, 2, 0).contiguous().numpy()
        change = torch.from_numpy(faded(mismatch, mask.float().numpy())).permute(2, 0, 1)[None]
        return torch.where(mask, image, made + change)

    def whole(self, area: Tile, canvas: Size) -> Tensor | None:
        """The picture (1, 3, h, w) in an area in px of which all is kept; None of any other."""
        image, mask = self._cut(area, canvas)
        return image if bool(mask.all()) else None

    def _cut(self, area: Tile, canvas: Size) -> tuple[Tensor, Tensor]:
        """Picture and mask of an area; 0 and False outside of the picture."""
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
        """Values (1, C, h, w) with more around them, up to whole latent pixels; the modes are those of `F.pad`."""
        inside, place = self._latent_tile(factor).scaled(factor), self.place
        beside = (place.left - inside.left, inside.right - place.right)
        return F.pad(values, (*beside, place.top - inside.top, inside.bottom - place.bottom), mode=mode)


def as_tensor(pixels: np.ndarray) -> Tensor:
    """Pixels (H, W, 3) as (1, 3, H, W)."""
    return torch.from_numpy(np.ascontiguousarray(pixels)).permute(2, 0, 1)[None].contiguous()


def on_grid(kept: Kept, size: Size, canvas: Size) -> Kept:
    """A kept picture that reaches the end of the result, carried on to the end of a canvas that is a little larger (px)."""
    top, left, bottom, right = kept.place
    below = canvas.height - bottom if bottom == size.height else 0
    beside = canvas.width - right if right == size.width else 0
    image = F.pad(kept.image, (0, beside, 0, below), mode="replicate")
    mask = F.pad(kept.mask[None, None].float(), (0, beside, 0, below), mode="replicate")[0, 0] > 0
    return Kept(image, mask, Tile(top, left, bottom + below, right + beside))
