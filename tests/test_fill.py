"""Pixels that are given stay, whatever is made around them: holes, borders, a swatch in its place."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from conftest import generator
from PIL import Image
from test_cli import run
from test_expand import line_percentile

import texgen
from texgen.diffusion.exemplar import encode_exemplar
from texgen.diffusion.kept_pixels import Kept, on_grid
from texgen.errors import InputError, OptionError
from texgen.files import image as images
from texgen.materials.exemplar import NONE
from texgen.materials.holes import COMPARED, MARGIN, faded, filled_in
from texgen.swatch.steering import Given, Steering
from tiling import Size, Tile

QUICK = {"preset": "draft", "seed": 1}


def whole(image: torch.Tensor, mask: torch.Tensor) -> Kept:
    return Kept(image, mask, Tile(0, 0, *mask.shape))


def disc(height: int, width: int, radius: int) -> torch.Tensor:
    y, x = torch.meshgrid(torch.arange(height) - height // 2, torch.arange(width) - width // 2, indexing="ij")
    return y**2 + x**2 < radius**2


def mask_picture(mask: torch.Tensor) -> np.ndarray:
    return np.repeat((mask.numpy() * 255).astype(np.uint8)[..., None], 3, 2)


@pytest.fixture
def picture(stationary) -> np.ndarray:
    with Image.open(stationary) as file:
        return np.asarray(file.convert("RGB").crop((0, 0, 256, 192)))


# --- what is given


@pytest.mark.parametrize("height", [100, 1101])
def test_filling_in_keeps_what_is_known_and_stays_within_it(height):
    image, mask = np.random.default_rng(0).random((height, 75, 3), np.float32), ~disc(height, 75, 20).numpy()
    filled = filled_in(image, mask)
    assert np.array_equal(filled[mask], image[mask])
    assert np.isfinite(filled).all() and filled.min() >= 0 and filled.max() <= 1
    constant = np.where(mask, np.float32(0.3), np.float32(0.9))[..., None]
    np.testing.assert_allclose(filled_in(constant, mask), 0.3, rtol=1e-5)


def test_latent_pixels_are_given_where_all_their_pixels_are():
    mask = torch.ones(24, 40, dtype=torch.bool)
    mask[9, 17] = False
    given = Kept(torch.zeros(1, 3, 24, 40), mask, Tile(4, 8, 28, 48)).latent_mask(Size(6, 8), 8)
    row = [0, 1, 1, 1, 1, 1, 0, 0]
    assert given.int().tolist() == [[0] * 8, [*row[:3], 0, *row[4:]], row, *[[0] * 8] * 3]


def test_kept_pixels_are_untouched_and_a_constant_mismatch_leaves_no_step():
    mask = ~disc(128, 128, 30)
    image = torch.rand(1, 3, 128, 128, generator=generator())
    made = (image + 0.1).contiguous()
    met = whole(image, mask).apply(made, Tile(0, 0, 128, 128), Size(128, 128))
    assert torch.equal(met[..., mask], image[..., mask])
    difference = (met - image)[0, 0]
    rim = (~mask) & ~disc(128, 128, 28)
    assert difference[rim].abs().max() < 0.03, "at the rim the mismatch is gone"
    assert (difference[64, 64] - 0.1).abs() < 0.005, "far from it the filling is as it was"


def test_a_mismatch_fades_to_exactly_nothing_so_that_no_pixel_farther_away_counts_as_blended():
    weight = np.zeros((64, 128), np.float32)
    weight[:, :40] = 1
    change = faded(np.random.default_rng(0).random((64, 128, 3), np.float32) * weight[..., None], weight)
    assert (change[:, 40 : 40 + COMPARED] != 0).all() and not change[:, 40 + COMPARED :].any()


def test_a_picture_that_ends_with_the_result_goes_on_to_the_end_of_the_canvas():
    kept = on_grid(whole(torch.rand(1, 3, 10, 12), torch.ones(10, 12, dtype=torch.bool)), Size(10, 12), Size(16, 16))
    assert kept.place == (0, 0, 16, 16) and bool(kept.mask.all())
    inside = Kept(torch.rand(1, 3, 4, 4), torch.ones(4, 4, dtype=torch.bool), Tile(2, 2, 6, 6))
    assert on_grid(inside, Size(10, 12), Size(16, 16)).place == (2, 2, 6, 6)


# --- the verbs


@pytest.mark.parametrize("preset", ["draft", "standard"])
def test_a_filled_picture_differs_in_the_hole_only_and_shows_nothing_of_it(picture, preset):
    hole = disc(192, 256, 40)
    spoilt = picture.copy()
    spoilt[hole.numpy()] = (0, 255, 0)
    result = texgen.fill(spoilt, mask_picture(hole), preset=preset, seed=1, with_map=True)
    pixels = np.asarray(result.image)
    assert np.array_equal(pixels[~hole.numpy()], picture[~hole.numpy()])
    inside = pixels[hole.numpy()].astype(float)
    assert inside[:, 1].max() < 250 and inside.std() > 5
    assert np.abs(inside.mean(0) - picture[hole.numpy()].mean(0)).max() < 40
    assert result.recipe["task"] == "fill" and result.recipe["tileable"] == "none"
    exemplar, y, x = result.coordinates
    assert (exemplar[~hole.numpy()] == -1).all() and (exemplar[hole.numpy()] == 0).all()
    assert not hole[y[hole.numpy()], x[hole.numpy()]].any(), "the hole itself is never shown"


def rim_ratio(pixels: np.ndarray, hole: np.ndarray) -> float:
    """Gradient across the rim of a hole over that everywhere else."""
    down = np.abs(np.diff(pixels.astype(float), axis=0)).mean(2)
    rim = np.diff(hole.astype(np.int8), axis=0) != 0
    return float(down[rim].mean() / down[~rim].mean())


def test_the_rim_of_a_hole_is_not_to_be_seen(picture):
    hole = disc(192, 256, 45)
    before, after = picture, np.asarray(texgen.fill(picture, mask_picture(hole), seed=1).image)
    own, found = rim_ratio(before, hole.numpy()), rim_ratio(after, hole.numpy())
    assert found < 1.3 * own, f"{found:.2f}, in the picture itself {own:.2f}"


@pytest.mark.parametrize("missing", ["given-1", "known-1"])
def test_what_is_given_is_laid_again_where_it_was_cut_off(missing, tmp_path):
    pixels = np.random.default_rng(0).random((20, 24, 3)).astype(np.float32)
    given = Given(2, 3, pixels, pixels[..., 0] < 0.9)
    steering = Steering(Size(32, 32), Size(32, 32), tmp_path, given=given)
    whole = [np.array(values) for values in steering.at(1)]
    (tmp_path / missing).unlink()
    for found, wanted in zip(steering.at(1), whole, strict=True):
        np.testing.assert_array_equal(found, wanted)


def test_a_hole_can_be_filled_with_a_swatch(picture):
    hole = disc(192, 256, 80)
    grey = np.full((128, 128, 3), 128, np.uint8)
    pixels = np.asarray(texgen.fill(picture, mask_picture(hole), grey, **QUICK).image)
    assert np.abs(pixels[86:106, 118:138].astype(int) - 128).max() <= 2
    assert np.array_equal(pixels[~hole.numpy()], picture[~hole.numpy()])


@pytest.mark.parametrize("bits", [8, 16])
def test_any_size_keeps_its_pixels_bit_by_bit(picture, bits):
    odd = picture[:181, :243].astype(np.float32) / 255 if bits == 16 else picture[:181, :243]
    if bits == 16:
        odd = torch.from_numpy(odd + np.float32(1 / 400)).permute(2, 0, 1).clamp(0, 1)
    hole = disc(181, 243, 30)
    result = texgen.fill(odd, mask_picture(hole), **QUICK, bit_depth=str(bits))
    kept = result.pixels[0:181][~hole.numpy()]
    expected = odd if bits == 8 else np.rint(odd.permute(1, 2, 0).numpy() * 65535).astype(np.uint16)
    assert np.array_equal(kept, expected[~hole.numpy()])


def test_maps_of_a_filled_picture_are_filled_with_it_and_rendered_later_alike(picture, tmp_path):
    hole, height = disc(192, 256, 40), picture[..., :1].astype(np.float32)
    result = texgen.fill(picture, mask_picture(hole), **QUICK, maps={"height": height})
    made = result.maps["height"][0:192]
    assert np.array_equal(made[~hole.numpy()], height[~hole.numpy()])
    shown = result.pixels[0:192][..., :1].astype(np.float32)
    assert np.abs(made - shown)[hole.numpy()].max() <= 0.51, "what the colours show, before they are rounded"
    result.save_field(tmp_path / "f.tif")
    later = texgen.render(tmp_path / "f.tif", {"height": height})
    assert np.array_equal(later.maps["height"][0:192], made)
    with pytest.raises(OptionError, match="one of the picture"):
        texgen.fill(picture, mask_picture(hole), picture, **QUICK, maps={"height": height})
    twice = texgen.fill(picture, mask_picture(hole), picture, **QUICK, maps={"height": [height, height]})
    assert np.array_equal(twice.maps["height"][0:192][~hole.numpy()], height[~hole.numpy()])


@pytest.mark.parametrize("options", [{"steps": 5, "iterations": 1, "strength": 0.2}, {"steps": 1, "loop": "optimize"}])
def test_stable_diffusion_fills_too(sd, picture, options):
    hole = disc(192, 256, 30)
    result = texgen.fill(picture, mask_picture(hole), model=sd, seed=1, tile_batch=1, **options)
    pixels = np.asarray(result.image)
    assert np.array_equal(pixels[~hole.numpy()], picture[~hole.numpy()])
    assert 0 < result.recipe["tile_steps"] < 12, "only tiles that touch the hole are worked on"


def border_over_lines(pixels: np.ndarray, axis: int) -> float:
    """Gradient where the picture meets itself over that of the median line."""
    change = np.abs(pixels.astype(float) - np.roll(pixels.astype(float), 1, axis))
    lines = change.mean(tuple(a for a in range(3) if a != axis))
    return float(lines[0] / np.median(lines))


def test_a_border_is_made_of_the_part_that_is_named():
    _, x = np.mgrid[:160, :160]
    grain = np.random.default_rng(0).integers(0, 40, (160, 160))
    picture = np.stack([grain + 200 * (x >= 80), grain, grain + 100], -1).astype(np.uint8)
    pixels = np.asarray(texgen.tile(picture, band=16, crop=(0, 0, 80, 160), preset="draft", seed=2).image)
    assert np.array_equal(pixels[16:-16, 16:-16], picture[16:-16, 16:-16])
    border = np.concatenate([pixels[:8].reshape(-1, 3), pixels[-8:].reshape(-1, 3)])
    shown = (border[:, 0] < 60).mean()
    print(f"{shown:.3f} of the border is of the named part (at least 0.8)")
    assert shown >= 0.8 and (picture[:8, :, 0] < 60).mean() == 0.5


@pytest.mark.parametrize("tileable", ["both", "x", "y"])
def test_a_picture_made_to_tile_keeps_its_middle_and_has_no_seam(tileable):
    ramp = np.linspace(60, 180, 256)[None, :, None] + np.linspace(-40, 40, 256)[:, None, None]
    grain = np.random.default_rng(0).normal(0, 12, (256, 256, 3))
    picture = (ramp + grain).clip(0, 255).astype(np.uint8)
    result = texgen.tile(picture, preset="draft", seed=2, band=40, tileable=tileable)
    pixels = np.asarray(result.image)
    assert pixels.shape == picture.shape
    assert np.array_equal(pixels[40:-40, 40:-40], picture[40:-40, 40:-40])
    for axis in {"both": (0, 1), "x": (1,), "y": (0,)}[tileable]:
        assert line_percentile(picture, axis) == 100
        before, after = (border_over_lines(p, axis) for p in (picture, pixels))
        assert before > 4 and after < 1.2, f"axis {axis}: {before:.1f} (over 4) to {after:.2f} (allowed 1.2)"
        step = np.abs(np.take(pixels, 0, axis).astype(float).mean(0) - np.take(pixels, -1, axis).mean(0)).max()
        assert step < 25, f"axis {axis}: {step}"
    if tileable == "x":
        assert np.array_equal(pixels[:, 40:-40], picture[:, 40:-40])


@pytest.mark.parametrize("kind", ["swatch", "sd"])
def test_a_swatch_kept_in_place_is_unchanged(sd, picture, kind):
    options = {"model": sd, "steps": 2, "iterations": 1, "tile_batch": 1} if kind == "sd" else QUICK
    swatch = picture[:128, :160]
    result = texgen.expand(swatch, (192, 224), keep=(50, 37), **{"seed": 1, **options})
    pixels = np.asarray(result.image)
    assert np.array_equal(pixels[37 : 37 + 128, 50 : 50 + 160], swatch)
    assert pixels[166:].std() > 5 and result.recipe["keep"] == [50, 37]


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda p: texgen.fill(p, mask_picture(disc(192, 192, 20))), InputError, "the picture is 256x192 px, the mask of its hole 192x192"),
        (lambda p: texgen.fill(p, mask_picture(disc(192, 256, 20)), start="layout", model="mini"), OptionError, "start='layout' needs a layout"),
        (lambda p: texgen.tile(p[:, :250], model="mini"), OptionError, "width=250 is no multiple of 8"),
        (lambda p: texgen.expand(p, exemplar_weights=[0]), OptionError, "must be 1 numbers above 0"),
        (lambda p: texgen.expand(p, model="mini", start="scatter"), OptionError, "start='scatter' needs labels"),
    ],
)  # fmt: skip
def test_bad_input_is_named_before_any_work(picture, call, error, message):
    with pytest.raises(error, match=message):
        call(picture)


def test_the_command_line_fills_and_tiles(picture, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Image.fromarray(picture).save("wall.png")
    Image.fromarray(mask_picture(disc(192, 256, 30))).save("hole.png")
    for arguments in (
        ["fill", "wall.png", "--hole", "hole.png", "-o", "filled.png"],
        ["tile", "wall.png", "-o", "tiled.png", "--band", "32"],
        ["expand", "wall.png", "--size", "320", "--keep", "8,8", "-o", "kept.png"],
    ):
        code, _, said = run(capsys, *arguments, "--preset", "draft", "--seed", "1")
        assert code == 0, said
        assert (tmp_path / arguments[arguments.index("-o") + 1]).exists()


def test_a_hole_with_nothing_whole_around_it_is_filled_all_the_same(picture):
    mask = torch.ones(192, 256, dtype=torch.bool)
    mask[::6] = False
    result = texgen.fill(picture, mask_picture(mask), picture, **QUICK)
    pixels = np.asarray(result.image)
    assert np.array_equal(pixels[~mask.numpy()], picture[~mask.numpy()]) and pixels[mask.numpy()].std() > 5


@pytest.mark.parametrize(("start", "strips"), [("quilt", [(16, 8), (128, 120)]), ("blocks", [(8, 2), (64, 50)])])
def test_what_is_whole_in_strips_alone_is_shown(start, strips):
    """Strips so narrow that patches fit into them at the finest scales alone, and pieces nowhere."""
    y, x = np.mgrid[:128, :128]
    picture = np.stack([127 + 100 * np.sin(x * k / 5 + y * (4 - k) / 7) for k in (1, 2, 3)], -1).astype(np.uint8)
    for period, width in strips:
        hole = x % period < width
        pixels = np.asarray(texgen.fill(picture, hole * np.uint8(255), start=start, preset="draft", seed=1).image)
        assert np.array_equal(pixels[~hole], picture[~hole]) and pixels[hole].std() > 5


def test_tiles_of_a_filled_picture_agree_where_the_rim_crosses_their_border():
    """The fade reads no further than its margin: a core of 64 latent pixels equals the same part of one decode."""
    image = torch.rand(1, 3, 640, 640, generator=generator())
    hole = disc(640, 640, 250)
    kept = whole(image, ~hole)
    made = torch.rand(1, 3, 640, 640, generator=generator(1))
    assert hole[512, 300 + MARGIN : 512].any() and not hole[512, 300 + MARGIN : 512].all(), "the rim crosses the border"
    size = Size(640, 640)
    once = kept.apply(made, Tile(0, 0, 640, 640), size)
    grown = Tile(512 - MARGIN, 300, 640, 512 + MARGIN)
    part = kept.apply(made[..., grown.top :, grown.left : grown.right], grown, size)
    torch.testing.assert_close(
        part[..., MARGIN:, MARGIN:-MARGIN], once[..., 512:, 300 + MARGIN : 512], atol=1e-5, rtol=0
    )


def test_bands_of_a_filled_picture_agree_where_the_rim_crosses_their_border(picture):
    hole = disc(192, 256, 60)
    result = texgen.fill(picture, mask_picture(hole), **QUICK)
    rendering = result.field.rendering([np.float32(picture), np.float32(picture)])
    whole, _ = rendering.rows(0, 192)
    parts = np.concatenate([rendering.rows(top, top + 32)[0] for top in range(0, 192, 32)])
    np.testing.assert_allclose(parts, whole, atol=1e-3)


def test_what_is_learnt_from_a_picture_is_learnt_outside_of_its_hole(mini, picture):
    hole = torch.zeros(192, 256, dtype=torch.bool)
    hole[96:, :128] = True
    exemplar = encode_exemplar(mini, [images.read(picture)], [hole.byte() * NONE])
    for seed in range(20):
        source = exemplar.sources[seed % 4]
        tile = exemplar.window(source, Size(8, 8), generator(seed))
        area = tile.scaled(8)
        rows = slice(source.top_px + area.top, source.top_px + area.bottom)
        seen = hole[rows, source.left_px + area.left : source.left_px + area.right]
        assert seen.shape == (64, 64) and not seen.any()
