"""Looks at a material: lit as it should be, repeated as it is, written where nothing was."""

from __future__ import annotations

import base64
import io
import json
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from test_cli import run

import texgen
from texgen.errors import OptionError
from texgen.files.encoding import display
from texgen.files.pixels import PixelFile, as_float
from texgen.materials.material import Material
from texgen.previews import render
from texgen.previews.html import LARGEST
from texgen.previews.pyramid import Pyramid, resized, shrunk
from texgen.previews.shading import Sky, shade
from texgen.previews.shapes import Frame
from texgen.previews.surface import DEPTH, completed, decoded, fitting_depth
from texgen.tasks.preview import preview

SIDE = 128
"""Of a panel in these tests."""


def flat(value, channels=3, size=(64, 64)) -> np.ndarray:
    return np.full((*size, channels), value, np.uint8)


def looked(maps, **options) -> np.ndarray:
    """The picture of some maps, small."""
    image = preview(Material(name="test", maps=maps), width=3 * SIDE, **options).image
    return np.asarray(image).astype(float)


def sphere(maps, **options) -> np.ndarray:
    return looked(maps, **options)[:, :SIDE].mean(-1)


def plane(maps, **options) -> np.ndarray:
    return looked(maps, **options)[:, SIDE : 2 * SIDE].mean(-1)


def dome(size=64) -> np.ndarray:
    """The height (size, size) of a round bump in the middle."""
    y, x = np.mgrid[0:size, 0:size] / (size - 1) - 0.5
    return np.clip(1 - np.hypot(x, y) / 0.3, 0, 1).astype(np.float32)


def normals(height, depth) -> np.ndarray:
    """The vectors that follow from a height (H, W)."""
    return completed({"height": height[..., None]}, depth)[0]["normal"]


def bump(depth=0.1) -> np.ndarray:
    return np.rint((normals(dome(), depth) * 0.5 + 0.5) * 255).astype(np.uint8)


WHITE, GREY = ({"color": flat(each), "roughness": flat(255, 1)} for each in (230, 120))


@pytest.mark.parametrize("angle", [0, 90, 180, 270])
def test_the_side_of_the_sphere_that_faces_the_light_is_brighter(angle):
    turned = np.rot90(sphere(WHITE, light=angle), -angle // 90)
    near, far = (
        turned[SIDE // 2 - 8 : SIDE // 2 + 8, 90:105].mean(),
        turned[SIDE // 2 - 8 : SIDE // 2 + 8, 23:38].mean(),
    )
    print(f"towards the light {near:.0f}, away {far:.0f}")
    assert near > far + 25


def quarters(part: np.ndarray) -> dict[str, float]:
    """Mean brightness around the middle of a panel (SIDE, SIDE), on each side of it."""
    middle, inner, outer = SIDE // 2, 4, 14
    rows, columns = slice(middle - 4, middle + 4), slice(middle - 4, middle + 4)
    return {
        "top": part[middle - outer : middle - inner, columns].mean(),
        "bottom": part[middle + inner : middle + outer, columns].mean(),
        "left": part[rows, middle - outer : middle - inner].mean(),
        "right": part[rows, middle + inner : middle + outer].mean(),
    }


@pytest.mark.parametrize("maps", [{"normal": bump()}, {"height": dome()[..., None]}], ids=["normal", "height"])
def test_a_bump_is_bright_where_it_faces_the_light(maps):
    bright = quarters(sphere({**GREY, **maps}, light=135, depth=0.1))
    smooth = quarters(sphere(GREY, light=135))
    shift = {side: bright[side] - smooth[side] for side in bright}
    print(shift)
    assert min(shift["top"], shift["left"]) > max(shift["bottom"], shift["right"]) + 10


def test_green_upside_down_turns_the_light_over():
    maps = {"normal": bump()}
    flipped = bump()
    flipped[..., 1] = 255 - flipped[..., 1]
    right, wrong = (quarters(sphere({**GREY, "normal": each}, light=90)) for each in (maps["normal"], flipped))
    smooth = quarters(sphere(GREY, light=90))
    assert right["top"] - smooth["top"] > 8 > -8 > right["bottom"] - smooth["bottom"]
    assert wrong["bottom"] - smooth["bottom"] > 8 > -8 > wrong["top"] - smooth["top"]
    assert np.array_equal(looked({**WHITE, "normal": maps["normal"]}), looked({**WHITE, "normal_dx": flipped}))


@pytest.mark.parametrize("light", [0, 180])
def test_a_ridge_on_the_plane_is_bright_on_the_side_of_the_light(light):
    ridge = 1 - np.abs(np.linspace(-1, 1, 65, dtype=np.float32)[:-1])
    maps = {**GREY, "height": np.broadcast_to(ridge[None, :, None], (64, 64, 1))}
    rows = plane(maps, light=light, depth=0.1)[100:]
    left, right = rows[:, SIDE // 2 - 14 : SIDE // 2 - 3].mean(), rows[:, SIDE // 2 + 3 : SIDE // 2 + 14].mean()
    print(f"left {left:.0f}, right {right:.0f}")
    assert (right - left if light == 0 else left - right) > 10


def test_a_picture_stands_upright_on_the_sphere_and_lies_so_on_the_plane():
    quarters = np.zeros((64, 64, 3), np.uint8)
    quarters[:32, :32], quarters[:32, 32:], quarters[32:, :32] = (200, 0, 0), (0, 200, 0), (0, 0, 200)
    shown, middle = looked({"color": quarters}), SIDE // 2
    found = [shown[middle + y, middle + x].argmax() for y, x in ((-15, -15), (-15, 15), (15, -15))]
    assert found == [0, 1, 2] and shown[middle + 15, middle + 15].max() < 100
    near = [shown[SIDE - 2, SIDE + middle + x].argmax() for x in (-15, 15)]
    assert near == [0, 1], "the upper half of the picture begins at the viewer's feet"


def test_a_plane_far_away_is_smooth_and_as_bright_as_its_mean():
    y, x = np.mgrid[0:256, 0:256]
    checks = np.repeat(((x // 2 + y // 2) % 2 * 255).astype(np.uint8)[..., None], 3, -1)
    grey = np.full((256, 256, 3), np.rint(255 * display(np.float32(0.5))), np.uint8)
    seen, even = (plane({"color": each})[30:60, 32:96] for each in (checks, grey))
    print(f"deviation {np.std(seen - even):.2f}, mean {np.mean(seen - even):.2f}")
    assert np.std(seen - even) < 2 and abs(np.mean(seen - even)) < 2


def test_repeats_show_the_colours_themselves():
    colour = np.random.default_rng(0).integers(0, 256, (SIDE // 2, SIDE // 2, 3), np.uint8)
    shown = looked({"color": colour, "normal": flat((200, 60, 180)), "metalness": flat(255, 1)})[:, 2 * SIDE :]
    assert np.array_equal(shown, np.tile(colour, (2, 2, 1)))


def test_repeats_of_a_wide_picture_keep_its_shape():
    colour = flat((200, 30, 30), size=(64, 128))
    shown = looked({"color": colour})[:, 2 * SIDE :]
    red = (shown == (200, 30, 30)).all(-1)
    assert red.any(1).sum() == SIDE // 2 and red.any(0).all() and not red[: SIDE // 4 - 1].any()


def test_a_smooth_surface_has_a_brighter_highlight_and_a_metal_one_of_its_own_colour():
    dark = {"color": flat((120, 20, 20))}
    smooth, rough = (looked({**dark, "roughness": flat(each, 1)})[:, :SIDE] for each in (60, 255))
    assert smooth.max() > rough.max() + 40
    metal = looked({**dark, "roughness": flat(60, 1), "metalness": flat(255, 1)})[:, :SIDE]
    plastic, metal = (each.reshape(-1, 3)[each.sum(-1).argmax()] for each in (smooth, metal))
    print(f"green to red: plastic {plastic[1] / plastic[0]:.2f}, metal {metal[1] / metal[0]:.2f}")
    assert plastic[1] / plastic[0] > metal[1] / metal[0] + 0.2


def test_what_is_transparent_shows_checks_alone():
    clear = [looked({"color": flat(each), "opacity": flat(0, 1)}) for each in (20, 220)]
    assert np.array_equal(*clear)
    by_alpha = looked({"color": np.concatenate([flat(20), flat(0, 1)], -1)})
    assert np.array_equal(by_alpha, clear[0])
    assert len(np.unique(clear[0][56:72, 56:72])) == 2


@pytest.mark.parametrize("roughness", [0.05, 0.4, 1.0])
def test_a_white_surface_in_even_light_gives_back_what_it_gets(roughness):
    angles = np.linspace(0, 1.4, 32, dtype=np.float32)
    view = np.stack([np.sin(angles), 0 * angles, np.cos(angles)])
    frame = Frame(*(np.broadcast_to(np.eye(3, dtype=np.float32)[:, [n]], view.shape) for n in range(3)))
    values = {"color": 1, "roughness": roughness, "metalness": 0, "ao": 1, "emission": 0}
    maps = {name: np.full((1, 1), value, np.float32) for name, value in values.items()}
    maps["normal"] = np.array([[0], [0], [1]], np.float32)
    light = shade(maps, frame, view, {}, Sky((1, 1, 1), (1, 1, 1), (1, 1, 1)))
    assert light == pytest.approx(1, abs=1e-4)


def test_missing_maps_have_sensible_values():
    alone = looked({"ao": flat(255, 1)})
    assert np.array_equal(alone, looked({"ao": flat(255, 1), "roughness": flat(153, 1), "metalness": flat(0, 1)}))
    assert 60 < alone[48:80, 48:80].mean() < 220
    flat_height = looked({**WHITE, "height": flat(128, 1)})[:, :SIDE]
    assert np.abs(flat_height - looked(WHITE)[:, :SIDE])[30:98, 30:98].mean() < 3


def test_grey_float_and_deep_maps_are_read_as_what_they_are():
    deep = {"color": flat(230).astype(np.uint16) * 257, "roughness": np.ones((64, 64, 1), np.float16)}
    assert np.array_equal(looked(deep), looked(WHITE))
    linear = {"color": decoded(flat(230)), "roughness": flat(255, 1)}
    assert np.array_equal(looked(linear), looked({**WHITE, "color": flat(230, 1)}))
    vectors = normals(dome(), 0.1)
    assert np.abs(looked({**WHITE, "normal": vectors}) - looked({**WHITE, "normal": bump()})).mean() < 1


def test_the_depth_is_that_of_the_normals():
    height = dome(256)
    for depth in (0.02, 0.08):
        assert fitting_depth({"normal": normals(height, depth)}, height) == pytest.approx(depth, rel=0.02)
    assert fitting_depth({"normal": normals(1 - height, 0.02)}, height) <= DEPTH
    noise = np.random.default_rng(0).random((256, 256, 1), np.float32)
    assert fitting_depth({}, noise[..., 0]) < DEPTH / 4


def test_what_lies_deeper_than_its_surroundings_is_darker():
    pit = np.tile(1 - dome(128), (1, 2))[..., None]
    maps, _ = completed({"height": pit}, 0.05)
    shade = maps["ao"][..., 0]
    assert shade[64, 64] < 0.92 < 0.99 < shade[2, 2] <= 1
    assert np.abs(shade - np.roll(shade, 128, 1)).max() < 1e-4, "it repeats as the height does"


def test_a_large_picture_is_shrunk_in_bands(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (1100, 700, 3), np.uint8)
    file = PixelFile(tmp_path / "pixels", pixels.shape, pixels.dtype)
    file.write(0, pixels)
    small = shrunk(file, 256, as_float)
    blocks = as_float(pixels).reshape(275, 4, 175, 4, 3).mean((1, 3))
    assert small.shape == blocks.shape and np.abs(small - blocks).max() < 1e-5
    assert shrunk(pixels, 1000, as_float).shape == pixels.shape
    assert shrunk(pixels[:1099, :699], 256, as_float).shape == small.shape


def test_a_texture_is_resized_across_its_borders():
    wave = np.sin(np.linspace(0, 2 * np.pi, 97, dtype=np.float32)[:-1])[None, :, None].repeat(64, 0)
    small = resized(wave, (32, 32))
    rolled = np.roll(resized(np.roll(wave, 48, 1), (32, 32)), -16, 1)
    assert np.abs(small - rolled).max() < 1e-5


def test_a_pyramid_repeats_and_keeps_the_mean():
    image = np.random.default_rng(0).random((32, 64, 2), np.float32)
    pyramid = Pyramid(image, 2.0)
    u, v = np.random.default_rng(1).random((2, 50), np.float32)
    for level in (0, 2):
        levels = np.full(50, level)
        there = pyramid.between(u, v, levels)
        assert np.abs(pyramid.between(u + 3, v - 1.5, levels) - there).max() < 1e-4
    last = pyramid.between(u, v, np.full(50, pyramid.last))
    assert last == pytest.approx(np.broadcast_to(image.mean((0, 1))[:, None], last.shape), abs=1e-5)
    centre = pyramid.between(np.float32([5.5 / 64]), np.float32([-3.5 / 64]), np.array([0]))
    assert centre[:, 0] == pytest.approx(image[3, 5])


def saved(folder, name="wall", side=64):
    Image.fromarray(flat((180, 40, 30), size=(side, side))).save(folder / f"{name}.png")
    Image.fromarray(bump()).resize((side, side)).save(folder / f"{name}_normal.png")
    return folder / f"{name}.png"


def test_the_command_writes_a_picture_and_a_page_where_nothing_was(capsys, tmp_path):
    wall = saved(tmp_path)
    for name in ("look.png", "look.html"):
        assert run(capsys, "preview", wall, "-o", tmp_path / name, "--width", "384")[0] == 0
    with Image.open(tmp_path / "look.png") as image:
        assert image.size == (384, 128)
    code, _, stderr = run(capsys, "preview", wall, "-o", tmp_path / "look.png")
    assert code == 2 and "exists already" in stderr
    code, _, stderr = run(capsys, "preview", wall, "-o", tmp_path / "look.obj")
    assert code == 2 and "the suffix must be one of .png, .jpg" in stderr


def test_what_cannot_be_shown_is_refused(tmp_path):
    wall = saved(tmp_path)
    (tmp_path / "look.png").touch()
    with pytest.raises(OptionError, match="exists already"):
        preview(wall).save(tmp_path / "look.png")
    preview(wall, width=192).save(tmp_path / "look.png", overwrite=True)
    assert (tmp_path / "look.png").stat().st_size > 1000


def test_a_verb_also_writes_a_preview_of_what_it_made(capsys, small, tmp_path, monkeypatch):
    monkeypatch.setattr(render, "SAMPLES", 1)  # a coarse one will do
    Image.fromarray(bump()).save(tmp_path / "small_n.png")
    made = ["expand", small, "--size", "128", "--preset", "draft", "--seed", "1", "--preview"]
    code, _, stderr = run(capsys, *made, "-o", tmp_path / "o.png", "--map", f"nor_gl={tmp_path / 'small_n.png'}")
    assert code == 0, stderr
    with Image.open(tmp_path / "o_preview.png") as image:
        assert image.size == (1536, 512)
    alike = preview(
        Material(
            name="o",
            maps={
                "color": np.asarray(Image.open(tmp_path / "o.png")),
                "normal": np.asarray(Image.open(tmp_path / "o_nor_gl.png")),
            },
        )
    )
    assert np.array_equal(np.asarray(alike.image), np.asarray(Image.open(tmp_path / "o_preview.png")))
    code, _, stderr = run(capsys, *made, "-o", tmp_path / "w.png", "--wang", "1x1")
    assert code == 2 and "--preview does not go with --wang" in stderr


def test_a_result_can_be_shown_in_python(small):
    result = texgen.expand(small, 128, preset="draft", seed=1)
    assert texgen.preview(result, width=192).image.size == (192, 64)


def test_a_page_holds_its_maps_and_loads_nothing():
    name = "<b>&</script>"
    maps = {"color": flat((180, 40, 30), size=(32, 4 * LARGEST)), "height": flat(9, 1, size=(32, 4 * LARGEST))}
    page = preview(Material(name=name, maps=maps, size_m=2.0)).html
    assert "</script>" not in page.split('id="material">')[1].split("three.js r")[0].replace("</script>\n<script>", "")
    content = json.loads(page.split('id="material">')[1].split("</script>")[0])
    assert content["name"] == name and "2 m wide" in content["about"]
    assert list(content["maps"]) == ["color", "height", "normal", "ao"]
    for uri in content["maps"].values():
        with Image.open(io.BytesIO(base64.b64decode(uri.split(",")[1]))) as image:
            assert image.size == (LARGEST, 8)
    assert not re.search(r"(src|href)\s*=\s*[\"']?(https?:)?//", page) and "Permission is hereby granted" in page


BROWSER = shutil.which("chromium")


def screenshot(page: str, folder: Path, *flags: str, width: int = 640) -> np.ndarray:
    """What Chromium shows of a page, (480, width, 3), from 0 to 255; the page must not complain."""
    shot = folder / "shot.png"
    flags += ("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
              "--disable-component-update", "--disable-sync", "--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader",
              "--hide-scrollbars", f"--window-size={width},480", "--virtual-time-budget=8000", "--enable-logging=stderr",
              f"--user-data-dir={folder / 'profile'}", f"--screenshot={shot}")  # fmt: skip
    said = subprocess.run([str(BROWSER), *flags, page], check=True, capture_output=True, text=True, timeout=120).stderr
    console = [line for line in said.splitlines() if "CONSOLE" in line and "GL Driver Message" not in line]
    assert not console
    return np.asarray(Image.open(shot).convert("RGB")).astype(float)


@pytest.mark.skipif(BROWSER is None, reason="there is no chromium")
def test_a_browser_shows_the_page_with_every_shape(tmp_path):
    preview(saved(tmp_path)).save(tmp_path / "look.html")
    shapes = ("sphere", "plane", "box")
    frame = '<iframe src="look.html#shape={}&repeats=2" width=640 height=480 style="border:0"></iframe>'
    (tmp_path / "all.html").write_text(f"<body style='margin:0; display:flex'>{''.join(map(frame.format, shapes))}")
    shown = screenshot((tmp_path / "all.html").as_uri(), tmp_path, width=3 * 640)
    for shape, part in zip(shapes, np.split(shown, 3, axis=1), strict=True):
        middle = part[200:400, 260:560]
        red = middle[..., 0] - middle[..., 2]
        print(f"{shape}: redder by {red.mean():.0f}, deviation {middle.mean(-1).std():.1f}")
        assert red.mean() > 30 and middle.mean(-1).std() > 3, shape
