"""Label maps: read, made soft, and kept to by patches, attention and spectra."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import generator
from PIL import Image
from scipy.ndimage import gaussian_filter
from test_cli import run

import texgen
from texgen.diffusion.attention import KeyValue, attend, token_grid
from texgen.diffusion.exemplar import encode_exemplar
from texgen.diffusion.guidance.distill import ad_loss
from texgen.diffusion.guidance.exemplar_keys import exemplar_key_values
from texgen.diffusion.guidance.regional import Regions, by_label, clear_labels, latent_labels, middle_labels, tokens_of
from texgen.diffusion.sampling.spectrum import cross_spectrum, spectrum_matcher
from texgen.diffusion.sampling.start import scattered
from texgen.errors import InputError, OptionError
from texgen.files import image as images
from texgen.files.publish import save_image
from texgen.materials.exemplar import NONE
from texgen.materials.labels import Target, indexed, label_value, read_values, soft_target
from tiling import Size, Tile, Wrap

RED, BLUE = 0xFF0000, 0x0000FF
TORUS = Wrap(True, True)


def noise_image(seed: int, low: float, high: float, side: int = 128) -> torch.Tensor:
    return low + (high - low) * torch.rand(1, 3, side, side, generator=generator(seed))


def halves(height: int = 128, width: int = 128) -> np.ndarray:
    """Red on the left, blue on the right."""
    picture = np.zeros((height, width, 3), np.uint8)
    picture[:, : width // 2, 0] = 255
    picture[:, width // 2 :, 2] = 255
    return picture


@pytest.fixture
def dark_and_bright() -> dict[str, torch.Tensor]:
    return {"red": noise_image(1, 0.0, 0.2), "blue": noise_image(2, 0.8, 1.0)}


# --- maps


def test_labels_are_colours_by_name_or_number_and_whole_numbers_stay():
    assert [label_value(v) for v in ("red", "#0000ff", 7)] == [RED, BLUE, 7]
    values = read_values(halves(), "map")
    assert values[0, 0] == RED and values[-1, -1] == BLUE
    assert read_values(np.array([[1, 2], [3, 4]]), "map").tolist() == [[1, 2], [3, 4]]
    with pytest.raises(OptionError, match="label 'grasss' is no colour"):
        label_value("grasss")


def test_grey_levels_are_labels(tmp_path):
    levels = np.repeat([[0, 1], [2, 255]], 8, 0).astype(np.uint8)
    for dtype in (np.uint8, np.uint16):
        save_image(tmp_path / "map.png", (levels * dtype(257 if dtype == np.uint16 else 1))[..., None])
        values = read_values(tmp_path / "map.png", "map")
        assert values[::8].tolist() == [[label_value("0"), label_value("1")], [label_value("2"), label_value("white")]]
    save_image(tmp_path / "map.png", levels.astype(np.uint16)[..., None])
    with pytest.raises(InputError, match="map: has labels that 8 bits do not tell apart; save it with 8 bits"):
        read_values(tmp_path / "map.png", "map")
    with pytest.raises(OptionError, match="label '256' is no grey level; use one from 0 to 255"):
        label_value("256")


def test_a_map_with_smoothed_borders_is_refused():
    smooth = np.repeat(np.arange(256, dtype=np.uint8)[None, :, None], 3, 2).repeat(8, 0)
    with pytest.raises(InputError, match="256 colours are too many for labels"):
        read_values(smooth, "target")


def test_a_label_without_a_swatch_is_named_with_its_place():
    values = read_values(halves(8, 8), "target")
    with pytest.raises(
        InputError, match=r"label #0000ff \(32 px, the first at x=4, y=0\) has no swatch; there are #ff0000"
    ):
        indexed(values, [RED], "target")
    with pytest.raises(
        InputError, match=r"#ff0000 .* there are #000001; 1 more have none: a JPEG, or smoothed borders"
    ):
        indexed(values, [1], "target")


def test_a_hard_target_is_the_map_enlarged_by_nearest_neighbour():
    target = Target(np.array([[0, 1], [2, 0]], np.uint8), "abc")
    labels = target.on_canvas(Size(6, 4), Size(8, 8), Wrap(), 0)
    assert labels.dtype == np.uint8
    assert labels[:6, :4].tolist() == [[0, 0, 1, 1]] * 3 + [[2, 2, 0, 0]] * 3
    assert labels[7].tolist() == [2, 2, 0, 0, 0, 0, 0, 0]


def test_soft_weights_become_ragged_patches_of_the_right_shares():
    ramp = torch.linspace(0, 1, 1024).expand(1024, -1)
    target = soft_target({RED: (1 - ramp).expand(3, -1, -1), BLUE: ramp.expand(3, -1, -1)}, [RED, BLUE], 0)
    shares = [target.on_canvas(Size(1024, 1024), Size(1024, 1024), TORUS, seed) for seed in range(0, 20, 2)]
    columns = np.stack(shares).mean((0, 1)).reshape(8, 128).mean(1)
    expected = ramp[0].numpy().reshape(8, 128).mean(1)
    assert np.abs(columns - expected).max() < 0.12, f"{columns.tolist()}, wanted {expected.tolist()}"
    assert (np.diff(shares[0].astype(int)) != 0).mean() < 0.05, "patches, not speckle"


def test_softness_moves_borders_within_its_width_only():
    target = Target(np.repeat(np.array([[0, 1]], np.uint8), 8, 1).repeat(8, 0), "ab", 64)
    labels = target.on_canvas(Size(256, 512), Size(256, 512), Wrap(), 3)
    assert (labels[:, :200] == 0).all() and (labels[:, -200:] == 1).all()
    assert 0.2 < labels[:, 240:272].mean() < 0.8
    assert len(set(labels.argmax(1).tolist())) > 10


@pytest.mark.parametrize(
    ("maps", "message"),
    [
        ({0x00FF00: torch.ones(3, 8, 8)}, "label #00ff00 has no swatch"),
        ({RED: torch.ones(3, 8, 8), BLUE: torch.ones(3, 9, 8)}, "weight maps have different sizes: 8x8, 8x9"),
        ({RED: torch.zeros(3, 8, 8)}, "all weight maps are black at x=0, y=0"),
    ],
)
def test_weight_maps_that_say_nothing_are_refused(maps, message):
    with pytest.raises(InputError, match=message):
        soft_target(maps, [RED, BLUE], 0)


# --- tokens


@pytest.mark.parametrize(
    ("size", "tokens", "grid"), [((8, 8), 64, (8, 8)), ((9, 16), 40, (5, 8)), ((9, 16), 12, (3, 4))]
)
def test_a_layers_grid_follows_from_its_number_of_tokens(size, tokens, grid):
    assert token_grid(Size(*size), tokens) == grid


def test_a_number_of_tokens_that_no_halving_gives_is_refused():
    with pytest.raises(ValueError, match="50 tokens are no halving of 16x9 latents"):
        token_grid(Size(9, 16), 50)


def test_latent_pixels_of_two_labels_have_none_unless_a_label_has_no_other():
    pixels = torch.zeros(16, 16, dtype=torch.uint8)
    pixels[:, 12:] = 1
    assert latent_labels(pixels, 8, 2).tolist() == [[0, 1], [0, 1]]
    pixels[:, 8:] = 1
    assert latent_labels(pixels, 8, 2).tolist() == [[0, 1], [0, 1]]
    pixels[0, 15] = 0
    assert latent_labels(pixels, 8, 2).tolist() == [[0, NONE], [0, 1]]


def test_a_label_too_small_for_a_coarse_grid_has_the_tokens_with_most_of_it():
    labels = torch.zeros(16, 16, dtype=torch.uint8)
    labels[5, 4] = 1
    assert len(tokens_of(labels, 256, 1)) == 1
    assert tokens_of(labels, 16, 1).tolist() == [5]
    assert tokens_of(labels, 16, 2).tolist() == []


def test_attention_by_labels_equals_a_masked_softmax_in_float64():
    g = generator(3)
    query, key, value = (torch.randn(2, 3, n, 8, generator=g) for n in (6, 10, 10))
    own_key, own_value = (torch.randn(2, 3, 6, 8, generator=g) for _ in range(2))
    exemplar = KeyValue(key[:1], value[:1], torch.randn(10, generator=g))
    theirs = torch.randint(2, (10,), generator=g).byte()
    theirs[:2] = torch.tensor([0, 1])
    mine = torch.randint(2, (2, 6), generator=g)
    grouped = by_label([exemplar], [theirs[None]], [0, 1])
    for own in (None, KeyValue(own_key, own_value)):
        found = attend(query, grouped, mine, own)
        scores = query.double() @ key[:1].double().mT / 8**0.5 + exemplar.bias.double()
        scores = scores.masked_fill(mine[:, None, :, None] != theirs.long(), -torch.inf)
        values = value[:1].double().expand(2, -1, -1, -1)
        if own is not None:
            scores = torch.cat([query.double() @ own_key.double().mT / 8**0.5, scores], 3)
            values = torch.cat([own_value.double(), values], 2)
        torch.testing.assert_close(found.double(), scores.softmax(-1) @ values, atol=1e-5, rtol=1e-4)


def test_one_label_everywhere_is_plain_attention(sd):
    z, e = (torch.randn(1, 4, 16, 16, generator=generator(s)) for s in (1, 2))
    regions = Regions(torch.zeros(1, 1, 16, 16, dtype=torch.uint8), [torch.zeros(16, 16, dtype=torch.uint8)])
    layers = sd.attention_layers[-6:]
    with sd.denoiser() as tap, torch.no_grad():
        features = tap.features(z, 100, layers)
        plain = ad_loss(features, exemplar_key_values(tap, [e], 100, layers))
        masked = ad_loss(features, exemplar_key_values(tap, [e], 100, layers, regions=regions), labels=regions.canvas)
    torch.testing.assert_close(plain, masked)


def test_a_token_never_reads_another_label():
    """Changing what one label's exemplar tokens hold does not reach the ideal of the other label's tokens."""
    labels = torch.zeros(16, 16, dtype=torch.uint8)
    labels[:, 8:] = 1
    found = []
    for seed in (1, 2):
        kv = KeyValue(*(torch.randn(1, 2, 256, 4, generator=generator(9)) for _ in range(2)))
        kv.value[:, :, labels.flatten() == 1] = torch.randn(1, 2, 128, 4, generator=generator(seed))
        found.append(
            attend(
                torch.randn(1, 2, 256, 4, generator=generator(5)),
                by_label([kv], [labels], [0, 1]),
                labels.long().view(1, -1),
            )
        )
    differ = (found[0] != found[1]).any((1, 3))[0].view(16, 16)
    assert not differ[:, :8].any() and differ[:, 8:].all()


def test_a_label_that_no_exemplar_shows_is_an_error():
    kv = KeyValue(torch.zeros(1, 1, 4, 2), torch.zeros(1, 1, 4, 2))
    with pytest.raises(ValueError, match="label 1 has no token"):
        by_label([kv], [torch.zeros(2, 2, dtype=torch.uint8)], [0, 1])


def test_weights_of_exemplars_scale_their_share_of_the_softmax(sd):
    layers = sd.attention_layers[-1:]
    one, two = (torch.randn(1, 4, 16, 16, generator=generator(s)) for s in (1, 2))
    with sd.denoiser() as tap:
        plain = exemplar_key_values(tap, [one, two], 10, layers)[layers[0]]
        heavy = exemplar_key_values(tap, [one, two], 10, layers, weights=[1e6, 1.0])[layers[0]]
        alone = exemplar_key_values(tap, [one], 10, layers)[layers[0]]
    query = plain[0].key[:, :, :5]
    torch.testing.assert_close(attend(query, heavy, None), attend(query, alone, None), atol=1e-3, rtol=1e-3)
    assert (attend(query, plain, None) - attend(query, alone, None)).abs().max() > 1e-3


# --- the start


@pytest.fixture
def two(mini, dark_and_bright):
    return encode_exemplar(
        mini, list(dark_and_bright.values()), [torch.full((128, 128), i, dtype=torch.uint8) for i in range(2)], 2
    )


def test_scattered_pixels_are_pixels_of_their_label(two):
    target = torch.zeros(128, 128, dtype=torch.uint8)
    target[64:] = 1
    pixels = scattered(two, target, 5)(Tile(0, 0, 16, 16))[0]
    for label, rows in ((0, slice(0, 64)), (1, slice(64, 128))):
        own = {tuple(c) for c in two.images[label][0].flatten(1).T.tolist()}
        assert {tuple(c) for c in pixels[:, rows].flatten(1).T.tolist()} <= own
    again = scattered(two, target, 5)(Tile(4, 4, 8, 8))[0]
    assert torch.equal(again, pixels[:, 32:64, 32:64])


def test_labels_of_latent_pixels_are_those_of_their_middle_and_clear_ones_show_one_alone():
    target = torch.zeros(16, 16, dtype=torch.uint8)
    target[:, 5:] = 1
    assert middle_labels(target, 8).tolist() == [[0, 1], [0, 1]]
    assert clear_labels(target, 8).tolist() == [[NONE, 1], [NONE, 1]]


def test_a_spectrum_of_some_latent_pixels_is_theirs_and_matching_leaves_the_others(mini):
    white, loud = (torch.randn(1, 4, 96, 192, generator=generator(s)) for s in (1, 2))
    right = torch.zeros(96, 192, dtype=torch.bool)
    right[:, 96:] = True
    both = torch.where(right, 3 * loud, white)
    power = cross_spectrum([both], Wrap(), [right]).diagonal(dim1=2, dim2=3).real.mean()
    assert 8 < float(power) < 10
    matcher = spectrum_matcher([white], mini.schedule(50))
    matched = matcher(both, 0, Wrap(), right)
    assert torch.equal(matched[..., ~right], both[..., ~right])
    assert 0.9 < float(matched[..., right].std()) < 1.5


# --- the verb


@pytest.mark.parametrize("options", [{"preset": "draft"}, {"preset": "standard"}, {"start": "blocks"}])
def test_painting_puts_each_material_where_the_map_wants_it_to_the_pixel(dark_and_bright, options):
    target = halves(128, 256)
    target[40:80, 30:60] = (0, 0, 255)
    result = texgen.paint(dark_and_bright, target, seed=1, with_map=True, **options)
    wanted = (target[..., 2] > 0).astype(int)
    np.testing.assert_array_equal(result.coordinates[0], wanted)
    pixels = np.asarray(result.image).mean(2) / 255
    inside = np.ones((128, 256), bool)  # pixels beside a border are blended
    for axis in (0, 1):
        for step in (-1, 1):
            inside &= np.roll(wanted, step, axis) == wanted
    assert (pixels[inside & (wanted == 0)] < 0.21).all() and (pixels[inside & (wanted == 1)] > 0.79).all()
    assert result.recipe["task"] == "paint" and result.recipe["labels"] == ["#ff0000", "#0000ff"]


@pytest.mark.parametrize("start", ["quilt", "blocks"])
def test_a_label_of_one_pixel_is_painted(start):
    dark, bright = (
        np.random.default_rng(n).integers(low, low + 40, (80, 80, 3), np.uint8) for n, low in ((0, 0), (1, 200))
    )
    wanted = np.pad([[2]], ((30, 49), (41, 38)), constant_values=1)
    pixels = np.asarray(texgen.paint({1: dark, 2: bright}, wanted, preset="draft", seed=1, start=start).image)
    assert ((pixels.mean(-1) > 100) == (wanted == 2)).all()


def test_one_swatch_with_a_label_map_swaps_its_sides():
    swatch = torch.cat([noise_image(1, 0, 0.2)[..., :64], noise_image(2, 0.8, 1)[..., :64]], 3)
    target = halves()[:, ::-1].copy()
    result = texgen.paint(swatch[0], target, halves(), seed=1, with_map=True)
    assert (result.coordinates[2][:, :64] >= 64).all() and (result.coordinates[2][:, 64:] < 64).all()


def test_along_a_border_the_swatchs_own_border_is_shown(monkeypatch):
    """Where a pixel comes from, the two materials are mixed as they are around the pixel itself."""
    path = Path(__file__).parent.parent / "benchmarks" / "swatches" / "cracked_paint.jpg"
    swatch = images.read_pixels(path)[:256]
    cracks = gaussian_filter((swatch.mean(2) < 0.43).astype(np.float32), 2) > 0.15
    y, x = np.mgrid[:192, :192]
    wanted = np.abs(np.hypot(y - 96, x - 96) - 60) < 10

    def difference() -> float:
        result = texgen.paint(swatch, wanted.astype(np.int64), cracks.astype(np.int64), seed=1, with_map=True)
        own, here = (gaussian_filter(labels.astype(np.float32), 8.0) for labels in (cracks, wanted))
        _, y, x = result.coordinates
        return float(np.abs(own[y, x] - here)[wanted].mean())

    guided = difference()
    monkeypatch.setattr("texgen.swatch.prepared_job.PreparedJob._borders", lambda _: [])
    alone = difference()
    assert guided < 0.8 * alone, f"{guided:.3f}, by labels alone {alone:.3f}"


def test_four_materials_on_a_canvas_of_many_tiles_each_keep_to_theirs():
    swatches = {number: noise_image(number, number / 4, number / 4 + 0.1, 96)[0] for number in range(4)}
    target = np.random.default_rng(0).integers(0, 4, (6, 8)).repeat(48, 0).repeat(48, 1)
    result = texgen.paint(swatches, target, preset="draft", seed=1, with_map=True)
    np.testing.assert_array_equal(result.coordinates[0], target)


@pytest.mark.parametrize(
    "options", [{}, {"strength": 0.1, "steps": 20}, {"start": "swatch", "strength": 0.1, "steps": 20}]
)
def test_stable_diffusion_paints_by_either_algorithm(sd, dark_and_bright, options):
    seen = []
    quick = {"steps": 3, "lr": 0.01, "tile_batch": 1, **options}
    result = texgen.paint(dark_and_bright, halves(), model=sd, seed=1, callback=seen.append, **quick)
    assert result.recipe["loop"] == ("sample" if options else "optimize")
    assert len(seen) == result.recipe["steps_run"] == (2 if options else 3)
    assert all(step.losses and np.isfinite(step.losses).all() for step in seen)


def test_content_holds_the_paint_in_place(sd, dark_and_bright):
    def moved(weight: float) -> float:
        states = []
        texgen.paint(
            dark_and_bright,
            halves(),
            model=sd,
            seed=1,
            steps=6,
            lr=0.05,
            tile_batch=1,
            content_weight=weight,
            callback=lambda s: states.append(s.latents.clone()),
        )
        return float((states[-1] - states[0]).abs().mean())

    assert moved(50.0) < moved(0.0)


@pytest.mark.parametrize(
    ("arguments", "options", "error", "message"),
    [
        ((noise_image(1, 0, 1)[0], halves(), halves(64, 64)), {}, InputError, "the swatch is 128x128 px, its label map 64x64"),
        (({"red": noise_image(1, 0, 1)[0]}, halves(), halves()), {}, OptionError, "labels are for a single swatch"),
        (({"red": noise_image(1, 0, 1)[0], "#f00": noise_image(1, 0, 1)[0]}, halves()), {}, OptionError, "the same label"),
        (({"red": noise_image(1, 0, 1)[0]}, halves(128, 256)[:, :128]), {"start": "layout", "model": "mini"}, OptionError, "needs a layout"),
        (({"red": noise_image(1, 0, 1)[0]}, halves(128, 256)[:, :128]), {"content_weight": 0.15}, OptionError, "is for diffusion models"),
    ],
)  # fmt: skip
def test_bad_input_is_named_before_any_work(arguments, options, error, message):
    with pytest.raises(error, match=message):
        texgen.paint(*arguments, seed=1, **options)


def test_the_command_line_paints_with_labelled_swatches(dark_and_bright, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for name, image in dark_and_bright.items():
        Image.fromarray((image[0].permute(1, 2, 0) * 255).byte().numpy()).save(f"{name}.png")
    Image.fromarray(halves(128, 192)).save("map.png")
    line = "paint --swatch red.png:red --swatch blue.png:blue --target map.png -o out.png --save-map where.tif"
    assert run(capsys, *line.split(), "--preset", "draft", "--seed", "1")[0] == 0
    with Image.open("out.png") as picture:
        assert picture.size == (192, 128)
    assert (tmp_path / "where.tif").exists()


def test_a_label_that_preparation_loses_is_named_and_one_that_is_not_wanted_is_skipped():
    swatch = torch.cat([noise_image(1, 0, 0.2)[..., :64], noise_image(2, 0.8, 1)[..., :64]], 3)[0]
    options = {"preset": "draft", "seed": 1, "crop": (0, 0, 64, 64)}
    with pytest.raises(InputError, match="label #0000ff is not to be seen in the swatch as it is used"):
        texgen.paint(swatch, halves(), halves(), **options)
    red = np.full((128, 128, 3), (255, 0, 0), np.uint8)
    pixels = np.asarray(texgen.paint(swatch, red, halves(), **options).image) / 255
    assert pixels.mean() < 0.25


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"loop": "optimize", "iterations": 2}, "iterations does nothing with loop='optimize'"),
        ({"adain": True}, "adain would give each tile the statistics of all materials"),
        ({"crop": (0, 0, 64, 64)}, "crop is for a single swatch"),
        ({"start": "scatter", "with_map": True}, "a start of scatter has no map"),
    ],
)
def test_options_that_would_do_nothing_are_refused(mini, dark_and_bright, options, message):
    with pytest.raises(OptionError, match=message):
        texgen.paint(dark_and_bright, halves(), model=mini, seed=1, **options)


def test_a_draft_that_is_optimised_is_not_thrown_away(mini, dark_and_bright):
    plain, moved = (
        np.asarray(texgen.paint(dark_and_bright, halves(), model=mini, preset="draft", seed=1, **options).image)
        for options in ({}, {"loop": "optimize", "steps": 2, "lr": 0.2})
    )
    assert not np.array_equal(plain, moved)
