"""Costs of exemplar positions equal the direct computation; what is shown again counts, what carries on does not."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from conftest import generator

from texgen.exemplar import Source
from texgen.quilt import quilt
from texgen.reuse import Reuse
from texgen.search import Search
from tiling import Size, Wrap, plan_tiles

SIDES = [4, 7, 16]


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=generator(seed)) + 3


def sources() -> list[Source]:
    """Two phases of one exemplar, the second a cell smaller, and an odd second exemplar."""
    sizes = [(0, 0, 24, 30), (0, 4, 24, 29), (1, 0, 19, 17)]
    return [Source(noise(1, 5, h, w, seed=i), number, left, left) for i, (number, left, h, w) in enumerate(sizes)]


def direct(source: Source, current: torch.Tensor, mask: torch.Tensor, chance: float) -> torch.Tensor:
    squares = F.conv2d(source.latents.square().sum(1, keepdim=True), mask[None, None])
    squares = squares - 2 * F.conv2d(source.latents, current * mask) + (current * mask).square().sum()
    return squares[0, 0] / (mask.sum() * chance)


@pytest.mark.parametrize("side", SIDES)
def test_costs_by_fourier_transform_equal_the_direct_convolution(side):
    found = sources()
    search = Search(found, side)
    chance = 2 * float(torch.cat([s.latents.flatten(2) for s in found], 2).var(2).sum())
    current = noise(1, 5, side, side, seed=9)
    for known in (torch.rand(side, side, generator=generator(3)) < 0.5, torch.ones(side, side) > 0):
        for repeated in range(2):
            costs = search.costs(current, known)
            for source, cost in zip(found, costs, strict=True):
                expected = direct(source, current, known.float(), chance)
                height, width = expected.shape
                torch.testing.assert_close(cost[:height, :width], expected, atol=1e-4, rtol=1e-4)
                assert torch.isinf(cost[height:]).all() and torch.isinf(cost[:, width:]).all(), repeated


@pytest.mark.parametrize("side", SIDES)
def test_the_layout_term_equals_the_difference_of_box_means(side):
    found, box = sources(), max(1, side // 4)
    means = [F.avg_pool2d(s.latents, box, 1)[0].flatten(1) for s in found]
    chance = 2 * float(torch.cat(means, 1).var(1).sum())
    layout, nothing = noise(1, 5, side, side, seed=8), torch.zeros(side, side) > 0
    costs = Search(found, side).costs(torch.zeros_like(layout), nothing, layout, 0.7)
    for number, top, left in [(0, 0, 0), (0, 24 - side, 30 - side), (1, 3, 5), (2, 19 - side, 0)]:
        block = found[number].latents[..., top : top + side, left : left + side]
        difference = (F.avg_pool2d(block, box) - F.avg_pool2d(layout, box)).square().sum(1).mean()
        torch.testing.assert_close(costs[number, top, left], 0.7 * difference / chance, atol=1e-4, rtol=1e-4)


def test_a_block_that_was_cut_from_the_exemplar_costs_nothing_where_it_came_from():
    source = sources()[0]
    costs = Search([source], 8).costs(source.latents[..., 5:13, 6:14], torch.ones(8, 8) > 0)
    assert costs[0, 5, 6] < 1e-5 and int(costs.argmin()) == 5 * costs.shape[2] + 6


def test_the_misfit_tells_a_pattern_that_repeats_from_one_that_does_not():
    lone = noise(1, 5, 64, 64)
    tiled = lone[..., :20, :20].repeat(1, 1, 4, 4)[..., :64, :64]
    both = tiled + 0.7 * noise(1, 5, 64, 64, seed=1)
    found = [Search([Source(latents, 0, 0, 0)], 12).misfit(4) for latents in (tiled, both, lone)]
    assert found[0] < 1e-4 and found[2] > 0.6
    assert found[0] + 0.1 < found[1] < found[2] - 0.1
    assert Search([Source(9 * lone, 0, 0, 0)], 12).misfit(4) == pytest.approx(found[2], rel=1e-3)


def test_the_misfit_does_not_depend_on_other_exemplars_being_far_away():
    lone, other = Source(noise(1, 5, 40, 40), 0, 0, 0), Source(noise(1, 5, 40, 40, seed=1) + 50, 1, 0, 0)
    alone, beside = Search([lone], 12).misfit(4), Search([lone, other], 12).misfit(4)
    assert beside == pytest.approx(alone, abs=0.1)


def test_repeats_are_free_where_the_exemplar_itself_repeats():
    def sewn(latents: torch.Tensor, reuse: float) -> torch.Tensor:
        options = {"factor": 8, "generator": generator(5), "block": 12, "reuse": reuse}
        return quilt([Source(latents, 0, 0, 0)], Size(48, 48), Wrap(True, True), **options).coordinates

    lone = noise(1, 5, 40, 40)
    tiled = lone[..., :10, :10].repeat(1, 1, 4, 4)
    assert torch.equal(sewn(tiled, 0.0), sewn(tiled, 0.4))
    assert not torch.equal(sewn(lone, 0.0), sewn(lone, 0.4))


def test_the_misfit_looks_at_usable_places_only():
    usable = torch.zeros(32, 96) > 0
    usable[:, :16] = True  # everything is there six times, five of them not to be used
    sources = [Source(noise(1, 5, 32, 16).repeat(1, 1, 1, 6), 0, 0, 0)]
    assert Search(sources, 12).misfit(4) < 1e-4 and Search(sources, 12, [usable]).misfit(4) > 0.6


def test_an_exemplar_without_another_place_has_the_largest_misfit():
    assert Search([Source(noise(1, 5, 12, 12), 0, 0, 0)], 12).misfit(4) == 1


@pytest.fixture
def reuse() -> Reuse:
    tiles = plan_tiles(Size(40, 40), Size(8, 8), Size(5, 5), Wrap(True, True))
    return Reuse(tiles, Size(40, 40), Wrap(True, True), [Source(noise(1, 1, 24, 24), 0, 0, 0)], 8)


def test_the_place_a_block_nearby_shows_counts_most_and_places_beyond_a_block_nothing(reuse):
    source = Source(torch.zeros(1), 0, 0, 0)
    assert reuse.shares(9).abs().max() == 0
    reuse.add(0, source, Size(9, 3))
    shares = reuse.shares(2)[0]
    assert int(shares.argmax()) == 9 * shares.shape[1] + 3
    assert shares[9, 11:].max() == 0 and shares[9, 10] > 0
    assert reuse.shares(4)[0].max() < shares.max(), "further away it counts less"


def test_carrying_a_neighbour_on_is_no_repeat_across_the_ring_too(reuse):
    source = Source(torch.zeros(1), 0, 0, 0)
    reuse.add(0, source, Size(9, 8))
    beside, across = reuse.shares(1)[0], reuse.shares(7)[0]
    assert abs(float(beside[9, 13])) < 1e-6 < float(beside[9, 12])
    assert abs(float(across[9, 3])) < 1e-6 < float(across[9, 4])
    assert np.isfinite(beside.numpy()).all()
