"""How much memory a batch of tiles takes, and how many tiles fit."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple, TypeVar

import torch

from texgen.diffusion.denoising import DenoisingModel
from texgen.errors import ResourceError
from texgen.files import limits
from texgen.files.limits import GIB
from tiling import Size

Item = TypeVar("Item")
MOST_TILES = 32
"""Largest batch of tiles. Larger ones are hardly faster: on an H200 an AD iteration of Stable Diffusion 1.5 takes 13 ms per tile in batches
of 16, 11 ms in batches of 32."""
GRADIENT_FACTOR = 1.2
"""Peak memory of an AD iteration, relative to what autograd saves for the backward pass: gradients come on top. Measured with Stable
Diffusion 1.5: 1.16 on a CPU in float32, 1.07 per tile in batches of 16 on CUDA in float16."""
WORKSPACE = GIB // 4
"""Bytes that a GPU's libraries take for themselves, independent of the number of tiles."""
CANVAS_COPIES = 6
"""Copies of the canvas' latents alive at once: before and after a step, sums, noise, and those of a filter."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error means that memory ran out. On a CPU, torch's allocator raises a plain RuntimeError."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or "can't allocate memory" in str(error)


def within_memory(begin: Callable[[], Iterable[Item]], make_room: Callable[[], bool]) -> Iterator[Item]:
    """The items of `begin()`. If memory runs out and `make_room` freed some, call `begin` a second time.

    The second iterable must continue where the first stopped.
    """
    try:
        yield from begin()
        return
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error) or not make_room():
            raise
    yield from begin()


def free_memory(device: torch.device) -> int:
    """Free bytes on a device."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    free = limits.free_memory()  # an Apple GPU shares it
    return 4 * GIB if free is None else free


def tile_bytes(model: DenoisingModel, tile: Size, recomputed: bool = False) -> int:
    """Bytes that one tile needs in an AD iteration, estimated without running it; less if blocks are computed again in the backward pass."""
    return int(model.tile_bytes(tile, recomputed) * GRADIENT_FACTOR)


class Fit(NamedTuple):
    """How tiles fit into a device's memory.

    Attributes:
        batch: Tiles per batch.
        recomputed: Whether blocks of the network are computed again in the backward pass, since a tile does not fit otherwise.
    """

    batch: int = 1
    recomputed: bool = False


def fitted(
    model: DenoisingModel, tile: Size, canvas: Size, tiles: int, budget: float | None, wanted: int | None = None
) -> Fit:
    """Choose the batch of tiles: `wanted` if given; else one on a CPU, which gains nothing from more, and as many as fit on a GPU.

    Args:
        model: The model.
        tile: Size in latent pixels.
        canvas: Size in latent pixels.
        tiles: Number of tiles per step.
        budget: Bytes for tiles on the device and, on a CPU, for the canvas; None means the free memory on a GPU, and no limit for
            one tile on a CPU, which may swap.
        wanted: Batch that the user asked for.

    Raises:
        ResourceError: One tile, or the wanted batch, does not fit into the budget.
    """
    on_cpu = model.device.type == "cpu"
    least = min(wanted or 1, tiles)
    if on_cpu and budget is None and least == 1:
        return Fit(wanted or 1)
    room = free_memory(model.device) if budget is None else budget
    fixed = CANVAS_COPIES * 4 * model.latent_channels * canvas.area if on_cpu else WORKSPACE
    for recomputed in (False, True):
        each = tile_bytes(model, tile, recomputed)
        if fixed + least * each <= room:
            many = 1 if on_cpu else max(1, min(int(0.9 * (room - fixed) / each), MOST_TILES, tiles))
            return Fit(wanted or many, recomputed)
    said = "one tile" if wanted is None else f"tile_batch={wanted}, {least} at once,"
    remedy = (
        "a smaller size, another model or --dtype" if least == 1 else f"at most {max(1, int((room - fixed) / each))}"
    )
    raise ResourceError(
        f"{said} of {tile.scaled(model.factor)} px on this canvas takes about {(fixed + least * each) / GIB:.1f} GiB, "
        f"{'free are' if budget is None else 'memory='} {room / GIB:.1f}; use {remedy}."
    )
