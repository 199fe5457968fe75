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
"""More are hardly faster: on an H200 an AD iteration of Stable Diffusion 1.5 takes 13 ms a tile in batches of 16, 11 in batches of 32."""
GRADIENT_FACTOR = 1.2
"""Peak of an AD iteration over what it keeps for the gradient: the gradient's own tensors come on top. Measured with Stable
Diffusion 1.5: 1.16 on a CPU in float32, 1.07 a tile of 16 on CUDA in float16."""
WORKSPACE = GIB // 4
"""What libraries of a GPU take for themselves, however many tiles there are."""
CANVAS_COPIES = 6
"""Canvases of latents alive at once: before and after a step, sums, noise, what a filter moves."""


def is_out_of_memory(error: BaseException) -> bool:
    """On a CPU torch raises a plain RuntimeError from its allocator."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or "can't allocate memory" in str(error)


def within_memory(begin: Callable[[], Iterable[Item]], make_room: Callable[[], bool]) -> Iterator[Item]:
    """The items of `begin`; when memory runs out, of `begin` again, once, if `make_room` could make some.

    What `begin` gives must go on where it stopped.
    """
    try:
        yield from begin()
        return
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error) or not make_room():
            raise
    yield from begin()


def free_memory(device: torch.device) -> int:
    """Bytes that are free on a device."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    free = limits.free_memory()  # an Apple GPU shares it
    return 4 * GIB if free is None else free


def tile_bytes(model: DenoisingModel, tile: Size, recomputed: bool = False) -> int:
    """What one tile takes in an AD iteration, estimated without running it; less if blocks are computed again for the gradient."""
    return int(model.tile_bytes(tile, recomputed) * GRADIENT_FACTOR)


class Fit(NamedTuple):
    """What a device is asked for.

    Attributes:
        batch: Tiles worked on at once.
        recomputed: Whether blocks of the network are computed again for the gradient, since a tile does not fit otherwise.
    """

    batch: int = 1
    recomputed: bool = False


def fitted(
    model: DenoisingModel, tile: Size, canvas: Size, tiles: int, budget: float | None, wanted: int | None = None
) -> Fit:
    """As many tiles at once as are wanted; else one on a CPU, which gains nothing from more, and on a GPU as many as the budget holds.

    Args:
        model: The model.
        tile: In latent pixels.
        canvas: In latent pixels.
        tiles: Tiles of a step.
        budget: Bytes for tiles on the device and, on a CPU, for the canvas; None takes what is free on a GPU, and anything on a
            CPU, which may swap.
        wanted: Tiles at once, if the user says so.

    Raises:
        ResourceError: The budget does not hold one tile, or those that are wanted.
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
