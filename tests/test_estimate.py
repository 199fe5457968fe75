"""Maps estimated from a colour: they agree with each other, wrap where the colour does, and nothing that is there is touched."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import gaussian_filter, sobel
from test_cli import run

import texgen
from texgen.errors import InputError, OptionError
from texgen.files.pixels import as_float
from texgen.materials import estimate
from texgen.materials.fourier import filtered
from texgen.materials.knobs import Knobs
from texgen.materials.material import Material, read_material
from tiling import Wrap

MAPS = ("height", "normal", "roughness", "ao")
SWATCHES = Path(__file__).parent.parent / "examples" / "swatches"
BOTH = Wrap(True, True)


@pytest.fixture(scope="module")
def wall() -> np.ndarray:
    """A wall that tiles, 128 px."""
    with Image.open(SWATCHES / "stone_wall.jpg") as picture:
        return np.asarray(picture.resize((128, 128), Image.Resampling.BOX))


@pytest.fixture
def file(wall, tmp_path) -> Path:
    Image.fromarray(wall).save(tmp_path / "wall.png")
    return tmp_path / "wall.png"


def floats(made, name):
    return as_float(made.maps[name]).squeeze()


def vectors(made):
    return floats(made, "normal") * 2 - 1


def slopes(height, relief):
    """Down and across, of a height that wraps."""
    return [(np.roll(height, -1, axis) - np.roll(height, 1, axis)) * relief / 2 for axis in (0, 1)]


def stones(random):
    """Domes of many albedos on a torus, lit evenly with dark crevices: the encoded colour, and the height in px."""
    places = (np.indices((4, 4)).reshape(2, -1).T + 0.5) * 32 + random.uniform(-5, 5, (16, 2))
    grid = np.indices((128, 128)).reshape(2, -1).T
    away = np.linalg.norm((grid[:, None] - places + 64) % 128 - 64, axis=2)
    two = np.sort(away, 1)[:, :2]
    edge = np.minimum((two[:, 1] - two[:, 0]).reshape(128, 128), 12) / 12
    height = gaussian_filter(8 * np.sqrt(1 - (1 - edge) ** 2), 0.7, mode="wrap")
    down, across = slopes(height, 1)
    albedo = random.uniform(0.15, 0.5, (16, 3))[away.argmin(1)].reshape(128, 128, 3)
    light = 1 / (1 + gaussian_filter(height, 6, mode="wrap").clip(height) - height) / np.sqrt(1 + down**2 + across**2)
    return ((albedo * light[..., None]) ** (1 / 2.2) * 255).astype(np.uint8), height


def agreement(found, true):
    """Correlation of slopes."""
    a, b = (np.stack(each).ravel() for each in (found, true))
    return float((a * b).sum() / np.sqrt((a * a).sum() * (b * b).sum()))


def test_the_normal_is_the_slope_of_the_height(wall):
    made = texgen.material(wall, tileable="both")
    down, across = slopes(floats(made, "height"), made.recipe["relief"])
    expected = np.stack([-across, down, np.ones_like(down)], -1)
    expected /= np.linalg.norm(expected, axis=-1, keepdims=True)
    worst = float(np.abs(vectors(made) - expected).max())
    print(f"measured {worst:.1e}, allowed 1e-3")
    assert worst < 1e-3


def test_the_normal_leans_away_from_a_rise_and_y_points_up():
    ramp = np.tile(np.linspace(0, 1, 64, dtype=np.float32), (64, 1))
    right = estimate.normal_of(estimate.Surface(ramp, 63, 8), Wrap())[32, 32] / 32767.5 - 1
    np.testing.assert_allclose(right, [-(0.5**0.5), 0, 0.5**0.5], atol=1e-3)
    down = estimate.normal_of(estimate.Surface(ramp.T.copy(), 63, 8), Wrap())[32, 32] / 32767.5 - 1
    np.testing.assert_allclose(down, [0, 0.5**0.5, 0.5**0.5], atol=1e-3)


def test_a_plain_colour_is_flat_upright_and_open(wall):
    for colour in (wall * 0 + 90, np.zeros_like(wall), np.full((65, 70, 3), 0.5)):
        made = texgen.material(colour)
        assert np.ptp(made.maps["height"]) == 0
        np.testing.assert_allclose(vectors(made), np.broadcast_to([0, 0, 1], (*colour.shape[:2], 3)), atol=1e-4)
        assert made.maps["ao"].min() == 255
        assert np.unique(made.maps["roughness"]).tolist() == [round(0.7 * 255)]


def test_noise_of_a_plain_colour_stays_nearly_flat(wall):
    noise = (90 + np.random.default_rng(0).integers(0, 2, wall.shape)).astype(np.uint8)
    assert vectors(texgen.material(noise))[..., 2].min() > 0.99


@pytest.mark.parametrize("size", [(128, 128), (90, 111)])
def test_rolling_the_colour_rolls_every_map(wall, size):
    colour = wall if size == (128, 128) else np.asarray(Image.fromarray(wall).resize(size[::-1]))
    plain = texgen.material(colour, tileable="both", bump_size=6)
    moved = texgen.material(np.roll(colour, (37, 22), (0, 1)), tileable="both", bump_size=6)
    for name in MAPS:
        back = np.roll(moved.maps[name], (-37, -22), (0, 1)).astype(int)
        most = np.iinfo(plain.maps[name].dtype).max
        assert np.abs(back - plain.maps[name]).max() <= max(1, most // 5000), name


def test_a_picture_wraps_where_it_does(wall):
    assert texgen.material(wall).recipe["tileable"] == "both"
    assert texgen.material(wall[:, :101]).recipe["tileable"] == "y"
    assert texgen.material(wall[:101, :101]).recipe["tileable"] == "none"
    assert texgen.material(wall, tileable="x").recipe["tileable"] == "x"


@pytest.mark.parametrize("wrap", [Wrap(), Wrap(True, False), Wrap(False, True), BOTH])
def test_a_filter_of_gain_one_changes_nothing_and_a_mirror_has_no_seam(wrap):
    values = np.random.default_rng(0).random((33, 46), np.float32)
    np.testing.assert_allclose(filtered(values.copy(), wrap, np.ones_like), values, atol=1e-5)
    whole = np.pad(values, [(0, 0 if ring else side) for ring, side in zip(wrap, (33, 46), strict=True)], "symmetric")
    expected = filtered(whole, BOTH, lambda squares: 1 / (1 + squares))[:33, :46]
    np.testing.assert_allclose(filtered(values.copy(), wrap, lambda squares: 1 / (1 + squares)), expected, atol=1e-5)


def test_relief_and_strengths_of_zero_are_flat(wall):
    made = texgen.material(wall, relief=0, roughness_contrast=0, roughness=0.4)
    assert vectors(made)[..., 2].min() > 0.9999
    assert made.maps["ao"].min() == 255
    assert np.unique(made.maps["roughness"]).tolist() == [round(0.4 * 255)]
    assert texgen.material(wall, ao=0).maps["ao"].min() == 255


def test_more_relief_is_steeper_and_darker_and_more_ao_is_darker(wall):
    low, high, dark = (
        texgen.material(wall, **options) for options in ({"relief": 4}, {"relief": 8}, {"relief": 4, "ao": 2})
    )
    np.testing.assert_array_equal(low.maps["height"], high.maps["height"])
    assert vectors(low)[..., 2].mean() > vectors(high)[..., 2].mean()
    assert floats(low, "ao").mean() > floats(high, "ao").mean()
    np.testing.assert_allclose(floats(dark, "ao"), floats(low, "ao") ** 2, atol=0.01)


def test_the_roughness_has_its_mean_and_is_higher_in_crevices(wall):
    made = texgen.material(wall, roughness=0.6)
    rough, height = floats(made, "roughness"), floats(made, "height")
    assert abs(rough.mean() - 0.6) < 0.02
    assert rough[height < 0.2].mean() > rough[height > 0.8].mean() + 0.1


def test_occlusion_is_the_sky_over_a_step():
    height = np.zeros((64, 64), np.float32)
    height[:, 32:] = 1
    seen = estimate.occlusion_of(estimate.Surface(height, 1000, 8), Wrap())
    assert seen[32, 40] == 1
    assert seen[32, 31] == pytest.approx(0.5, abs=0.13)  # a wall hides half of the directions, but for those along it
    assert (np.diff(seen[32, :32]) <= 1e-6).all()


def test_dark_is_deep_and_inverted_it_is_high(wall):
    plain, inverted = (floats(texgen.material(wall, bump_size=6, invert=flag), "height") for flag in (False, True))
    np.testing.assert_allclose(plain + inverted, 1, atol=1e-3)
    brightness = wall.mean(-1)
    fine = brightness - gaussian_filter(brightness, 6, mode="wrap")
    assert np.corrcoef(fine.ravel(), plain.ravel())[0, 1] > 0.8


def test_slopes_are_nearer_to_the_truth_than_those_of_the_luminance():
    random = np.random.default_rng(1)
    for _ in range(3):
        colour, height = stones(random)
        true = slopes(height, 1)
        luminance = colour.astype(float).mean(-1)
        plain = agreement([sobel(luminance, axis, mode="wrap") for axis in (0, 1)], true)
        ours = agreement(slopes(floats(texgen.material(colour, tileable="both"), "height"), 1), true)
        print(f"ours {ours:.3f}, Sobel {plain:.3f}")
        assert ours > plain + 0.02


def test_a_height_is_found_again_from_its_normals():
    random = np.random.default_rng(0)
    height = gaussian_filter(random.standard_normal((96, 80)), 4, mode="wrap").astype(np.float32)
    height = (height - height.min()) / np.ptp(height)
    for wrap in (BOTH, Wrap()):
        normal = estimate.normal_of(estimate.Surface(height, 12, 8), wrap).astype(np.float32) / 32767.5 - 1
        found, relief = estimate.height_from_normal(normal, wrap)
        assert relief == pytest.approx(12, rel=0.1)
        assert np.abs(found - height).mean() < 0.03


def test_maps_that_are_there_are_kept_and_the_others_follow_them(file, wall):
    first = texgen.material(wall, relief=9, tileable="both")
    normal = np.ascontiguousarray((first.maps["normal"] >> 8).astype(np.uint8))
    path = file.with_name("wall_nor_gl.png")
    Image.fromarray(normal).save(path)
    before = path.read_bytes()
    made = texgen.material(file, file, tileable="both")
    assert made.estimated == ("height", "roughness", "ao")
    assert path.read_bytes() == before
    np.testing.assert_array_equal(made.maps["normal"], normal)
    assert agreement(slopes(floats(made, "height"), 1), slopes(floats(first, "height"), 1)) > 0.95
    assert sorted(each.name for each in file.parent.iterdir()) == [
        "wall.json", "wall.png", "wall_ao.png", "wall_height.png", "wall_nor_gl.png", "wall_roughness.png",
    ]  # fmt: skip
    assert set(read_material(file).maps) == {"color", *MAPS}
    with pytest.raises(OptionError, match=r"relief=3: the given normals say how deep"):
        texgen.material(Material(name="wall", maps={"color": wall, "normal": normal}), relief=3)
    with pytest.raises(OptionError, match="has all of height, normal, roughness, ao"):
        texgen.material(file)


def test_normals_with_y_downwards_and_given_heights_are_understood(wall):
    first = texgen.material(wall, relief=9, tileable="both")
    turned = first.maps["normal"].copy()
    turned[..., 1] = 65535 - turned[..., 1]
    made = texgen.material(Material(name="wall", maps={"color": wall, "normal_dx": turned}), tileable="both")
    assert made.estimated == ("height", "roughness", "ao")
    assert agreement(slopes(floats(made, "height"), 1), slopes(floats(first, "height"), 1)) > 0.95
    height = floats(first, "height")[..., None] * 5 - 2
    again = texgen.material(Material(name="w", maps={"color": wall, "height": height}), tileable="both", relief=9)
    np.testing.assert_allclose(vectors(again), vectors(first), atol=1e-2)
    assert "height" not in again.estimated


def test_everything_is_written_beside_the_picture_with_a_recipe(file):
    out = file.with_name("brick_color.png")
    made = texgen.material(file, out, relief=6, invert=True)
    recipe = json.loads(file.with_name("brick.json").read_text())
    assert recipe == json.loads(json.dumps(made.recipe))
    assert recipe["estimated"] == list(MAPS)
    assert (recipe["relief"], recipe["invert"], recipe["picture"]["name"]) == (6, True, "wall.png")
    kinds = {name: (each.dtype, each.shape[2]) for name, each in read_material(out).maps.items()}
    assert kinds == {
        "color": (np.uint8, 3), "height": (np.uint16, 1), "normal": (np.uint16, 3), "roughness": (np.uint8, 1), "ao": (np.uint8, 1),
    }  # fmt: skip
    np.testing.assert_array_equal(np.asarray(Image.open(out)), np.asarray(Image.open(file)))


@pytest.mark.parametrize("name", ["out.png", "out_height.png", "out_ao.png", "out.json"])
def test_what_exists_is_never_overwritten(file, name):
    (file.parent / name).write_bytes(b"mine")
    with pytest.raises(OptionError, match=f"{name}: exists already"):
        texgen.material(file, file.with_name("out.png"))
    assert (file.parent / name).read_bytes() == b"mine"
    assert len(list(file.parent.iterdir())) == 2


def test_a_failure_leaves_nothing(file, monkeypatch):
    from texgen.files import publish

    kept, calls = publish.save_image, []

    def failing(*given, **more):
        calls.append(given)
        if len(calls) == 3:
            raise OSError("no more")
        kept(*given, **more)

    monkeypatch.setattr(publish, "save_image", failing)
    with pytest.raises(OSError, match="no more"):
        texgen.material(file, file.with_name("out.png"))
    assert [each.name for each in file.parent.iterdir()] == ["wall.png"]


def test_what_makes_no_sense_is_refused(file, wall):
    for options, message in (
        ({"relief": -1}, "relief=-1 must be from 0 to 1000"),
        ({"bump_size": 0}, "bump_size=0 must be from 1 to 1000"),
        ({"roughness": 1.5}, "roughness=1.5 must be from 0 to 1"),
        ({"ao": 9}, "ao=9 must be from 0 to 4"),
        ({"tileable": "z"}, "tileable='z' is not known"),
    ):
        with pytest.raises(OptionError, match=message):
            texgen.material(wall, **options)
    with pytest.raises(InputError, match="too small"):
        texgen.material(wall[:32])
    with pytest.raises(InputError, match="has no colour"):
        texgen.material(Material(name="wall", maps={"height": wall[..., :1]}))
    with pytest.raises(OptionError, match="would be a map of normal by its name"):
        texgen.material(file, file.with_name("out_normal.png"))
    Image.fromarray(wall).save(file.with_name("lone_height.png"))
    with pytest.raises(InputError, match="is a map of height by its name"):
        texgen.material(file.with_name("lone_height.png"))
    with pytest.raises(TypeError):
        texgen.material(wall, nonsense=1)


def test_any_depth_of_colour_gives_about_the_same(wall):
    deep = wall.astype(np.uint16) * 257
    encoded = wall / 255.0
    linear = np.where(encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4).astype(np.float32)
    plain = estimate.brightness(wall)
    for colour in (deep, linear, np.dstack([wall, wall[..., :1]])):
        np.testing.assert_allclose(estimate.brightness(colour), plain, atol=1e-4)
    assert estimate.brightness(wall[..., :1]).shape == wall.shape[:2]


def test_the_command_line_writes_the_same(file, capsys):
    for code, options in ((0, []), (2, ["--relief", "2000"]), (2, [])):
        found, _, said = run(capsys, "material", file, "-o", file, "--bump-size", "5", *options)
        assert found == code and (code or "relief" in said)
    made = read_material(file)
    for name, each in texgen.material(np.asarray(Image.open(file)), bump_size=5).maps.items():
        np.testing.assert_array_equal(made.maps[name], each)


def test_the_size_of_bumps_stays_in_its_range(wall):
    brightness = estimate.brightness(wall)
    assert estimate.FINEST <= estimate.bump_size(brightness, BOTH) <= 128 * estimate.COARSEST
    assert estimate.bump_size(np.zeros((64, 500), np.float32), Wrap()) == estimate.FINEST
    assert Knobs().bump_size is None
