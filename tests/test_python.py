"""What Python programs expect of a library: arrays that behave as arrays, no hidden state, threads, quick imports."""

from __future__ import annotations

import random
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from test_cli import run

import texgen

SWATCH = np.random.default_rng(0).integers(0, 255, (80, 96, 3), np.uint8)
QUICK = {"preset": "draft", "seed": 3}


@pytest.fixture(scope="module")
def made() -> texgen.Result:
    return texgen.expand(SWATCH, (64, 80), **QUICK)


def test_pixels_on_the_disk_behave_as_an_array(made):
    whole = np.asarray(made.pixels)
    assert whole.shape == (64, 80, 3) == made.pixels.shape and whole.dtype == np.uint8 and len(made.pixels) == 64
    assert np.asarray(made.pixels, np.float32).dtype == np.float32
    for index in (
        np.s_[:], np.s_[3:9], np.s_[::2], np.s_[::-3], np.s_[-5:], np.s_[60:200], np.s_[9:3], 7, -1, np.int64(4), np.s_[2:5, 10:20], np.s_[4, 3], np.s_[..., 0],
        np.s_[::2, ::-1, 1], [1, 5], whole[..., 0] > 99,
    ):  # fmt: skip
        assert np.array_equal(made.pixels[index], whole[index]), index
    with pytest.raises(IndexError):
        made.pixels[64]
    with pytest.raises(ValueError, match="without a copy"):
        np.asarray(made.pixels, copy=False)


def test_whole_numbers_of_numpy_are_whole_numbers(made):
    again = texgen.expand(
        SWATCH, (np.int64(64), np.uint16(80)), preset="draft", seed=np.int64(3), exemplar_scale=np.float32(1)
    )
    assert np.array_equal(again.pixels, made.pixels) and again.recipe == made.recipe


def test_nothing_global_decides_the_result_or_is_changed_by_it(made):
    random.seed(1)
    np.random.seed(1)  # noqa: NPY002
    torch.manual_seed(1)
    before = (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist())  # noqa: NPY002
    torch.set_default_dtype(torch.float64)
    try:
        with torch.no_grad():
            ours = texgen.expand(SWATCH, (64, 80), **QUICK)
            other = texgen.expand(SWATCH, 128, model="mini", **QUICK)
    finally:
        torch.set_default_dtype(torch.float32)
    assert (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()) == before  # noqa: NPY002
    assert np.array_equal(ours.pixels, made.pixels)
    assert np.array_equal(other.pixels, texgen.expand(SWATCH, 128, model="mini", **QUICK).pixels)


def test_threads_get_the_same_bytes_as_alone(made):
    with ThreadPoolExecutor(3) as pool:
        jobs = [pool.submit(texgen.expand, SWATCH, (64, 80), **QUICK) for _ in range(3)]
        assert all(np.array_equal(job.result().pixels, made.pixels) for job in jobs)


def test_threads_may_share_a_loaded_model():
    model = texgen.load("mini")
    alone = [np.asarray(texgen.expand(SWATCH, 128, model=model, preset="draft", seed=seed).pixels) for seed in (1, 2)]
    with ThreadPoolExecutor(2) as pool:
        jobs = [pool.submit(texgen.expand, SWATCH, 128, model=model, preset="draft", seed=seed) for seed in (1, 2)]
        assert all(np.array_equal(job.result().pixels, each) for job, each in zip(jobs, alone, strict=True))


def test_the_package_tells_its_version_and_its_names():
    assert texgen.__version__ == texgen.expand(SWATCH, 64, **QUICK).recipe["texgen"]
    assert {"expand", "fill", "material", "export", "Result", "OptionError"} <= set(dir(texgen))


QUICKLY = """
import sys, texgen
from texgen.cli.main import main
for words in (["models"], ["doctor", "--quick"], ["expand", "none.png", "-o", "o.png", "--seed", "-1"], ["expand", "none.png", "-o", "o.png"], ["--help"], ["expand", "--help"]):
    try: main(words)
    except SystemExit: pass
try: texgen.expand("none.png", seed=-1)
except texgen.OptionError: pass
print("loaded", sorted({"torch", "numba", "diffusers", "transformers", "scipy"} & set(sys.modules)))
"""


def test_what_needs_no_model_imports_none():
    done = subprocess.run([sys.executable, "-c", QUICKLY], capture_output=True, text=True, check=True)
    assert done.stdout.endswith("loaded []\n"), done.stdout[-300:]


def test_a_quick_look_at_the_installation_tells_versions(capsys):
    code, out, _ = run(capsys, "doctor", "--quick")
    assert code == 0 and f"texgen {texgen.__version__}" in out and "mini" in out
