"""A start in two scales: the large features are laid out on a small canvas first, then sewn at full scale."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from texgen.errors import OptionError
from texgen.exemplar import Exemplar, encode_exemplar
from texgen.models import Backbone
from texgen.quilt import MIN_BLOCK, quilt
from texgen.start import Start, quilt_start
from tiling import Size, Wrap

SCALES = (4, 2)
MIN_SIDE = 16


def coarse_scale(exemplar: Exemplar, canvas: Size) -> int:
    """The largest of `SCALES` that leaves every exemplar 16 latents a side and the canvas a block; 1 where none does."""
    shortest = min(min(image.shape[-2:]) for image in exemplar.images) // exemplar.factor
    fitting = (s for s in SCALES if shortest // s >= MIN_SIDE and min(canvas) // s >= MIN_BLOCK)
    return next(fitting, 1)


def coarse_start(
    backbone: Backbone,
    exemplar: Exemplar,
    canvas: Size,
    wrap: Wrap,
    generator: torch.Generator,
    *,
    scale: int | None = None,
    layout_weight: float = 0.3,
) -> Start:
    """A canvas quilted from the exemplar along the layout of a quilt of the shrunken exemplar.

    Args:
        backbone: Encodes the shrunken exemplar.
        exemplar: At full scale.
        canvas: In latent pixels.
        wrap: Axes that close to a ring.
        generator: Of the choices of both quilts.
        scale: How many times smaller the first quilt is; larger orders larger features. By default `coarse_scale`; 1
            is the plain quilt.
        layout_weight: Larger follows the first quilt more closely at the cost of seams.

    Raises:
        OptionError: `scale` leaves an exemplar or the canvas less than a block.
    """
    scale = coarse_scale(exemplar, canvas) if scale is None else scale
    if scale == 1:
        return quilt_start(exemplar, canvas, wrap, generator)
    _check_scale(scale, exemplar, canvas)
    small = encode_exemplar(backbone, [_shrunk(image, scale) for image in exemplar.images])
    size = Size(*(round(side / scale) for side in canvas))
    rough = quilt(small.sources, size, wrap, factor=exemplar.factor, generator=generator)
    layout = _looked_up(exemplar, _enlarged(rough.coordinates, canvas, scale, exemplar.factor))
    sewn = quilt(
        exemplar.sources, canvas, wrap, factor=exemplar.factor, generator=generator,
        layout=layout, layout_weight=layout_weight,
    )  # fmt: skip
    return Start(sewn.latents, sewn.coordinates)


def _check_scale(scale: int, exemplar: Exemplar, canvas: Size) -> None:
    shortest = min(min(image.shape[-2:]) for image in exemplar.images) // exemplar.factor
    # phases other than the first have a cell less
    most = min((shortest - 1) // (MIN_BLOCK + 1), min(canvas) // MIN_BLOCK)
    if not 1 <= scale <= most:
        raise OptionError(
            f"scale={scale} must be from 1 to {most}: a swatch of {shortest} latents and a canvas of {canvas} latents"
            f" must keep a block of {MIN_BLOCK}."
        )


def _shrunk(image: Tensor, scale: int) -> Tensor:
    return F.avg_pool2d(image, scale)


def _enlarged(coordinates: Tensor, canvas: Size, scale: int, factor: int) -> Tensor:
    """The map of a small quilt, as a map of the canvas into the exemplar at full scale, (3, h, w).

    Every small cell becomes the `scale` x `scale` cells it was made of. Where `scale` does not divide the canvas, a few
    of them are left out or come twice, so that a ring still closes.
    """
    small = Size(*coordinates.shape[1:])
    fine = [torch.arange(side) * count * scale // side for side, count in zip(canvas, small, strict=True)]
    enlarged = (
        coordinates[:, (fine[0] // scale)[:, None], fine[1] // scale] * torch.tensor([1, scale, scale])[:, None, None]
    )
    enlarged[1] += (fine[0] % scale * factor)[:, None]
    enlarged[2] += fine[1] % scale * factor
    return enlarged


def _looked_up(exemplar: Exemplar, coordinates: Tensor) -> Tensor:
    """Exemplar latents (1, C, h, w) at the cells of a map."""
    factor = exemplar.factor
    latents = torch.zeros(1, exemplar.sources[0].latents.shape[1], *coordinates.shape[1:])
    for source in exemplar.sources:
        rows, columns = coordinates[1] - source.top_px, coordinates[2] - source.left_px
        mine = (coordinates[0] == source.exemplar) & (rows % factor == 0) & (columns % factor == 0)
        latents[0][:, mine] = source.latents[0][:, rows[mine] // factor, columns[mine] // factor]
    return latents
