"""Laws of the tile plans, windows and fusing."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tiling import (
    Accumulator,
    Size,
    Tile,
    Wrap,
    axis_starts,
    axis_window,
    cut,
    fixed_schedule,
    make_window,
    plan_cores,
    plan_tiles,
    rolled_schedule,
    spread_tiles,
    tile_size,
)

T, STRIDE = 8, 6
LENGTHS = [T, T + 1, 2 * T - (T - STRIDE) + 1, 2 * T - 1, 2 * T, 23, 40]
WRAPS = [Wrap(a, b) for a in (False, True) for b in (False, True)]
SIZES = [Size(T, T), Size(T + 1, 2 * T - 1), Size(23, 17), Size(16, 40)]


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("wrap", [False, True])
@pytest.mark.parametrize("offset", [0, 3, 7])
@pytest.mark.parametrize("stride", [1, 3, STRIDE, T])
def test_every_pixel_of_an_axis_is_covered_and_no_gap_exceeds_the_stride(length, wrap, offset, stride):
    starts = axis_starts(length, T, stride, wrap, offset)
    covered = np.zeros(length, int)
    for start in starts:
        assert wrap or 0 <= start <= length - T
        covered[np.arange(start, start + T) % length] += 1
    assert covered.min() >= 1
    ordered = sorted(starts)
    gaps = np.diff(ordered)
    assert len(gaps) == 0 or gaps.max() <= stride
    if wrap:
        assert ordered[0] + length - ordered[-1] <= stride


@pytest.mark.parametrize("canvas", SIZES)
@pytest.mark.parametrize("wrap", WRAPS)
@pytest.mark.parametrize("kind", ["ones", "hann", "gaussian"])
def test_cutting_then_fusing_is_the_identity(canvas, wrap, kind):
    values = torch.randn(1, 3, *canvas)
    fused = Accumulator(3, canvas)
    window = make_window(kind, Size(T, T))
    for tile in plan_tiles(canvas, Size(T, T), Size(STRIDE, STRIDE), wrap):
        fused.add(tile, cut(values, tile), window)
    assert (fused.weights > 0).all()
    torch.testing.assert_close(fused.mean(), values, atol=1e-5, rtol=1e-5)


def test_the_order_of_tiles_does_not_matter():
    canvas = Size(23, 17)
    tiles = plan_tiles(canvas, Size(T, T), Size(STRIDE, STRIDE), Wrap(True, True))
    window = make_window("hann", Size(T, T))
    parts = {tile: torch.randn(1, 2, T, T) for tile in tiles}
    results = []
    for order in (tiles, tiles[::-1]):
        fused = Accumulator(2, canvas)
        for tile in order:
            fused.add(tile, parts[tile], window)
        results.append(fused.mean())
    torch.testing.assert_close(results[0], results[1])


def test_rolling_a_wrapped_canvas_by_one_stride_rolls_the_result():
    canvas, stride = Size(24, 24), Size(6, 6)
    values = torch.randn(1, 1, *canvas)
    window = make_window("hann", Size(T, T))

    def process(canvas_values: torch.Tensor) -> torch.Tensor:
        fused = Accumulator(1, canvas)
        for tile in plan_tiles(canvas, Size(T, T), stride, Wrap(True, True)):
            part = cut(canvas_values, tile)
            fused.add(tile, (part - part.mean()).tanh(), window)
        return fused.mean()

    rolled = process(values.roll((6, 6), (2, 3)))
    torch.testing.assert_close(rolled, process(values).roll((6, 6), (2, 3)))


@pytest.mark.parametrize("canvas", SIZES)
@pytest.mark.parametrize("wrap", WRAPS)
def test_a_local_filter_on_grown_cores_equals_the_filter_on_the_whole(canvas, wrap):
    values, radius = torch.randn(1, 1, *canvas), 2
    kernel = torch.ones(1, 1, 5, 5)

    def filtered(part: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.conv2d(part, kernel, padding=radius)

    whole = cut(values, Tile(0, 0, *canvas).grown(radius, canvas, wrap))
    top, left = (radius if ring else 0 for ring in wrap)
    expected = filtered(whole)[..., top : top + canvas.height, left : left + canvas.width]
    for core in plan_cores(canvas, Size(T, T)):
        read = core.grown(radius, canvas, wrap)
        inside = filtered(cut(values, read))[..., core.top - read.top :, core.left - read.left :]
        got = inside[..., : core.size.height, : core.size.width]
        torch.testing.assert_close(got, expected[..., core.top : core.bottom, core.left : core.right])


@pytest.mark.parametrize("canvas", SIZES)
@pytest.mark.parametrize("wrap", WRAPS)
def test_every_plan_of_the_rolled_schedule_covers_the_canvas_and_moves(canvas, wrap):
    plans = list(rolled_schedule(canvas, Size(T, T), wrap, 6, seed=3))
    for tiles in plans:
        covered = torch.zeros(canvas)
        for tile in tiles:
            covered[tile.rows(canvas)[:, None], tile.columns(canvas)] += 1
        assert (covered > 0).all()
    again = list(rolled_schedule(canvas, Size(T, T), wrap, 6, seed=3))
    assert plans == again
    if canvas.area > 2 * T * T:
        assert len({tuple(tiles) for tiles in plans}) > 1


def test_the_rolled_schedule_of_a_multiple_of_the_tile_has_no_overlap_on_a_torus():
    for tiles in rolled_schedule(Size(32, 16), Size(T, T), Wrap(True, True), 4, seed=0):
        assert len(tiles) == 8


def test_the_fixed_schedule_repeats_one_plan():
    plans = list(fixed_schedule(Size(20, 20), Size(T, T), Size(4, 4), Wrap(), 3))
    assert len(plans) == 3 and plans[0] == plans[1] == plans[2]


@pytest.mark.parametrize("kind", ["ones", "hann", "gaussian"])
@pytest.mark.parametrize("length", [1, 2, 7, 64])
def test_windows_are_positive_and_symmetric(kind, length):
    window = axis_window(kind, length)
    assert (window > 0).all()
    np.testing.assert_allclose(window, window[::-1])


def test_spread_tiles_cover_up_to_twice_the_tile_and_stay_inside_beyond():
    for canvas in (Size(8, 8), Size(9, 16), Size(16, 16), Size(40, 9), Size(100, 90)):
        tiles = spread_tiles(canvas, tile_size(Size(8, 8), canvas), most=4)
        assert 1 <= len(tiles) <= 4
        assert all(t.top >= 0 and t.left >= 0 and t.bottom <= canvas.height and t.right <= canvas.width for t in tiles)
        if max(canvas) <= 16:
            covered = torch.zeros(canvas)
            for t in tiles:
                covered[t.top : t.bottom, t.left : t.right] = 1
            assert covered.all()


def test_bad_plans_are_refused():
    with pytest.raises(ValueError, match="does not fit in length=7"):
        axis_starts(7, 8, 4, False)
    with pytest.raises(ValueError, match="stride=9 must be from 1 to tile=8"):
        axis_starts(20, 8, 9, True)
    with pytest.raises(ValueError, match="'triangle' is not known"):
        axis_window("triangle", 8)
    with pytest.raises(ValueError, match=r"60 of 64 .* are covered by no tile"):
        fused = Accumulator(1, Size(8, 8))
        fused.add(Tile(0, 0, 2, 2), torch.ones(1, 1, 2, 2), torch.ones(2, 2))
        fused.mean()
