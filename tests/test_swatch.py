"""Laws of the swatch model: search, field, starts; and textures made with it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import texgen
from texgen.errors import InputError, OptionError
from texgen.files import image as images
from texgen.swatch.bank.atlas import MASK
from texgen.swatch.bank.bank import Bank
from texgen.swatch.bank.descriptors import describe, similar_keys
from texgen.swatch.bank.level import Level
from texgen.swatch.bank.pyramid import FAR, edge_distance, edges_of, halved, level_count, otsu
from texgen.swatch.bank.repeat import Repeat, repeat_of
from texgen.swatch.bank.sources import Material, Source, sources_of
from texgen.swatch.field import Kept
from texgen.swatch.presets import PRESETS, Settings, choose
from texgen.swatch.search.search import Keys, Turn, improve
from texgen.swatch.search.usage_cost import CAP, counted, penalties, trust, usage
from texgen.swatch.search.votes import vote_window, voted
from texgen.swatch.starts.pieces import AWRY, differences
from texgen.swatch.starts.quilt import NEVER, REUSE, block_corners, misfit, own_corners, quilted, tints, whole_blocks
from texgen.swatch.starts.seams import middle, seam
from texgen.swatch.starts.sewing import Sheet
from texgen.swatch.starts.starts import random_blocks, starter
from texgen.swatch.steering import Control, Given, Steering
from texgen.swatch.synthesis import Synthesis
from tiling import Size, Wrap, plan_cores

SWATCHES = Path(__file__).parent.parent / "examples" / "swatches"
CANVAS = Size(96, 96)
TORUS = Repeat(64, 64, 0, Wrap(True, True))
FAST = Settings(candidates=2, iterations=(1, 2, 2, 2))


def noise(height: int = 64, width: int = 64, seed: int = 0, channels: int = 3) -> np.ndarray:
    """Smooth noise that tiles by itself."""
    values = np.random.default_rng(seed).random((height, width, channels)).astype(np.float32)
    for axis in (0, 1):
        values = sum(np.roll(values, step, axis) for step in range(-2, 3)) / 5
    return (values - values.min()) / (values.max() - values.min())


def level_of(
    swatch: np.ndarray, number: int = 0, repeat: Repeat | None = None, alike: int = 2, levels: int = 2
) -> tuple[Bank, Level]:
    bank = Bank([Source(swatch, repeat=repeat)], levels, 7)
    return bank, bank.level(number, patch=7, dims=16, alike=alike)


FREE = Control.none()


def improved(
    field: np.ndarray,
    level: Level,
    *,
    probes: int = 4,
    origin: tuple[int, int] = (0, 0),
    backward: bool = False,
    costs: np.ndarray | None = None,
):
    """The field after one search, and the distances before and after."""
    tiles = np.array(plan_cores(Size(*field.shape), Size(32, 32)), np.int64)
    sums, new = np.zeros((len(tiles), 3)), np.empty_like(field)
    used = usage(level, np.zeros(level.size, np.int64))
    bank = Keys(
        level.pixels, trust(level, used, 0.0), level.keys, penalties(level, used, 0.0) if costs is None else costs,
        level.similar, level.labels, level.basis, level.offset, vote_window(7),
    )  # fmt: skip
    improve(field, new, tiles, bank, FREE, Turn(probes, 64.0, np.uint64(5), np.array(origin, np.int64), backward), sums)
    return new, sums.sum(0)


def synthesis(
    tmp_path: Path, swatch: np.ndarray, canvas: Size = CANVAS, settings: Settings = FAST, **options
) -> Synthesis:
    levels = level_count(min(swatch.shape[:2]), min(canvas))
    made = Synthesis(Bank([Source(swatch)], levels, settings.patch), canvas, settings, 1, tmp_path, **options)
    for _ in made.run():
        pass
    return made


def test_a_rolled_field_gives_the_rolled_result():
    _, level = level_of(noise())
    field = random_blocks(level, Size(96, 128), 8, 0)
    plain, _ = improved(field, level)
    rolled, _ = improved(np.roll(field, (32, 64), (0, 1)), level, origin=(32, 64))
    np.testing.assert_array_equal(np.roll(plain, (32, 64), (0, 1)), rolled)
    elsewhere, _ = improved(np.roll(field, (32, 64), (0, 1)), level)
    assert (elsewhere != rolled).any(), "the probes do not depend on the place"


def test_one_thread_and_two_give_the_same_bytes(tmp_path):
    fields = []
    for threads in (1, 2):
        (tmp_path / str(threads)).mkdir()
        fields.append(np.array(synthesis(tmp_path / str(threads), noise(), threads=threads).result))
    np.testing.assert_array_equal(*fields)


def test_a_swatch_that_tiles_by_itself_stays_itself():
    swatch = noise()
    bank, level = level_of(swatch, repeat=TORUS)
    margin = bank.places[0].margin.height
    y, x = np.indices((64, 64), np.int32) + margin
    new, (before, after, _) = improved((y << 16) | x, level)
    assert before / 64**2 / level.spread < 1e-6 and after <= before + 1e-9
    found = level.pixels[new >> 16, new & MASK, :3]
    np.testing.assert_allclose(found, swatch, atol=1e-6)


def seamless(height: int = 64, width: int = 64, seed: int = 0) -> np.ndarray:
    """A picture blended with itself, moved by half its size, as filters do that make pictures seamless."""
    values = noise(height, width, seed)
    return (values + np.roll(values, (height // 2, width // 2), (0, 1))) / 2


def ramp(height: int = 64, width: int = 64) -> np.ndarray:
    """Noise that tiles sideways only."""
    return noise(height, width) / 2 + np.linspace(0, 0.5, height, dtype=np.float32)[:, None, None]


def test_what_a_swatch_repeats_is_found():
    both = Wrap(True, True)
    assert repeat_of(noise()) == Repeat(64, 64, 0, both)
    assert repeat_of(ramp()) == Repeat(64, 64, 0, Wrap(False, True))
    assert repeat_of(np.swapaxes(ramp(), 0, 1)) == Repeat(64, 64, 0, Wrap(True, False))
    assert repeat_of(noise(90, 90)[:64, :64]) == Repeat(64, 64)
    assert repeat_of(np.tile(noise(), (2, 3, 1))) == Repeat(64, 64, 0, both)
    assert repeat_of(np.tile(noise(90, 90)[:, :64], (2, 1, 1))) == Repeat(90, 64, 0, Wrap(True, False))
    assert repeat_of(seamless()) == Repeat(32, 64, 32, both)
    assert repeat_of(np.full((64, 64, 3), 0.5, np.float32)).height == 64
    stripes = np.tile(np.linspace(0, 1, 64, dtype=np.float32)[None, :, None], (64, 1, 3))
    assert repeat_of(stripes) == Repeat(16, 64, 0, Wrap(True, False))
    found = {path.stem: repeat_of(images.read_pixels(path)) for path in SWATCHES.glob("*_*.jpg")}
    assert found["stone_wall"] == Repeat(256, 512, 256, both)
    assert found["brick_round"].wrap == both and found["wood_planks"].wrap.y


@pytest.mark.parametrize(
    "swatch", [noise(), ramp(), seamless(), np.tile(seamless(), (2, 1, 1)), noise(90, 90)[:64, :64]]
)
def test_a_place_anywhere_shows_what_its_place_in_the_part_shows(swatch):
    repeat = repeat_of(swatch)
    height, width = swatch.shape[:2]
    y, x = np.mgrid[-100:200, -100:200]
    inside = repeat.inside(y, x)
    assert inside[0].min() >= 0 and inside[0].max() < repeat.height and inside[1].max() < repeat.width
    known = ((y >= 0) & (y < height) | repeat.wrap.y) & ((x >= 0) & (x < width) | repeat.wrap.x)
    np.testing.assert_allclose(swatch[inside][known], swatch[y % height, x % width][known], atol=1e-6)


def test_a_bank_holds_what_a_swatch_shows_twice_once_and_carries_on_around_it():
    swatch = seamless(128, 128)
    bank, level = level_of(swatch, number=1, repeat=repeat_of(swatch))
    assert level.own.sum() == 32 * 64 and level.shares[level.own].mean() == pytest.approx(1)
    y, x = np.nonzero(level.centres)
    place = level.inside[y, x]
    assert level.own[place >> 16, place & MASK].all()
    colours = level.pixels[..., :3]
    np.testing.assert_allclose(colours[y, x], colours[place >> 16, place & MASK], atol=1e-6)
    np.testing.assert_array_equal(level.keys[y, x], level.keys[place >> 16, place & MASK])
    counts = np.zeros(level.size, np.int64)
    counts[y[0], x[0]] = 1
    used = usage(level, counts)
    assert used[place[0] >> 16, place[0] & MASK] > 0, "a key of the margin is used where it comes from"
    corners = block_corners(level, 24)
    assert (corners[level.own] >= 0).all(), "a block may lie anywhere around the torus"
    assert len(own_corners(corners)) == level.own.sum()
    _, own_y, own_x = bank.atlas.origins()
    assert own_y.max() < 64 and own_x.max() == 127


@pytest.mark.parametrize("kind", ["quilt", "blocks", "noise"])
def test_every_coordinate_lies_in_the_swatch(kind, tmp_path):
    made = synthesis(tmp_path, noise(80, 72), Size(100, 90), choose("draft", kind))
    level = made._level(0)
    field = np.asarray(made.result)
    assert field.shape == (100, 90)
    assert level.centres[field >> 16, field & 0xFFFF].all()
    assert (made.bank.atlas.origins()[0][field >> 16, field & 0xFFFF] == 0).all()


def test_the_picture_is_the_bank_seen_through_the_field(tmp_path):
    swatch = noise()
    made = synthesis(tmp_path, swatch, settings=Settings(candidates=1, blend=1, iterations=(1, 1)))
    field = np.asarray(made.result)
    _, y, x = made.bank.atlas.origins()[:, field >> 16, field & 0xFFFF]
    rows, _ = made.field(Size(96, 96)).rendering([swatch]).rows(0, 96)
    np.testing.assert_array_equal(rows, swatch[y, x])


@pytest.mark.parametrize("backward", [False, True])
def test_the_energy_never_rises_in_a_search(backward):
    _, level = level_of(noise())
    field = random_blocks(level, Size(64, 64), 4, 0)
    for _ in range(4):
        field, (before, after, changed) = improved(field, level, backward=backward)
        assert after <= before and (after < before or changed == 0)


def test_a_converged_search_comes_near_the_nearest_patches():
    _, level = level_of(noise(), number=1)
    field = random_blocks(level, Size(32, 32), 4, 0)
    for turn in range(30):
        last = field
        field, (_, after, _) = improved(field, level, probes=8, backward=turn % 2 == 1)
    picture = np.empty((32, 32, 4), np.float32)
    voted(last, 0, 32, level.pixels, level.shown.astype(np.float32), vote_window(7), picture, np.empty((32, 32), bool))
    around = np.pad(picture, ((3, 3), (3, 3), (0, 0)), mode="wrap")
    patches = (
        np.lib.stride_tricks.sliding_window_view(around, (7, 7), (0, 1)).transpose(0, 1, 3, 4, 2).reshape(1024, -1)
    )
    queries, keys = patches @ level.basis + level.offset, level.keys[level.centres]
    nearest = ((queries[:, None] - keys) ** 2).sum(-1).min(1).mean()
    found = after / 1024
    print(f"search {found:.5f}, exhaustive {nearest:.5f}, allowed 1.3 times")
    assert nearest * 0.999 <= found <= 1.3 * nearest


def used_after_search(level: Level, field: np.ndarray, weight: float) -> np.ndarray:
    """How often each key is shown after six searches that make it cost `weight` median distances to be shown once more."""
    used, median = np.zeros(level.size, np.float32), 0.0
    for turn in range(6):
        field, (_, after, _) = improved(
            field, level, costs=penalties(level, used, weight * median), backward=turn % 2 == 1
        )
        counts = np.zeros(level.size, np.int64)
        counted(field, 0, len(field), counts)
        used, median = usage(level, counts), 0.7 * after / field.size
    return used[level.centres]


def test_a_penalty_spreads_the_use_of_the_bank():
    _, level = level_of(noise())
    field = random_blocks(level, Size(64, 64), 4, 0)
    counts = np.zeros(level.size, np.int64)
    counted(field, 0, 64, counts)
    used = usage(level, counts)
    assert counts.sum() == 64**2 and used[level.centres].mean() == pytest.approx(1, abs=0.15)
    costs = penalties(level, used, 2.0)
    assert np.isinf(costs[~level.centres]).all() and costs[level.centres].max() <= 2 * CAP
    assert (trust(level, used, 0.0)[level.centres] == 1).all() and trust(level, used, 1.0)[level.centres].min() < 1
    free, even = (used_after_search(level, field, weight) for weight in (0.0, 0.5))
    assert even.std() < 0.7 * free.std(), f"{even.std():.2f}, without a penalty {free.std():.2f}, allowed 0.7 of it"
    assert (even < 0.05).mean() < 0.7 * (free < 0.05).mean(), "less of it is left unused"


def test_levels_halve_and_edges_are_found():
    image = np.zeros((40, 30, 3), np.float32)
    image[:, 15:] = 1
    assert halved(image).shape == (20, 15, 3) and halved(image).mean() == pytest.approx(0.5, abs=0.02)
    distance = edge_distance(edges_of(image))
    assert (distance[:, 14:16] == 0).all() and distance[20, 0] == pytest.approx(13, abs=2)
    assert (edge_distance(edges_of(np.full((40, 30, 3), 0.5, np.float32))) == FAR).all()
    assert 0.1 < otsu(np.array([0.0, 0.1, 0.9, 1.0])) < 0.9
    assert [level_count(512, 1024), level_count(64, 1024), level_count(512, 32)] == [5, 2, 3]


def test_a_coordinate_of_a_level_is_twice_that_of_the_next():
    bank, fine = level_of(noise(96, 80), 0, levels=3)
    coarse = bank.level(1, patch=7, dims=16, alike=0)
    assert fine.size == (2 * coarse.size[0], 2 * coarse.size[1])
    inside = coarse.pixels[coarse.centres].reshape(48, 40, 4)[4:-4, 4:-4]
    mean = fine.pixels[fine.centres].reshape(48, 2, 40, 2, 4).mean((1, 3))[4:-4, 4:-4]
    assert np.corrcoef(inside.ravel(), mean.ravel())[0, 1] > 0.99


def test_a_quilt_covers_the_canvas_and_carries_on_inside_its_pieces():
    _, level = level_of(noise(128, 128), levels=1)
    field = quilted(level, Size(96, 130), 24, 8, REUSE, 1, FREE, 0)
    assert (field >= 0).all() and level.centres[field >> 16, field & 0xFFFF].all()
    assert (np.diff(field & 0xFFFF, axis=1) == 1).mean() > 0.85
    assert 0 < misfit(level, 24, 8) <= 1
    assert whole_blocks(np.ones((4, 4), bool), 3).sum() == 4
    assert middle(1, 2, 0, 8) == (2, 7) and middle(2, 3, 1, 8) == (1, 3)


def test_a_quilt_has_the_mean_colour_of_the_swatch():
    swatch = halved(halved(images.read_pixels(SWATCHES.parent.parent / "benchmarks" / "swatches" / "large_panels.png")))
    _, level = level_of(swatch, levels=1)
    for seed in range(3):
        field = quilted(level, Size(256, 256), 32, 16, REUSE, 1, FREE, seed)
        drift = level.pixels[field >> 16, field & 0xFFFF, :3].mean((0, 1)) - swatch.mean((0, 1))
        assert np.abs(drift).mean() < 0.01, "large features are shown as often as the swatch has them"


def sheet_of(level: Level) -> Sheet:
    corners = block_corners(level, 8)
    return Sheet(
        level.pixels, level.inside, level.shares, level.source, level.tori, level.wanted, corners, own_corners(corners), 1,
        tints(level, FREE, 1.0), FREE, NEVER,
    )  # fmt: skip


def seam_cost(level: Level, field: np.ndarray) -> float:
    """Of a field on a torus, per pixel."""
    sheet = sheet_of(level)
    return float(np.mean([seam(sheet, field, y, x) for y, x in np.ndindex(*field.shape)]))


def test_a_quilt_that_nobody_wants_any_more_is_not_sewn():
    _, level = level_of(noise(128, 128), levels=1)
    assert (quilted(level, Size(96, 130), 24, 8, REUSE, 1, FREE, 0, stop=np.ones(1, np.bool_)) == -1).all()


def test_sewing_over_seams_leaves_less_of_them():
    _, level = level_of(halved(halved(images.read_pixels(SWATCHES / "wood_planks.jpg"))), levels=1)
    costs = [seam_cost(level, quilted(level, Size(96, 128), 24, 8, REUSE, mend, FREE, 0)) for mend in (0, 1, 3)]
    assert costs[0] > 1.02 * costs[1] and costs[1] >= costs[2] > 0
    y, x = np.indices((64, 64), np.int32) + 10
    assert seam_cost(level, (y << 16) | x) > 0, "where it closes"
    assert seam(sheet_of(level), (y << 16) | x, 20, 20) == 0


@pytest.mark.parametrize("count", [0, 1, 4, 7])
@pytest.mark.parametrize("channels", [1, 4, 5])
def test_differences_and_descriptors_are_those_of_their_formulas(count, channels):
    random = np.random.default_rng(0)
    picture = random.random((30, 40, channels)).astype(np.float32)
    corners = random.integers(0, 20, (count, 2))
    patches = np.stack([picture[y : y + 7, x : x + 7].reshape(-1) for y, x in corners] or [np.zeros(49 * channels)])
    basis, offset = random.random((49 * channels, 8)).astype(np.float32), np.ones(8, np.float32)
    found = np.empty((count, 8), np.float32)
    describe(picture, corners, 7, basis, offset, found)
    np.testing.assert_allclose(found, (patches @ basis + offset)[:count], rtol=1e-5)
    known = random.integers(0, 7, (11, 2)).astype(np.int32)
    values = random.random((11, channels)).astype(np.float32)
    shown = patches.reshape(-1, 7, 7, channels)[:, known[::2, 0], known[::2, 1]]
    expected = ((shown - values[::2]) ** 2).sum((1, 2))[:count]
    np.testing.assert_allclose(differences(picture, corners, known, values, 2), expected, rtol=1e-5)


def test_look_alikes_are_the_nearest_keys_that_are_not_beside():
    keys = np.random.default_rng(0).random((12, 14, 16)).astype(np.float32)
    places = np.argwhere(np.ones((12, 14), bool))
    found = similar_keys(keys, np.ones((12, 14), bool), 2)
    distances = ((keys.reshape(-1, 1, 16) - keys.reshape(1, -1, 16)) ** 2).sum(-1)
    distances[np.abs(places[:, None] - places[None]).max(-1) <= 2] = np.inf
    nearest = places[np.argsort(distances, 1)[:, :2]]
    np.testing.assert_array_equal(found, (nearest[..., 0] << 16) | nearest[..., 1])


def test_no_piece_lies_beside_nearly_what_it_would_carry_on():
    _, level = level_of(noise(128, 128), levels=1)
    field = quilted(level, Size(96, 128), 24, 8, REUSE, 0, FREE, 0)
    y, x = field >> 16, field & 0xFFFF
    for axis in (0, 1):
        jump_y, jump_x = (np.roll(c, -1, axis) - c - (axis == a) for a, c in enumerate((y, x)))
        away = np.maximum(np.abs(jump_y), np.abs(jump_x))
        assert (away > 0).mean() > 0.02
        assert ((away > 0) & (away <= AWRY)).mean() < 0.002, "stripes and steps"


def test_a_swatch_of_which_every_place_nearly_carries_on_is_sewn():
    _, level = level_of(noise(64, 64)[:16, :16], levels=1)
    assert len(own_corners(block_corners(level, 14))) == 9
    field = quilted(level, Size(40, 40), 14, 6, REUSE, 1, FREE, 0)
    assert level.centres[field >> 16, field & 0xFFFF].all()


def test_symmetries_and_windows_of_large_swatches_keep_their_origin(monkeypatch):
    swatch = noise(70, 90)
    sources = sources_of(Material(swatches=[swatch], shares=[1.0], symmetry="all"))
    assert len(sources) == 8 and sum(s.share for s in sources) == pytest.approx(1)
    origins = Bank(sources, 1, 7).atlas.origins()
    for source, place in zip(sources, Bank(sources, 1, 7).places, strict=True):
        margin, repeat = place.margin, place.repeat
        top, left = margin.height, place.left + margin.width
        _, y, x = origins[:, top : top + repeat.height, left : left + repeat.width]
        np.testing.assert_array_equal(swatch[y, x], source.pixels)
    monkeypatch.setattr("texgen.swatch.bank.sources.MOST_PIXELS", 4 * 64 * 64)
    monkeypatch.setattr("texgen.swatch.bank.sources.WINDOW_SIDE", 64)
    windows = sources_of(Material(swatches=[noise(256, 200)], shares=[1.0]))
    assert 1 < len(windows) <= 4 and all(w.pixels.shape[:2] == (64, 64) for w in windows)
    assert len({(w.top > 96, w.left > 68) for w in windows}) > 1, "spread over the swatch"


def test_presets_are_known_by_name():
    assert list(PRESETS) == ["draft", "standard", "best"] and choose("best", "blocks").start == "blocks"
    with pytest.raises(OptionError, match="preset='no' is not known"):
        choose("no")
    with pytest.raises(OptionError, match="start='layout' is not for the swatch model"):
        choose("draft", "layout")


OPTIONS = {"preset": "draft", "seed": 3}


def pixels(result: texgen.Result) -> np.ndarray:
    return np.asarray(result.image)


@pytest.mark.parametrize(("size", "tileable"), [((65, 131), "both"), ((64, 64), "none"), ((97, 160), "x")])
def test_any_size_from_64_px(size, tileable):
    result = texgen.expand(noise(), size, tileable=tileable, **OPTIONS)
    assert pixels(result).shape == (*size, 3)
    assert result.recipe["model"] == "swatch"
    assert all(0 <= level["after"] <= level["before"] for level in result.recipe["ad_energy"]["levels"].values())
    assert result.recipe["repeat"] == [{"height": 64, "width": 64, "shift": 0, "wrap": [True, True]}]


@pytest.mark.parametrize("symmetry", ["none", "all"])
@pytest.mark.parametrize(
    "swatch", [np.full((64, 64, 3), 0.5, np.float32), np.tile(noise(16, 16), (4, 4, 1)), seamless(90, 70)]
)
def test_swatches_of_one_colour_and_of_tiny_tiles_work(swatch, symmetry):
    result = texgen.expand(swatch, (160, 200), symmetry=symmetry, with_map=True, **OPTIONS)
    assert pixels(result).std() == pytest.approx(255 * swatch.std(), abs=4)
    _, y, x = result.coordinates
    assert y.min() >= 0 and y.max() < swatch.shape[0] and x.max() < swatch.shape[1]


def test_a_tileable_side_closes_and_another_need_not():
    swatch = SWATCHES / "rusty_metal.jpg"
    both = pixels(texgen.expand(swatch, 256, **OPTIONS)).astype(float)
    lines = np.abs(both - np.roll(both, 1, 1)).mean((0, 2))
    assert (lines[1:] < lines[0]).mean() < 0.99
    none = pixels(texgen.expand(swatch, 256, tileable="none", **OPTIONS)).astype(float)
    open_lines = np.abs(none - np.roll(none, 1, 1)).mean((0, 2))
    assert open_lines[0] > 1.2 * lines[0]


def test_the_swatch_stays_at_its_place_bit_by_bit():
    swatch = np.rint(noise(64, 80) * 255).astype(np.uint8)
    made = pixels(texgen.expand(swatch, (150, 170), keep=(51, 33), **OPTIONS))
    np.testing.assert_array_equal(made[33:97, 51:131], swatch)
    row = np.abs(np.diff(made.astype(float), axis=0)).mean((1, 2))
    assert row[32] < 2.5 * np.median(row), "the rest continues it"


def test_the_map_says_where_every_pixel_came_from():
    swatches = [np.rint(noise(64, 64, seed) * 255).astype(np.uint8) for seed in (1, 2)]
    result = texgen.expand(swatches[0], 128, exemplars=[swatches[1]], with_map=True, **OPTIONS)
    number, y, x = result.coordinates
    assert set(np.unique(number)) == {0, 1}
    shown = np.stack([s[y, x] for s in swatches])[number, np.arange(128)[:, None], np.arange(128)]
    assert (shown == pixels(result)).all(-1).mean() > 0.5, "all but where pieces are blended"


def test_weights_of_exemplars_are_followed():
    swatches = [np.rint(noise(96, 96, seed) * 255).astype(np.uint8) for seed in (1, 2)]
    shares = []
    for weights in ((3, 1), (1, 3)):
        result = texgen.expand(
            swatches[0], 256, exemplars=[swatches[1]], exemplar_weights=weights, with_map=True, **OPTIONS
        )
        shares.append(float((result.coordinates[0] == 0).mean()))
    print(f"shares of the first: {shares}")
    assert shares[0] > 0.6 and shares[1] < 0.4


def test_an_interrupted_run_goes_on_to_the_same_bytes(tmp_path):
    swatch, options = noise(96, 96), {"seed": 3, "preset": "standard"}
    states = []
    whole = pixels(texgen.expand(swatch, 128, callback=states.append, **options))
    assert states[-1].done == states[-1].total
    assert [s.done for s in states] == sorted(s.done for s in states)
    for stop in range(1, len(states)):
        seen = []

        def interrupt(state, seen=seen, stop=stop):
            seen.append(state)
            if len(seen) == stop:
                raise KeyboardInterrupt

        folder = tmp_path / str(stop)
        with pytest.raises(KeyboardInterrupt):
            texgen.expand(swatch, 128, checkpoint=folder, callback=interrupt, **options)
        result = texgen.expand(swatch, 128, checkpoint=folder, resume=True, **options)
        np.testing.assert_array_equal(pixels(result), whole)


def test_nothing_of_torch_is_loaded(tmp_path):
    Image.fromarray(np.rint(noise() * 255).astype(np.uint8)).save(tmp_path / "s.png")
    probe = (
        "import sys; from texgen.cli import main as cli\n"
        "try: cli.main(['expand', 's.png', '-o', 'o.png', '--size', '64', '--preset', 'draft', '--progress', 'json'])\n"
        "except SystemExit: print('torch' in sys.modules, 'diffusers' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", probe], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]
    events = [json.loads(line) for line in done.stderr.splitlines()]
    assert events[0]["event"] == "begin" and events[-1]["event"] == "done"
    steps = [event for event in events if event["event"] == "progress" and "level" in event]
    assert steps and all({"done", "total", "iteration", "stage"} < event.keys() for event in steps)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"size": 63}, OptionError, "at least 64 px a side"),
        ({"tileable": "z"}, OptionError, "tileable='z' is not known"),
        ({"symmetry": "odd"}, OptionError, "symmetry='odd' is not known"),
        ({"bit_depth": "12"}, OptionError, "bit_depth='12' is not known; choose one of 8, 16, half, float"),
        ({"seed": -1}, OptionError, "seed=-1 must be from 0"),
        ({"strength": 0.5}, OptionError, "strength=0.5 is for diffusion models"),
        ({"nonsense": 1}, TypeError, "has no option 'nonsense'"),
        ({"keep": (100, 0)}, OptionError, "does not fit there"),
        ({"exemplar_weights": [1, 2]}, OptionError, "must be 1 numbers above 0"),
        ({"crop": (0, 0, 32, 32)}, InputError, "at least 64 px a side are needed"),
        ({"model": "mini", "symmetry": "all"}, OptionError, "symmetry='all' is for the swatch model"),
    ],
)
def test_options_that_make_no_sense_are_refused(options, error, message):
    with pytest.raises(error, match=message):
        texgen.expand(noise(), **{"size": 128, **options})


def test_more_bits_than_the_swatch_has_come_of_blending_alone():
    swatch = np.rint(noise(96, 80) * 255).astype(np.uint8)
    made = texgen.expand(swatch, 128, preset="draft", seed=1, bit_depth="16")
    of_eight = (made.pixels[0:128] % 257 == 0).mean()
    print(f"{of_eight:.2f} of the values are those of 8 bits")
    assert made.recipe["bit_depth"] == "16" and [each["bit_depth"] for each in made.recipe["exemplars"]] == ["8"]
    assert 0.3 < of_eight < 1


def test_kept_pixels_have_their_own_coordinates(tmp_path):
    canvas, swatch = Size(128, 128), noise(64, 64)
    steering = Steering(canvas, canvas, tmp_path, given=Given(20, 37, swatch, np.ones((64, 64), bool)))
    made = synthesis(tmp_path, swatch, canvas, steering=steering)
    assert (np.asarray(made.result)[20:84, 37:101] == -1).all()
    assert (np.asarray(made.result) == -1).sum() == 64 * 64
    field = made.field(canvas, Kept(0, 20, 37))
    exemplar, y, x = field.coordinates()[:, 20:84, 37:101]
    assert (exemplar == 0).all()
    np.testing.assert_array_equal(np.stack([y, x]), np.indices((64, 64)))
    np.testing.assert_array_equal(field.coordinates(3), field.coordinates()[:, ::3, ::3])


def test_starts_follow_the_shares_of_the_sources():
    bank = Bank([Source(noise(), 0.9), Source(noise(seed=1), 0.1)], 2, 7)
    level = bank.level(1, patch=7, dims=16, alike=0)
    field = starter(level, Size(64, 64), Settings(start="noise"), FREE, 0)(0)
    left = (field & 0xFFFF) < bank.places[1].left >> 1
    assert left.mean() == pytest.approx(0.9, abs=0.03)
