"""Broken pictures of every format: an error of texgen's own, in bounded time and memory, or a picture; never a crash."""

from __future__ import annotations

import random
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from texgen.errors import InputError
from texgen.files import image as images
from texgen.files.encode import Tags
from texgen.files.publish import recipe_text, save_image

FORMATS = {
    "png": np.uint8,
    "deep.png": np.uint16,
    "jpg": np.uint8,
    "webp": np.uint8,
    "tif": np.uint8,
    "deep.tif": np.float32,
    "exr": np.float16,
}
MEMORY = 6 * 2**30


def samples(folder: Path) -> list[Path]:
    """A small picture of every format, with a profile or a recipe in it."""
    values = np.random.default_rng(0).random((48, 40, 3))
    found = []
    for name, dtype in FORMATS.items():
        scale = np.iinfo(dtype).max if np.dtype(dtype).kind == "u" else 1
        found.append(folder / f"a.{name}")
        save_image(found[-1], (values * scale).astype(dtype), Tags(recipe=recipe_text({"seed": 1})))
    for name in ("b.tga", "b.bmp", "palette.png"):
        picture = Image.fromarray((values * 255).astype(np.uint8))
        (picture.convert("P") if name == "palette.png" else picture).save(folder / name)
        found.append(folder / name)
    return found


def mutated(content: bytes, number: int) -> bytes:
    """Some bytes changed, cut out or put in, most of them near the head."""
    draw, result = random.Random(number), bytearray(content)
    for _ in range(draw.randint(1, 8)):
        place = draw.randrange(min(len(result), 400) if draw.random() < 0.6 else len(result))
        kind = draw.random()
        if kind < 0.6:
            result[place] = draw.randrange(256)
        elif kind < 0.8:
            del result[place : place + draw.randint(1, 50)]
        else:
            result[place:place] = draw.randbytes(draw.randint(1, 20))
        if not result:
            break
    return bytes(result) or b"\0"


def read_all(folder: Path, count: int) -> dict[str, int]:
    """Read broken pictures by both ways, as colours and as data; how many were pictures all the same, how many refused."""
    outcome = {"read": 0, "refused": 0}
    for path in samples(folder):
        content, target = path.read_bytes(), folder / f"broken{path.suffix}"
        for number in range(count):
            target.write_bytes(mutated(content, number))
            for read in (images.read_picture, images.read_raw, images.size):
                try:
                    read(target)
                    outcome["read"] += 1
                except InputError:
                    outcome["refused"] += 1
    return outcome


def in_a_process(folder: Path, count: int) -> None:
    code = f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r}); import test_broken_pictures as t; from pathlib import Path; print(t.read_all(Path({str(folder)!r}), {count}))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, timeout=1800, check=False, cwd=Path(__file__).parent.parent,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY)),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr.decode(errors="replace")[-2000:]
    outcome = eval(done.stdout.decode().splitlines()[-1])
    assert outcome["read"] > 0 and outcome["refused"] > 0.1 * outcome["read"], outcome


def test_broken_pictures_end_in_an_error_or_a_picture(tmp_path):
    in_a_process(tmp_path, 70)


@pytest.mark.slow
def test_very_many_broken_pictures_end_in_an_error_or_a_picture(tmp_path):
    in_a_process(tmp_path, 3400)
