"""Companion maps: in register with the colours, at their own depth, as what they hold; and shown later through a saved field."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import OpenImageIO as oiio
import pytest
import tifffile
from PIL import Image
from test_cli import run

import texgen
from texgen.errors import InputError, OptionError
from texgen.files import publish
from texgen.materials.maps import Map, prepared_maps, read_map, turned
from texgen.materials.preparation import Preparation
from texgen.swatch.bank.sources import Material, sources_of

QUICK = {"preset": "draft", "seed": 5}


def bumps(side=96, seed=0):
    """A height of smooth bumps, (side, side), 0 to 1, that tiles."""
    y, x = np.mgrid[:side, :side] * (2 * np.pi / side)
    random = np.random.default_rng(seed)
    total = sum(np.sin(random.integers(1, 7) * y + random.integers(1, 7) * x + random.random() * 6) for _ in range(8))
    return ((total - total.min()) / np.ptp(total)).astype(np.float32)


def normals(height, down=False):
    """Unit vectors of a height's slope, y upwards or down, coded from 0 to 1."""
    dy, dx = np.gradient(height * 20)
    vectors = np.stack([-dx, -dy if down else dy, np.ones_like(dx)], -1)
    return ((vectors / np.linalg.norm(vectors, axis=-1, keepdims=True) + 1) / 2).astype(np.float32)


@pytest.fixture
def height():
    return bumps()


@pytest.fixture
def colour(height):
    return np.rint(np.stack([height, 1 - height, height**2], -1) * 255).astype(np.uint8)


@pytest.mark.parametrize("options", [{}, {"symmetry": "all"}, {"keep": (20, 30)}, {"rotate": 90, "tileable": "x"}])
def test_the_colours_themselves_as_a_map_are_the_texture(colour, options):
    result = texgen.expand(colour, (160, 144), maps={"again": colour}, **QUICK, **options)
    np.testing.assert_array_equal(result.maps["again"][:], result.pixels[:])


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float16, np.float32])
@pytest.mark.parametrize("channels", [1, 2, 5])
def test_a_map_keeps_its_values_depth_and_channels(colour, dtype, channels):
    random = np.random.default_rng(1).random((96, 96, channels))
    values = (random * (np.iinfo(dtype).max if np.dtype(dtype).kind == "u" else 7.5)).astype(dtype)
    result = texgen.expand(colour, 160, maps={"values": values}, with_map=True, **QUICK)
    shown = result.maps["values"][:]
    assert shown.dtype == dtype and shown.shape == (160, 160, channels)
    _, y, x = result.coordinates
    exact = (shown == values[y, x]).all(-1).mean()
    assert exact > 0.5, f"only {exact:.2f} of the values are the swatch's own (the others are blends)"
    assert shown.min() >= values.min() and shown.max() <= values.max()


def test_normals_turn_with_their_patches():
    """A height and its normals, shown turned and mirrored, still fit each other."""
    height = bumps(seed=3)
    for name, down in (("normal", False), ("normal_dx", True)):
        for turn in range(8):
            kind = Map(name, [normals(height, down)])
            found = kind.turned(kind.images[0], turn)
            np.testing.assert_allclose(found, normals(turned(height, turn), down), atol=1e-5)


def test_normals_that_guide_turn_with_their_swatch(colour):
    """Those of a swatch that leans to one side are compared as what they are once it is turned."""
    height = bumps(seed=3) + np.linspace(0, 12, 96, dtype=np.float32)
    guide, swatch = Map("normal", [normals(height)]), colour.astype(np.float32) / 255
    sources = sources_of(Material(swatches=[swatch], shares=[1.0], symmetry="all", maps=[guide]))
    factor = np.ptp(sources[0].pixels[..., 3]) / np.ptp(guide.images[0][..., 0])
    mean = guide.images[0].mean((0, 1))
    assert len(sources) == 8
    for source in sources:
        expected = (normals(turned(height, source.turn)) - mean) * factor
        np.testing.assert_allclose(source.pixels[..., 3:], expected, atol=1e-3)


@pytest.mark.parametrize("symmetry", ["none", "all"])
def test_normals_of_a_texture_are_those_of_its_height(colour, height, symmetry):
    maps = {"normal": np.rint(normals(height) * 65535).astype(np.uint16), "height": height}
    result = texgen.expand(colour, 192, maps=maps, symmetry=symmetry, **QUICK)
    vectors = result.maps["normal"][:] / 65535 * 2 - 1
    lengths = np.linalg.norm(vectors, axis=-1)
    assert np.abs(lengths - 1).max() < 1e-3, f"lengths from {lengths.min():.4f} to {lengths.max():.4f}"
    expected = normals(result.maps["height"][:][..., 0]) * 2 - 1
    angle = np.degrees(np.arccos((vectors * expected).sum(-1).clip(-1, 1)))[1:-1, 1:-1]
    moved = normals(height) * 2 - 1
    allowed = np.degrees(np.arccos((moved * np.roll(moved, 1, 1)).sum(-1).clip(-1, 1))).mean()
    assert angle.mean() < allowed, (
        f"off by {angle.mean():.2f} degrees, allowed {allowed:.2f}, the swatch's own shift by 1 px"
    )


def test_bumps_break_less_where_they_guide():
    """Under a colour without features only the map says where patches fit."""
    height = bumps(192)
    flat = np.random.default_rng(0).integers(100, 140, (192, 192, 3)).astype(np.uint8)
    steps = []
    for guides in ([], ["height"]):
        result = texgen.expand(flat, 256, maps={"height": height}, map_guides=guides, **QUICK)
        steps.append(np.percentile(np.abs(np.diff(result.maps["height"][:][..., 0], axis=1)), 99))
    assert steps[1] < 0.75 * steps[0], f"steps of {steps[1]:.3f} guided, {steps[0]:.3f} not, allowed .75 of it"


def test_edges_of_a_map_lie_on_those_of_the_colours(colour, height):
    result = texgen.expand(colour, 192, maps={"height": height}, **QUICK)
    red, shown = result.pixels[:][..., 0].astype(float), result.maps["height"][:][..., 0].astype(float)
    edges = [np.hypot(*np.gradient(image)) for image in (red, shown)]
    first, second = (np.fft.fft2(e - e.mean()) for e in edges)
    peak = np.unravel_index(np.fft.ifft2(first * second.conj()).real.argmax(), red.shape)
    assert peak == (0, 0)


def test_two_swatches_have_a_map_each(colour, height):
    other = np.ascontiguousarray(colour[:80, ::-1])
    maps = {"who": [np.zeros((96, 96), np.uint8), np.full((80, 96), 9, np.uint8)]}
    result = texgen.expand(colour, 160, exemplars=[other], maps=maps, with_map=True, **QUICK)
    who = result.maps["who"][:][..., 0]
    for number, value in enumerate((0, 9)):
        mine = who[result.coordinates[0] == number]
        assert len(mine) and (mine == value).mean() > 0.6, "all but where pieces are blended"


def test_maps_are_cut_turned_and_resized_as_their_swatch(height):
    image = np.dstack([height, height, height])
    options = Preparation(crop=(10, 4, 80, 72), rotate=90, scale=1.5)
    (found,) = prepared_maps({"height": image}, [(96, 96)], options)
    assert found.images[0].shape == (120, 108, 3)
    plain = prepared_maps({"height": image}, [(96, 96)], replace(options, scale=1.0))[0].images[0]
    np.testing.assert_array_equal(plain, np.rot90(image[4:76, 10:90]))


def test_a_saved_field_renders_a_later_map_to_the_same_bytes(colour, height, tmp_path):
    maps = {"height": height, "normal": (normals(height) * 255).astype(np.uint8)}
    options = {**QUICK, "tileable": "x", "keep": (30, 10), "crop": (8, 8, 80, 80)}
    result = texgen.expand(colour, (200, 150), maps=maps, **options)
    result.save_field(tmp_path / "field.tif")
    rendered = texgen.render(tmp_path / "field.tif", maps, tmp_path / "out.png")
    for name in maps:
        np.testing.assert_array_equal(rendered.maps[name][:], result.maps[name][:])
    result.save(tmp_path / "whole.png")
    for name, suffix in (("height", "exr"), ("normal", "png")):
        first, second = (read_map(tmp_path / f"{stem}_{name}.{suffix}", name) for stem in ("out", "whole"))
        np.testing.assert_array_equal(first, second)
        np.testing.assert_array_equal(first, result.maps[name][:])


def test_an_interrupted_run_ends_in_the_same_maps(colour, height, tmp_path):
    maps = {"height": height}
    whole = texgen.expand(colour, 192, maps=maps, **QUICK)

    def stop(_state):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        texgen.expand(colour, 192, maps=maps, checkpoint=tmp_path / "run", callback=stop, **QUICK)
    with pytest.raises(OptionError, match="has other maps"):
        texgen.expand(colour, 192, maps={"height": 1 - height}, checkpoint=tmp_path / "run", resume=True, **QUICK)
    resumed = texgen.expand(colour, 192, maps=maps, checkpoint=tmp_path / "run", resume=True, **QUICK)
    np.testing.assert_array_equal(resumed.maps["height"][:], whole.maps["height"][:])


def test_the_command_writes_maps_in_formats_that_hold_them(colour, height, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Image.fromarray(colour).save("s.png")
    tifffile.imwrite("h.tif", height)
    publish.save_image(Path("n.png"), np.rint(normals(height) * 65535).astype(np.uint16))
    Image.fromarray((height * 255).astype(np.uint8)).save("r.png")
    given = ["--map", "height=h.tif", "--map", "normal=n.png", "--map", "rough=r.png", "--save-field", "f.tif"]
    assert (
        run(capsys, *["expand", "s.png", "-o", "o.jpg", "--size", "160", "--preset", "draft", "--seed", "5"], *given)[0]
        == 0
    )
    found = sorted(path.name for path in Path().glob("o*"))
    assert found == ["o.jpg", "o.jpg.json", "o_height.exr", "o_normal.png", "o_rough.png"]
    deep = oiio.ImageInput.open("o_normal.png").spec()
    assert (str(deep.format), deep.nchannels) == ("uint16", 3)
    assert str(oiio.ImageInput.open("o_height.exr").spec().format) == "float"
    assert json.loads(Path("o.jpg.json").read_text())["maps"].keys() == {"height", "normal", "rough"}
    assert run(capsys, *["render", "o.jpg.json", "--map", "height=h.tif", "-o", "later.jpg"])[0] == 0
    np.testing.assert_array_equal(read_map("later_height.exr", "height"), read_map("o_height.exr", "height"))


HELD = {".png": ("uint8", "uint16"), ".tif": ("uint8", "uint16", "float16", "float32"), ".exr": ("float16", "float32")}


@pytest.mark.parametrize(("suffix", "dtype"), [(suffix, dtype) for suffix, dtypes in HELD.items() for dtype in dtypes])
@pytest.mark.parametrize("side", [90, 520])
def test_every_format_gives_back_what_it_holds(tmp_path, suffix, dtype, side):
    path = tmp_path / f"map{suffix}"
    for channels in range(1, 5 if suffix == ".png" else 6):
        values = (np.random.default_rng(0).random((side, side + 8, channels)) * 200).astype(dtype)
        publish.save_image(path, values, pyramid=suffix == ".tif")
        np.testing.assert_array_equal(read_map(path, "map"), values)


@pytest.mark.parametrize(
    ("maps", "error", "message"),
    [
        ({"height": np.zeros((96, 95), np.uint8)}, InputError, "map height is 95x96 px, its swatch 96x96"),
        ({"height": np.zeros((96, 96), np.int64)}, InputError, "give .height, width, channels. of uint8"),
        ({"height": np.full((96, 96), np.nan, np.float32)}, InputError, "holds NaN"),
        ({"normal": np.zeros((96, 96, 2), np.uint8)}, InputError, "a map of normals needs 3"),
        ({"a/b": np.zeros((96, 96), np.uint8)}, OptionError, "a name is made of letters"),
        ({"height": [np.zeros((96, 96), np.uint8)] * 2}, OptionError, "2 for 1 swatches"),
        ({"height": "nowhere.exr"}, InputError, "no such file"),
    ],
)
def test_maps_that_cannot_be_used_are_refused(colour, maps, error, message):
    with pytest.raises(error, match=message):
        texgen.expand(colour, 160, maps=maps, **QUICK)


def test_files_that_hold_no_map_or_field_are_refused(colour, tmp_path, sd):
    (tmp_path / "broken.exr").write_bytes(b"\x76\x2f\x31\x01 nonsense")
    with pytest.raises(InputError, match=r"broken\.exr: "):
        read_map(tmp_path / "broken.exr", "height")
    tifffile.imwrite(tmp_path / "plain.tif", np.zeros((64, 64), np.int32))
    (tmp_path / "recipe.json").write_text("{}")
    for name, message in (
        ("plain.tif", "is no field"),
        ("none.tif", "no such file"),
        ("recipe.json", "names no field"),
    ):
        with pytest.raises(InputError, match=message):
            texgen.render(tmp_path / name, {"height": np.zeros((96, 96), np.uint8)})
    texgen.expand(colour, (160, 96), **QUICK).save_field(tmp_path / "field.tif")
    with tifffile.TiffFile(tmp_path / "field.tif") as file:
        places, description = file.asarray(), file.pages.first.description
    tifffile.imwrite(
        tmp_path / "cut.tif", np.concatenate([places, places])[:, :64], description=description, metadata=None
    )
    with pytest.raises(InputError, match="is no field"):
        texgen.render(tmp_path / "cut.tif", {"height": np.zeros((96, 96), np.uint8)})
    with pytest.raises(OptionError, match="there is no map"):
        texgen.render(tmp_path / "plain.tif", {})
    with pytest.raises(OptionError, match="is for the swatch model"):
        texgen.expand(colour, 160, model=sd, maps={"a": np.zeros((96, 96), np.uint8)})
