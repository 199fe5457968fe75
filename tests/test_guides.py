"""Image analogies: guides, turned materials, transfer, and what they are refused for."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import gaussian_filter
from test_cli import run

import texgen
from texgen.errors import InputError, OptionError
from texgen.files import image as images
from texgen.materials.exemplar import Exemplar
from texgen.materials.guides import DETAILED, Guide, strengths_at
from texgen.materials.maps import Map
from texgen.materials.orientation import Orientation, side_of, turned_square
from texgen.swatch.steering import Given, Steering
from tiling import Size

SWATCHES = Path(__file__).parent.parent / "examples" / "swatches"
QUICK = {"preset": "draft", "seed": 1}


@pytest.fixture(scope="module")
def wall() -> np.ndarray:
    return images.read_pixels(SWATCHES / "stone_wall.jpg")[:320, :320]


def joints(wall: np.ndarray) -> np.ndarray:
    """Where the mortar is, yellower than the stones, (H, W), float32."""
    yellow = gaussian_filter(wall[..., 0] - wall[..., 2], 2)
    return gaussian_filter((yellow > np.quantile(yellow, 0.8)).astype(np.float32), 2)


def rings(side: int = 256) -> np.ndarray:
    y, x = np.indices((side, side)) - side / 2
    return ((np.sin(np.hypot(y, x) / 10) + 1) / 2).astype(np.float32)


def correlation(first: np.ndarray, second: np.ndarray) -> float:
    return float(np.corrcoef(first.ravel(), second.ravel())[0, 1])


# --- guides


def test_what_is_shown_follows_the_guide(wall):
    own, wanted = joints(wall), rings()
    found = {}
    for weight in (0.0, 1.0, 4.0):
        result = texgen.expand(wall, 256, guides=[(own, wanted, weight)], with_map=True, **QUICK)
        _, y, x = result.coordinates
        found[weight] = correlation(own[y, x], wanted)
    assert found[0.0] < 0.3 < 0.6 < found[1.0] < found[4.0], found


def test_a_guide_may_have_any_size_depth_and_channels(wall):
    own = np.stack([joints(wall)] * 3, -1)
    deep = np.rint(own * 65535).astype(np.uint16)
    coarse = np.rint(np.stack([rings(64)] * 3, -1) * 255).astype(np.uint8)
    result = texgen.expand(wall, (256, 200), guides=[(deep, coarse)], with_map=True, **QUICK)
    _, y, x = result.coordinates
    wanted = np.asarray(Image.fromarray(rings(64)).resize((200, 256), Image.Resampling.BILINEAR))
    assert correlation(own[y, x, 0], wanted) > 0.6


def test_guides_of_several_swatches_and_two_at_once(wall):
    dark = wall * 0.4
    left = np.zeros((256, 256), np.float32)
    left[:, :128] = 1
    guides = [
        ([np.ones((320, 320), np.float32), np.zeros((320, 320), np.float32)], left, 2.0),
        ([joints(wall)] * 2, rings()),
    ]
    result = texgen.expand(wall, 256, exemplars=[dark], guides=guides, with_map=True, **QUICK)
    number, y, x = result.coordinates
    assert (number[:, 8:120] == 0).mean() > 0.95 and (number[:, 136:248] == 1).mean() > 0.95
    assert correlation(joints(wall)[y, x], rings()) > 0.4


def test_a_guide_is_as_strong_as_the_colours_at_weight_one():
    values = np.random.default_rng(0).random((64, 64, 1)).astype(np.float32)
    scaled = Guide(Map("g", [values]), values, 1.0).scaled(deviation=0.3)
    assert float(scaled.swatch.images[0].std()) == pytest.approx(0.3, rel=1e-4)
    np.testing.assert_allclose(scaled.canvas, scaled.swatch.images[0], atol=1e-6)
    flat = Guide(Map("g", [np.full((64, 64, 1), 0.5, np.float32)]), values, 1.0).scaled(deviation=0.3)
    assert np.isfinite(flat.canvas).all() and np.abs(flat.canvas).max() < 0.3 / 0.05
    assert strengths_at([scaled], 0).tolist() == pytest.approx([DETAILED[0]])
    assert strengths_at([scaled], 9).tolist() == pytest.approx([DETAILED[-1]])


def test_steering_is_the_same_at_every_scale(tmp_path):
    values = gaussian_filter(np.random.default_rng(0).random((96, 96, 3)).astype(np.float32), (4, 4, 0))
    mask = np.ones((96, 96), bool)
    mask[40, 50] = False
    labels = (np.indices((64, 64))[1] >= 32).astype(np.uint8)
    guide = Guide(Map("g", [values]), values)
    steering = Steering(Size(128, 128), Size(160, 128), tmp_path, labels, Given(13, 20, values, mask), [guide])
    for level in (0, 1, 2):
        control, step = steering.at(level), 1 << level
        assert control.labels.shape == control.known.shape == control.guide.shape[:2] == (160 // step, 128 // step)
        np.testing.assert_array_equal(control.labels[2], np.arange(128 // step) >= 64 // step)
        whole = np.zeros((160, 128), bool)
        whole[13:109, 20:116] = mask
        np.testing.assert_array_equal(control.known, whole.reshape(160 // step, step, 128 // step, step).all((1, 3)))
        at = np.argwhere(control.known)[len(np.argwhere(control.known)) // 2]
        middle = (at * step + step // 2 - (13, 20)).clip(0, 95)
        np.testing.assert_allclose(control.given[tuple(at)][:3], values[tuple(middle)], atol=0.05)
    again = Steering(Size(128, 128), Size(160, 128), tmp_path, labels, Given(13, 20, values, mask), [guide]).at(1)
    np.testing.assert_array_equal(again.guide, steering.at(1).guide)


# --- transfer


def test_light_and_dark_of_a_picture_come_in_the_swatchs_material(wall):
    content = np.repeat(rings()[..., None], 3, 2) * 0.2 + 0.7
    result = texgen.transfer(wall, content, **QUICK, with_map=True)
    grey = gaussian_filter(np.asarray(result.image).mean(2), 6)
    assert result.image.size == (256, 256) and result.recipe["tileable"] == "none"
    assert correlation(grey, gaussian_filter(rings(), 6)) > 0.8
    off = texgen.transfer(wall, content, weight=0.0, **QUICK)
    assert off.image.tobytes() == texgen.expand(wall, 256, tileable="none", **QUICK).image.tobytes()


def test_parts_of_a_transfer_keep_to_their_material(wall):
    both = np.concatenate([wall, 1 - wall], 1)
    labels = np.zeros((320, 640), np.int64)
    labels[:, 320:] = 1
    target = np.zeros((256, 256), np.int64)
    target[128:] = 1
    content = np.repeat(rings()[..., None], 3, 2)
    result = texgen.transfer(both, content, labels=labels, target=target, **QUICK, with_map=True)
    np.testing.assert_array_equal(result.coordinates[2] >= 320, target == 1)


# --- orientation


def striped() -> np.ndarray:
    """Upright stripes of uneven width, 200 px."""
    lines = gaussian_filter(np.random.default_rng(0).random(400).astype(np.float32), 1.5)[100:300]
    lines = (lines - lines.min()) / (lines.max() - lines.min())
    grain = 0.05 * np.random.default_rng(1).random((200, 200, 3)).astype(np.float32)
    return np.broadcast_to(lines[None, :, None], (200, 200, 3)) * 0.9 + grain


def angle_of(picture: np.ndarray) -> np.ndarray:
    """Direction of the lines (H, W), in degrees counterclockwise from upright, by the structure tensor."""
    grey = gaussian_filter(picture.astype(np.float32).mean(2), 1)
    down, across = np.gradient(grey)
    xx, yy, xy = (gaussian_filter(v, 10) for v in (across * across, down * down, -across * down))
    return np.degrees(0.5 * np.arctan2(2 * xy, xx - yy)) % 180


def error(found: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    return np.abs((found - wanted + 90) % 180 - 90)


def test_the_grain_follows_a_map_of_angles():
    wanted = np.tile(np.linspace(0, 1, 256, endpoint=False, dtype=np.float32), (256, 1))
    result = texgen.expand(striped(), 256, orientation=wanted, **QUICK)
    off = error(angle_of(np.asarray(result.image)), wanted * 180)[16:-16, 16:-16]
    assert np.median(off) < 12, f"{np.median(off):.1f} degrees, allowed 12 (the copies are 22.5 apart)"


def test_a_flow_map_turns_the_upright_into_its_vectors():
    angle = np.radians(60.0)
    flow = np.full((8, 8, 3), 0.5, np.float32)
    flow[..., :2] = (np.array([-np.sin(angle), np.cos(angle)]) + 1) / 2
    result = texgen.expand(striped(), 192, orientation=flow, tileable="none", with_map=True, **QUICK)
    assert np.median(error(angle_of(np.asarray(result.image)), 60.0)) < 12
    number, y, x = result.coordinates
    assert (number == 0).all() and y.min() >= 0 and x.min() >= 0 and y.max() < 200 and x.max() < 200
    own = np.float32(striped()[y, x].mean(2) * 255)
    assert np.abs(own - np.asarray(result.image).mean(2)).mean() < 8, "the map gives places of the swatch itself"


def test_a_turned_picture_is_the_picture_turned():
    picture = np.random.default_rng(0).integers(0, 256, (101, 101, 3), np.uint8)
    side = side_of(picture.shape)
    first = (101 - side) // 2
    middle = np.rot90(picture)[first : first + side, first : first + side]
    np.testing.assert_array_equal(turned_square(picture, 90), middle)
    np.testing.assert_array_equal(turned_square(picture, 0), picture[first : first + side, first : first + side])


@pytest.mark.parametrize("name", ["normal", "normal_dx"])
def test_normals_turn_with_a_material_that_is_turned(name):
    height = gaussian_filter(np.random.default_rng(0).random((160, 160)), 4) * 60

    def normals(heights: np.ndarray) -> np.ndarray:
        down, across = np.gradient(heights)
        vectors = np.stack([-across, -down if name.endswith("dx") else down, np.ones_like(across)], -1)
        return np.float32(vectors / np.linalg.norm(vectors, axis=-1, keepdims=True))

    orientation = Orientation(np.zeros((1, 1, 2), np.float32), directed=True)
    (made,) = orientation.maps([Map(name, [normals(height)])], 1)
    assert len(made.images) == 16
    for image, angle in zip(made.images, orientation.angles, strict=True):
        expected = normals(turned_square(height[..., None].astype(np.float32), angle)[..., 0])
        off = np.degrees(np.arccos((image * expected).sum(-1).clip(-1, 1)))[4:-4, 4:-4]
        assert np.median(off) < 1 and np.abs(np.linalg.norm(image, axis=-1) - 1).max() < 1e-3


def test_maps_of_a_turned_material_are_rendered_later_alike(tmp_path):
    height = striped()[..., :1].copy()
    wanted = np.tile(np.linspace(0, 1, 64, dtype=np.float32), (64, 1))
    result = texgen.expand(striped(), 160, orientation=wanted, maps={"height": height}, **QUICK)
    shown = np.asarray(result.image)[..., 0] / 255
    np.testing.assert_allclose(result.maps["height"][0:160][..., 0], shown, atol=0.06)
    result.save_field(tmp_path / "f.tif")
    later = texgen.render(tmp_path / "f.tif", {"height": height})
    np.testing.assert_array_equal(later.maps["height"][0:160], result.maps["height"][0:160])


def test_copies_of_a_swatch_have_its_labels():
    labels = np.zeros((120, 120), np.uint8)
    labels[:, 60:] = 1
    copies = Orientation(np.zeros((1, 1, 2), np.float32), directed=True).exemplars(
        [Exemplar(np.zeros((120, 120, 3), np.float32), labels)]
    )
    half = copies[8].labels
    assert len(copies) == 16 and half is not None
    assert (half[:, :42] == 1).all() and (half[:, -42:] == 0).all(), "turned by half a turn"


# --- the command line, and what is refused


def test_the_command_line_takes_guides_and_orientation(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    swatch = (striped() * 255).astype(np.uint8)
    Image.fromarray(swatch).save("s.png")
    Image.fromarray(swatch[..., 0]).save("own.png")
    Image.fromarray((rings(96) * 255).astype(np.uint8)).save("wanted.png")
    Image.fromarray((rings(200) > 0.9).astype(np.uint8) * 255).save("hole.png")
    for line in (
        "expand s.png --size 128 -o a.png --guide own.png:wanted.png:2 --orientation wanted.png",
        "transfer s.png wanted.png -o b.png --weight 2",
        "fill s.png --hole hole.png -o c.png --guide own.png:own.png",
    ):
        assert run(capsys, *line.split(), "--preset", "draft", "--seed", "1")[0] == 0
    recipe = json.loads((tmp_path / "a.png.json").read_text())
    assert recipe["guides"][0]["weight"] == 2 and recipe["orientation"]["directed"] is False
    for wrong in ("own.png", ":x.png", "own.png:"):
        assert run(capsys, "expand", "s.png", "-o", "x.png", "--guide", wrong)[0] == 2


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"guides": [(np.zeros((10, 10), np.float32), rings())]}, InputError, "its swatch 200x200"),
        ({"guides": [(np.zeros((200, 200, 3), np.float32), rings())]}, InputError, "has 3 channels, the canvas' 1"),
        ({"guides": [(np.zeros((200, 200), np.float32), rings(), -1)]}, OptionError, "weight of guide 1=-1.0 must be from 0"),
        ({"guides": [(np.zeros((200, 200), np.float32), rings())], "model": "mini"}, OptionError, "guides is for the swatch model"),
        ({"orientation": rings(), "model": "mini"}, OptionError, "orientation is for the swatch model"),
        ({"orientation": rings(), "keep": (0, 0)}, OptionError, "orientation does not go with keep"),
        ({"orientation": np.full((8, 8, 2), 0.5, np.float32)}, InputError, "vectors of the flow map are all about 0"),
        ({"orientation": rings(), "crop": (0, 0, 80, 80)}, InputError, "too small to be turned; give one of 92 px"),
    ],
)  # fmt: skip
def test_what_cannot_be_followed_is_refused(options, error, message):
    with pytest.raises(error, match=message):
        texgen.expand(striped(), 256, **QUICK, **options)
