"""Pixels on disk and into files: what comes out is what went in, in rows, whole or not at all."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import zlib

import numpy as np
import pytest
import tifffile
from PIL import Image

from texgen.errors import OptionError, ResourceError
from texgen.files import image as images
from texgen.files import publish, row_writers, targets
from texgen.files.encoding import Encoding
from texgen.files.pixels import PixelFile, halved
from texgen.files.publish import recipe_text, save_image
from texgen.files.row_reader import PictureRows
from texgen.files.row_writers import Tags, pyramid_levels

SEEDED = Tags(recipe=recipe_text({"seed": 1}))


def picture(height=70, width=90, dtype=np.uint8):
    values = np.random.default_rng(0).integers(0, np.iinfo(dtype).max + 1, (height // 2, width // 2, 3))
    return np.ascontiguousarray(values.repeat(2, 0).repeat(2, 1).astype(dtype))


def on_disk(folder, array):
    pixels = PixelFile(folder / "pixels", array.shape, array.dtype)
    for top in range(0, len(array), 32):
        pixels.write(top, array[top : top + 32])
    return pixels


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_rows_come_back_in_any_slices(tmp_path, dtype):
    array = picture(dtype=dtype)
    pixels = on_disk(tmp_path, array)
    for rows in (slice(0, 70), slice(3, 41), slice(69, 500), slice(-5, None), slice(9, 9)):
        np.testing.assert_array_equal(pixels[rows], array[rows])
    again = PixelFile(tmp_path / "pixels", array.shape, array.dtype)
    np.testing.assert_array_equal(again[:], array)


@pytest.mark.parametrize("shape", [(64, 32), (65, 33), (1, 7)])
def test_halving_is_the_mean_of_two_by_two(tmp_path, shape):
    array = picture(140, 140)[: shape[0], : shape[1]]
    half = halved(array, tmp_path / "half", band=8)[:]
    padded = np.pad(array, ((0, shape[0] % 2), (0, shape[1] % 2), (0, 0)), mode="edge").astype(float)
    expected = padded.reshape(half.shape[0], 2, half.shape[1], 2, 3).mean((1, 3))
    assert half.shape == (-(-shape[0] // 2), -(-shape[1] // 2), 3)
    assert np.abs(half - expected).max() <= 0.5


@pytest.mark.parametrize(
    ("suffix", "dtype"), [(".png", np.uint8), (".tif", np.uint8), (".webp", np.uint8), (".tif", np.uint16)]
)
def test_a_picture_is_read_back_as_it_was_written(tmp_path, suffix, dtype):
    array = picture(600, 1100, dtype)
    path = tmp_path / f"o{suffix}"
    publish.save_image(path, on_disk(tmp_path, array), SEEDED)
    found = tifffile.imread(path) if suffix == ".tif" else np.asarray(Image.open(path))
    np.testing.assert_array_equal(found, array)


def test_a_png_of_16_bits_is_read_back_as_it_was_written(tmp_path):
    import OpenImageIO as oiio

    array = picture(dtype=np.uint16)
    publish.save_image(tmp_path / "o.png", array)
    np.testing.assert_array_equal(oiio.ImageBuf(str(tmp_path / "o.png")).get_pixels(oiio.UINT16), array)


def test_a_jpeg_is_near_what_was_written(tmp_path):
    smooth = np.asarray(Image.fromarray(picture(8, 8)).resize((200, 160), Image.Resampling.BICUBIC))
    publish.save_image(tmp_path / "o.jpg", smooth, SEEDED)
    difference = np.asarray(Image.open(tmp_path / "o.jpg")).astype(int) - smooth
    assert np.abs(difference).mean() < 3


def test_a_pyramid_has_halved_levels(tmp_path):
    array = picture(1300, 2100)
    publish.save_image(tmp_path / "o.tif", on_disk(tmp_path, array), SEEDED, pyramid=True)
    with tifffile.TiffFile(tmp_path / "o.tif") as file:
        levels = file.series[0].levels
        assert [level.shape for level in levels] == [(1300, 2100, 3), (650, 1050, 3), (325, 525, 3), (163, 263, 3)]
        np.testing.assert_array_equal(levels[0].asarray(), array)
        assert np.abs(levels[1].asarray() - array[::2, ::2].astype(int)).max() == 0, "blocks of two are their own mean"
        assert json.loads(file.pages[0].description) == {"seed": 1}
        assert file.pages[0].software == "texgen"
    assert [p.name for p in sorted(tmp_path.iterdir())] == ["o.tif", "pixels"]
    assert pyramid_levels(513, 10) == 1


def test_writing_takes_memory_for_rows_not_for_the_picture(tmp_path):
    """A picture of 96 MiB is written within 48 MiB more than a small one takes."""
    code = (
        "import resource, sys, numpy as np; from pathlib import Path; from texgen.files import publish; "
        "from texgen.files.pixels import PixelFile; side = int(sys.argv[1]); folder = Path(sys.argv[2]); "
        "pixels = PixelFile(folder / 'p', (side, 8192, 3), 'u1'); "
        "[publish.save_image(folder / f'o{s}', pixels) for s in ('.png', '.tif')]; "
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)"
    )
    peaks = []
    for side in (256, 4096):
        run = [sys.executable, "-c", code, str(side), str(tmp_path)]
        peaks.append(int(subprocess.run(run, check=True, capture_output=True, text=True).stdout))
    assert peaks[1] - peaks[0] < 48, f"peaks of {peaks} MiB, allowed 48 apart"


def test_bits_and_levels_a_format_cannot_hold_are_refused(tmp_path):
    with pytest.raises(OptionError, match=r"JPEG holds uint8 channels, not uint16; use \.png"):
        targets.check_target(tmp_path / "o.jpg", 8, 8, dtype=np.uint16)
    with pytest.raises(OptionError, match="only a TIFF can be a pyramid"):
        targets.check_target(tmp_path / "o.png", 8, 8, pyramid=True)


@pytest.mark.parametrize("suffix", [".png", ".tif", ".webp", ".jpg"])
def test_a_full_disk_leaves_the_old_picture(tmp_path, suffix):
    """A real limit on the size of files stands for the disk."""
    path = tmp_path / f"o{suffix}"
    path.write_bytes(b"old")
    noise = np.random.default_rng(0).integers(0, 256, (400, 400, 3), np.uint8)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, before[1]))
    try:
        with pytest.raises(ResourceError, match="cannot be written"):
            publish.save_image(path, noise)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert path.read_bytes() == b"old" and [p.name for p in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("suffix", ["png", "tif", "jpg", "webp"])
def test_colours_say_that_they_are_srgb_and_other_maps_say_nothing(tmp_path, suffix):
    pixels = np.random.default_rng(0).integers(0, 255, (40, 50, 3)).astype(np.uint8)
    for data in (False, True):
        path = tmp_path / f"{data}.{suffix}"
        save_image(path, pixels, Tags(data=data))
        with Image.open(path) as opened:
            tagged = ("srgb" if suffix == "png" else "icc_profile") in opened.info
        assert tagged is not data
        first = path.read_bytes()
        save_image(path, pixels, Tags(data=data))
        assert path.read_bytes() == first, "the same bytes again"
    assert np.abs(images.read_pixels(tmp_path / f"False.{suffix}") - pixels / 255).mean() < 0.05


@pytest.mark.parametrize("tags", [Tags(), Tags(recipe="{}", density=333.0), Tags(data=True)])
@pytest.mark.parametrize("moved", [1 << 24, 5000])
def test_a_png_holds_no_chunk_that_says_nothing(tmp_path, monkeypatch, tags, moved):
    monkeypatch.setattr(row_writers, "MOVED", moved)
    pixels = np.random.default_rng(0).integers(0, 255, (40, 500, 3)).astype(np.uint16)
    save_image(tmp_path / "a.png", pixels, tags)
    content, place, names = (tmp_path / "a.png").read_bytes(), 8, []
    while place < len(content):
        end = place + 8 + int.from_bytes(content[place : place + 4])
        assert zlib.crc32(content[place + 4 : end]) == int.from_bytes(content[end : end + 4])
        names.append(content[place + 4 : place + 8].decode())
        place = end + 4
    colours = [] if tags.data else ["sRGB", "gAMA", "cHRM"]
    said = ["pHYs"] * (tags.density is not None) + ["tEXt"] * (tags.recipe is not None)
    assert list(dict.fromkeys(names)) == ["IHDR", *colours, *said, "IDAT", "IEND"]
    np.testing.assert_array_equal(PictureRows(tmp_path / "a.png")[0:40], pixels)


@pytest.mark.parametrize(("suffix", "channels"), [("jpg", 1), ("webp", 4), ("png", 2), ("tif", 4), ("png", 1)])
def test_grey_and_transparent_pictures_are_written_as_they_are(tmp_path, suffix, channels):
    pixels = np.random.default_rng(0).integers(1, 255, (40, 50, channels)).astype(np.uint8)
    save_image(tmp_path / f"a.{suffix}", pixels)
    found = images.read_picture(tmp_path / f"a.{suffix}")
    assert found.encoding == Encoding.of(np.uint8, channels)
    again = found.encoding.stored(found.pixels).astype(int)
    assert np.abs(again - pixels).mean() < (3 if suffix == "jpg" else 0.01)
