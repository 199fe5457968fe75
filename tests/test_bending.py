"""Laws of bending: edges meet where two pieces do, and everything else stays."""

from __future__ import annotations

import numpy as np
import pytest

from texgen.swatch.bank.atlas import MASK, pack
from texgen.swatch.bank.bank import Bank
from texgen.swatch.bank.level import Level
from texgen.swatch.bank.sources import Source
from texgen.swatch.search.bending import align, sheet_of
from texgen.swatch.starts.starts import random_blocks
from texgen.swatch.steering import Control
from tiling import Size, plan_cores

FREE = Control.none()
SIDE, MIDDLE = 320, 160


def aligned(field: np.ndarray, level: Level, control: Control = FREE, side: int = 64) -> np.ndarray:
    tiles = np.array(plan_cores(Size(*field.shape), Size(side, side)), np.int64)
    new = np.empty_like(field)
    for tile in tiles:
        align(field, new, tile, sheet_of(level, control), control)
    return new


@pytest.fixture(scope="module")
def planks() -> Level:
    """Upright lines a dozen pixels apart, each of its own darkness, on grain."""
    random = np.random.default_rng(0)
    swatch = np.repeat(random.random((1, 384, 3)), 384, 0) * 0.1 + random.random((384, 384, 3)) * 0.02 + 0.5
    for x in range(6, 384, 12):
        swatch[:, x : x + 2] = 0.1 + 0.2 * random.random(3)
    return Bank([Source(swatch.astype(np.float32))], 1, 7).level(0, patch=7, dims=16, alike=0)


def stepped(level: Level, step: int) -> np.ndarray:
    """A field of two pieces, one below the other, the lower one shifted sidewise."""
    top, left = np.argwhere(level.own)[0] + 16
    y, x = np.indices((SIDE, SIDE))
    return pack(top + y, left + x + np.where(y < MIDDLE, 0, step))


def columns(field: np.ndarray) -> np.ndarray:
    return (field & MASK) - np.arange(field.shape[1])


@pytest.mark.parametrize("step", [1, 2, 3, -3])
def test_a_step_in_a_line_becomes_a_bend(planks, step):
    moved = columns(aligned(stepped(planks, step), planks))[:, 24:104]
    within = moved[MIDDLE - 12 : MIDDLE + 12]
    assert np.abs(np.diff(within, axis=0)).max() <= 1
    assert np.abs(within[-1] - within[0]).max() <= abs(step)
    assert (within[11] == within[12]).mean() > 0.9, "the pieces meet at their seam"


def test_the_rest_of_a_piece_stays(planks):
    before = stepped(planks, 2)
    after = aligned(before, planks)
    rows = (after == before)[:, 24:104].mean(1)
    assert rows[MIDDLE] < 0.5 and rows[MIDDLE // 2] > 0.9, "moves fade away from the seam"
    whole = stepped(planks, 0)
    np.testing.assert_array_equal(aligned(whole, planks)[:, 56:72], whole[:, 56:72])


def test_pieces_that_no_move_makes_alike_stay():
    swatch = np.random.default_rng(0).random((384, 384, 3)).astype(np.float32)
    level = Bank([Source(swatch)], 1, 7).level(0, patch=7, dims=16, alike=0)
    y, x = np.indices((SIDE, SIDE))
    field = pack(y + 20 + 41 * (x // MIDDLE), x + 20 + 50 * (y // MIDDLE))
    assert (aligned(field, level) != field).mean() < 0.03


def test_what_is_given_stays_and_pieces_move_to_meet_it(planks):
    field = stepped(planks, 3)
    y, x = np.argwhere(planks.own)[0] + 16
    given = np.ascontiguousarray(planks.pixels[y : y + SIDE, x : x + SIDE])
    known = np.zeros((SIDE, SIDE), bool)
    known[:MIDDLE] = True
    field[known] = -1
    after = aligned(field, planks, FREE._replace(given=given, known=known))
    assert (after[known] == -1).all()
    assert (columns(after)[MIDDLE, 24:104] == x).mean() > 0.9


def test_pieces_stay_on_keys_of_their_label(planks):
    labels = np.zeros_like(planks.labels)
    place = np.argwhere(planks.own)[0] + 16
    labels[:, place[1] + 40 :] = 1
    level = Level(**{**vars(planks), "labels": labels})
    before = random_blocks(level, Size(128, 128), 8, 0)
    after = aligned(before, level)
    assert (after != before).any()
    assert level.centres[after >> 16, after & MASK].all()
    np.testing.assert_array_equal(labels[after >> 16, after & MASK], labels[before >> 16, before & MASK])


def test_a_rolled_field_gives_the_rolled_result(planks):
    field = random_blocks(planks, Size(128, 192), 16, 0)
    expected = np.roll(aligned(field, planks), (64, 128), (0, 1))
    assert (expected != np.roll(field, (64, 128), (0, 1))).any()
    np.testing.assert_array_equal(aligned(np.roll(field, (64, 128), (0, 1)), planks), expected)


def test_the_tiles_do_not_show(planks):
    field = random_blocks(planks, Size(256, 256), 32, 0)
    small, whole = aligned(field, planks, side=64), aligned(field, planks, side=256)
    assert (small != whole).mean() < 0.02 < (whole != field).mean()
