"""What is read at most, of which files, and what is said of the rest."""

from __future__ import annotations

import io
import os
import struct
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from test_cli import run
from test_image import gradient, plain_png

import texgen
from texgen.errors import InputError, ResourceError
from texgen.files import image as images
from texgen.files import limits
from texgen.files.header import facts_of
from texgen.files.publish import save_image
from texgen.files.row_reader import PictureRows
from texgen.swatch.bank.sources import Material, sources_of


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP", "deep PNG"])
def test_pictures_as_large_as_texgen_makes_them_are_within_the_budget(kind, tmp_path, monkeypatch):
    """A header is enough: what comes after it is missing, and nobody complains of the size."""
    monkeypatch.setattr(limits, "free_memory", lambda: None)
    side = {"WEBP": 16383}.get(kind, 16384)
    if kind.endswith("PNG"):
        content = plain_png(8, 8, claimed=(side, side), depth=16 if kind == "deep PNG" else 8)
    else:
        small = io.BytesIO()
        gradient(64, 64).save(small, kind, **({"lossless": True} if kind == "WEBP" else {}))
        content = resized_header(small.getvalue(), kind, side)
    path = tmp_path / ("a.png" if kind.endswith("PNG") else "a.picture")
    path.write_bytes(content + bytes(2**21))  # else OpenImageIO sees that it cannot be whole
    if kind in ("WEBP", "deep PNG"):  # which would take all their memory at once
        assert PictureRows(path).shape[:2] == (side, side) == (facts_of(path).height, facts_of(path).width)
    else:
        with pytest.raises(InputError, match="broken or truncated"):
            images.read_picture(path)


def resized_header(content: bytes, kind: str, side: int) -> bytes:
    """A file of 64 px a side that claims another."""
    if kind == "WEBP":
        start = content.index(b"VP8L") + 9
        (packed,) = struct.unpack_from("<I", content, start)
        return (
            content[:start]
            + struct.pack("<I", packed & 0xF0000000 | (side - 1) << 14 | side - 1)
            + content[start + 4 :]
        )
    found = bytearray(content)
    (entries,) = struct.unpack_from("<I", content, 4)
    (count,) = struct.unpack_from("<H", content, entries)
    for entry in range(entries + 2, entries + 2 + 12 * count, 12):
        tag, _, number = struct.unpack_from("<HHI", content, entry)
        if tag in (256, 257, 278):
            struct.pack_into("<HHII", found, entry, tag, 4, number, side)
    return bytes(found)


def test_a_limit_of_pillow_stays_as_it_was(tmp_path):
    gradient().save(tmp_path / "a.png")
    kept = Image.MAX_IMAGE_PIXELS
    images.read_picture(tmp_path / "a.png")
    assert kept == Image.MAX_IMAGE_PIXELS


def test_the_budget_is_one_number_for_files_and_rows(tmp_path):
    content = plain_png(8, 8, claimed=(16384, 16385))
    (tmp_path / "a.png").write_bytes(content + bytes(2**21))  # else OpenImageIO sees that it cannot be whole
    for read in (images.read_picture, images.read_raw, PictureRows):
        with pytest.raises(
            InputError, match=r"16384x16385 px of 6 bytes are too many; at most 268435456 px, 1048576 a"
        ):
            read(tmp_path / "a.png")


def test_what_takes_more_memory_than_is_free_is_refused_before_it_is_decoded(tmp_path, monkeypatch):
    monkeypatch.setattr(limits, "free_memory", lambda: 10**6)
    for depth in (8, 16):
        (tmp_path / "a.png").write_bytes(plain_png(300, 300, depth=depth))
        with pytest.raises(ResourceError, match=r"a.png: reading it takes about 0.0 GiB of memory, 0.0 are free"):
            images.read_picture(tmp_path / "a.png")


def test_free_memory_is_told():
    found = limits.free_memory()
    assert found is None or 2**26 < found < 2**50


def test_what_is_no_file_is_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "a.png")
    for read in (images.read_picture, images.read_raw, PictureRows):
        for path in (tmp_path / "a.png", Path("/dev/zero"), tmp_path):
            with pytest.raises(InputError, match="is no regular file"):
                read(path)


def test_names_that_are_no_utf8_are_read_and_written(tmp_path):
    try:
        odd = tmp_path / os.fsdecode(b"a\xff.png")
        save_image(odd, np.asarray(gradient()))
    except OSError:
        pytest.skip("this file system has names of UTF-8 alone")
    assert images.read_picture(odd).pixels.shape == (96, 80, 3)
    np.testing.assert_array_equal(PictureRows(odd)[0:96], np.asarray(gradient()))
    texgen.preview(odd, width=192).save(tmp_path / os.fsdecode(b"\xfe.html"))


@pytest.mark.filterwarnings("default")
def test_the_command_line_warns_in_one_line(capsys, tmp_path):
    gradient().save(tmp_path / "a.png", icc_profile=b"no profile at all".ljust(200))
    code, _, stderr = run(
        capsys, "expand", tmp_path / "a.png", "-o", tmp_path / "o.png", "--size", "64", "--preset", "draft"
    )
    warned = [line for line in stderr.splitlines() if "profile" in line]
    assert code == 0 and len(warned) == 1 and warned[0].startswith("texgen: warning: "), stderr


@pytest.mark.parametrize("side", [2048, 4096, 16384])
def test_no_more_of_a_large_swatch_is_searched_than_of_one_of_1024_px(side):
    row = np.random.default_rng(0).random((1, side, 3)).astype(np.float32)
    swatch = np.broadcast_to(row, (side, side, 3))  # takes no memory
    windows = sources_of(Material(swatches=[swatch], shares=[1.0]))
    searched = sum(each.pixels.shape[0] * each.pixels.shape[1] for each in windows)
    print(f"{side} px a side: {searched} px are searched (allowed {1024**2})")
    assert 1024**2 / 2 < searched <= 1024**2
    places = np.array([(each.top, each.left) for each in windows])
    assert np.ptp(places, 0).min() >= side / 3, "they are spread over it"


@pytest.mark.slow
def test_a_swatch_of_4096_px_costs_at_most_twice_what_one_of_1024_does(tmp_path):
    noise, seconds = np.random.default_rng(0).integers(0, 256, (4096, 4096, 3)).astype(np.uint8), {}
    save_image(tmp_path / "other.png", noise[-1024:, -1024:])
    for side in (1024, 4096):
        save_image(tmp_path / f"{side}.png", noise[:side, :side])
    for side in ("other", 1024, 4096):  # the first one compiles; a swatch that was seen before would take less
        started = time.process_time()
        texgen.expand(tmp_path / f"{side}.png", 512, preset="draft", seed=1).save(tmp_path / "out.png", overwrite=True)
        seconds[side] = time.process_time() - started
    print(f"processor seconds: {seconds}")
    assert seconds[4096] <= 2 * seconds[1024]
