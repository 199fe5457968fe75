"""Broken and hostile pictures of every format: an error of texgen's own, in bounded time and memory, or a picture; never a crash."""

from __future__ import annotations

import json
import os
import resource
import socket
import struct
import subprocess
import sys
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms

from texgen.errors import InputError, ResourceError
from texgen.files import image as images
from texgen.files.publish import recipe_text, save_image
from texgen.files.row_reader import PictureRows
from texgen.files.row_writers import Tags

GIB = 2**30
ROUND = 800
"""Cases that Hypothesis makes from one seed."""
SECONDS = 20
"""That one picture may take on a machine that others use, too."""
SAVED = {"png": "uint8", "deep.png": "uint16", "jpg": "uint8", "webp": "uint8", "tif": "uint8", "deep.tif": "float32", "exr": "float16"}  # fmt: skip


def samples(folder: Path) -> list[bytes]:
    """A small picture of every format and kind, with a profile or a recipe in it."""
    values = np.random.default_rng(0).random((14, 12, 3))
    for name, dtype in SAVED.items():
        scale = np.iinfo(dtype).max if dtype.startswith("u") else 1
        save_image(folder / f"a.{name}", (values * scale).astype(dtype), Tags(recipe=recipe_text({"seed": 1})))
    picture = Image.fromarray((values * 255).astype(np.uint8))
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    picture.save(folder / "b.tga")
    picture.save(folder / "b.bmp")
    picture.convert("P").save(folder / "palette.png", icc_profile=profile, transparency=3)
    picture.convert("LA").save(folder / "grey.png", icc_profile=profile)
    picture.convert("CMYK").save(folder / "cmyk.jpg", icc_profile=profile)
    for name in ("moving.gif", "moving.webp", "moving.png"):
        picture.save(folder / name, save_all=True, append_images=[picture.rotate(90)])
    tifffile.imwrite(folder / "pages.tif", (values * 65535).astype(np.uint16)[None].repeat(2, 0), photometric="rgb")
    tifffile.imwrite(folder / "profile.tif", (values * 65535).astype(np.uint16), photometric="rgb", iccprofile=profile)
    return [path.read_bytes() for path in sorted(folder.iterdir()) if path.is_file()]


PLACES = st.integers(0, 400) | st.integers(0, 1 << 14)
EXTREMES = [value.to_bytes(size, order) for size in (2, 4) for value in (0, 1, 2 ** (8 * size - 1), 2 ** (8 * size) - 1) for order in ("little", "big")]  # fmt: skip
LENGTHS = st.sampled_from([None] * 12 + [0, 0, 1, 4, 50, 1 << 20])
NEW = st.binary(min_size=1, max_size=1) | st.binary(max_size=8) | st.sampled_from(EXTREMES)
SPLICES = st.lists(st.tuples(PLACES, LENGTHS, NEW), min_size=1, max_size=4)
"""What is put at a place for so many bytes: for as many as it has where there is no number, for all that follow where it is large."""


def spliced(content: bytes, splices: list[tuple[int, int | None, bytes]], repaired: bool) -> bytes:
    """A broken file; `repaired` is a PNG whose chunks have right checksums all the same."""
    result = bytearray(content)
    for place, length, new in splices:
        place %= len(result) + 1
        result[place : place + (len(new) if length is None else length)] = new
    if repaired and result.startswith(b"\x89PNG"):
        place = 8
        while place + 12 <= len(result):
            end = place + 8 + int.from_bytes(result[place : place + 4], "big")
            result[end : end + 4] = zlib.crc32(result[place + 4 : end]).to_bytes(4, "big")
            place = end + 4
    return bytes(result) or b"\0"


def read_rows(path: Path) -> np.ndarray:
    rows = PictureRows(path)
    return rows[0 : min(rows.shape[0], 64)]


def fuzz(folder: str, rounds: str) -> dict[str, int]:
    """Read broken pictures in all ways, as colours and as data, whole and in rows; how many were pictures all the same, how many refused."""
    (Path(folder) / "samples").mkdir()
    found, outcome, target = samples(Path(folder) / "samples"), Counter[str](), Path(folder) / "broken"
    ways: list[Callable[[], object]] = [
        lambda: images.read_picture(target), lambda: images.read_picture(f"{target}#2"),
        lambda: images.read_raw(target), lambda: read_rows(target),
    ]  # fmt: skip

    @settings(max_examples=ROUND, database=None, deadline=SECONDS * 1000, suppress_health_check=list(HealthCheck))
    @given(st.sampled_from(found), SPLICES, st.booleans())
    def case(content: bytes, splices: list[tuple[int, int | None, bytes]], repaired: bool) -> None:
        target.unlink(missing_ok=True)  # some file systems wait for the disk where a file is emptied
        target.write_bytes(spliced(content, splices, repaired))
        for way in ways:
            try:
                way()
                outcome["read"] += 1
            except (InputError, ResourceError):
                outcome["refused"] += 1
        outcome["cases"] += 1

    for number in range(int(rounds)):
        seed(number)(case)()
    return outcome


def header_of_png(width: int, height: int, depth: int, kind: int) -> bytes:
    return struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0)


def black_png(width: int, height: int, depth: int = 8, kind: int = 2) -> bytes:
    """All of it black and there, in few bytes."""
    row = bytes(1 + (width * depth * {0: 1, 2: 3}[kind] + 7) // 8)
    packed = zlib.compressobj(1)
    body = b"".join([packed.compress(row) for _ in range(height)]) + packed.flush()
    chunks = [(b"IHDR", header_of_png(width, height, depth, kind)), (b"IDAT", body), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in chunks
    )


def lying_tiff(width: int, height: int, bits: int, kind: int, held: int = 1000) -> bytes:
    """A grey TIFF of one strip that holds a few bytes of what it says."""
    tags = [
        (256, 4, width), (257, 4, height), (258, 3, bits), (259, 3, 1), (262, 3, 1), (273, 4, 8), (277, 3, 1),
        (278, 4, height), (279, 4, held), (339, 3, kind),
    ]  # fmt: skip
    entries = b"".join(struct.pack("<HHII", tag, type_, 1, value) for tag, type_, value in tags)
    return b"II*\0" + struct.pack("<I", 8 + held) + bytes(held) + struct.pack("<H", len(tags)) + entries + b"\0\0\0\0"


def bombs(folder: Path) -> Iterator[tuple[Path, type[Exception] | None]]:
    """Small files of very large pictures and what is no file at all, with the error they end in under `GIB` of memory, if any."""
    contents: dict[str, tuple[bytes, type[Exception] | None]] = {
        "bits.png": (black_png(13000, 13000, 1, 0), ResourceError),
        "deep.png": (black_png(7000, 7000, 16), ResourceError),
        "wide.png": (black_png(100_000, 64), None),
        "wider.png": (black_png(1_000_000, 64), ResourceError),
        "widest.png": (black_png(2_000_000, 64, 1, 0), InputError),
        "most.png": (black_png(16385, 16384, 1, 0), InputError),
        "claims.tif": (lying_tiff(16000, 16000, 8, 1), ResourceError),
        "floats.tif": (lying_tiff(16000, 16000, 32, 3), ResourceError),
        "billions.tif": (lying_tiff(300_000, 300_000, 8, 1), InputError),
        "signed.tif": (lying_tiff(16, 15, 32, 2), InputError),
    }
    for name, (content, error) in contents.items():
        (folder / name).write_bytes(content)
        yield folder / name, error
    tifffile.imwrite(folder / "packed.tif", np.zeros((8000, 8000), np.uint8), compression="zlib")
    yield folder / "packed.tif", ResourceError
    Image.new("P", (65000, 4000)).save(folder / "large.gif")
    yield folder / "large.gif", ResourceError
    os.mkfifo(folder / "pipe.png")
    socket.socket(socket.AF_UNIX).bind(str(folder / "socket.png"))
    (folder / "zero.png").symlink_to("/dev/zero")
    for place in ("pipe.png", "socket.png", "zero.png", "."):
        yield folder / place, InputError


def defuse(folder: str) -> dict[str, int]:
    """Read all bombs under a cap that is set when they lie there; seconds of the longest."""
    made, longest = list(bombs(Path(folder))), 0.0
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + GIB, used + GIB))
    for path, expected in made:
        started, found = time.perf_counter(), None
        try:
            images.read_picture(path)
        except (InputError, ResourceError) as error:
            found = type(error)
            assert len(str(error).splitlines()) == 1 and path.name in str(error), error
        assert found is expected, (path.name, found)
        longest = max(longest, time.perf_counter() - started)
    return {"pictures": len(made), "seconds": round(longest)}


def in_a_process(function: Callable[..., dict[str, int]], *arguments: object, memory: int) -> dict[str, int]:
    """What a function of this module returns in a process that may take so many bytes."""
    code = "import json, sys; sys.path.insert(0, sys.argv[1]); import test_broken_pictures as t; print(json.dumps(getattr(t, sys.argv[2])(*sys.argv[3:])))"
    done = subprocess.run(
        [sys.executable, "-c", code, str(Path(__file__).parent), function.__name__, *map(str, arguments)],
        capture_output=True, timeout=3600, check=False, cwd=Path(__file__).parent.parent,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (memory, memory)),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr.decode(errors="replace")[-3000:]
    found = json.loads(done.stdout.decode().splitlines()[-1])
    print(found)
    return found


@pytest.mark.parametrize("rounds", [1, pytest.param(250, marks=pytest.mark.slow)])
def test_broken_pictures_end_in_an_error_or_a_picture(rounds, tmp_path):
    found = in_a_process(fuzz, tmp_path, rounds, memory=4 * GIB)
    assert found["cases"] >= rounds * ROUND and min(found["read"], found["refused"]) > 0.15 * 5 * found["cases"], found


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs Linux to tell how much memory is in use")
def test_bombs_are_refused_before_they_take_memory_or_time(tmp_path):
    assert in_a_process(defuse, tmp_path, memory=8 * GIB)["seconds"] <= SECONDS
