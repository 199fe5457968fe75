"""Memory: planned before the work, and what happens when it does not suffice."""

from __future__ import annotations

import pytest
import torch

import texgen
from texgen.diffusion.memory import (
    GIB,
    fitting_batch,
    free_memory,
    is_out_of_memory,
    tile_bytes,
    within_memory,
)
from texgen.diffusion.sampling.sample import _Tiles
from texgen.errors import ResourceError
from tiling import Size


def test_a_larger_tile_takes_more(sd):
    small, large = (tile_bytes(sd, Size(side, side)) for side in (16, 32))
    assert 3 < large / small < 5


def test_a_budget_below_one_tile_is_refused_before_the_work(sd, small):
    with pytest.raises(ResourceError, match=r"one tile of 128x128 px on this canvas takes about .* GiB, memory= 0.0"):
        fitting_batch(sd, Size(16, 16), Size(64, 64), 16, budget=1000)
    with pytest.raises(ResourceError, match=r"memory= 0\.1"):
        texgen.expand(small, 16384, model=sd, memory=0.1)


def test_a_cpu_works_on_one_tile_at_a_time(sd):
    assert fitting_batch(sd, Size(16, 16), Size(64, 64), 16, budget=None) == 1
    assert fitting_batch(sd, Size(16, 16), Size(64, 64), 16, budget=4 * GIB) == 1
    assert free_memory(torch.device("cpu")) > GIB


def test_a_batch_that_does_not_fit_is_done_in_halves(sd, small, monkeypatch):
    """The allocator's own error above a number of tiles stands for a small device."""
    step, sizes = _Tiles.step, []

    def limited(self, timestep, tiles):
        if len(tiles.latents) > 1:
            torch.empty(2**60)
        sizes.append(len(tiles.latents))
        return step(self, timestep, tiles)

    options = {"size": (256, 256), "seed": 3, "steps": 25, "strength": 0.04, "iterations": 1}
    one = texgen.expand(small, model=sd, tile_batch=1, **options)
    monkeypatch.setattr(_Tiles, "step", limited)
    halved = texgen.expand(small, model=sd, tile_batch=3, **options)
    assert torch.equal(one.latents, halved.latents) and sizes == [1, 1, 1, 1]


def test_the_allocators_error_is_known():
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**60)
    assert (
        is_out_of_memory(caught.value) and is_out_of_memory(MemoryError()) and not is_out_of_memory(RuntimeError("x"))
    )


def test_when_memory_runs_out_the_rest_is_done_once_there_is_room():
    left = [1, 2, 3]

    def work():
        while left:
            if left[0] == 2 and not room:
                torch.empty(2**60)
            yield left.pop(0)

    room = []
    assert list(within_memory(work, lambda: not room.append(1))) == [1, 2, 3]
    left, room = [2], []
    with pytest.raises(RuntimeError, match="allocate memory"):
        list(within_memory(work, lambda: False))


def test_a_network_on_the_cpu_cannot_be_moved_off_a_device(sd):
    assert not sd.offload_network() and not sd.offload_autoencoder()
