"""What Python programs expect of a library: arrays that behave as arrays, no hidden state, threads, quick imports."""

from __future__ import annotations

import gc
import json
import random
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np
import pytest
import tifffile
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


DENOISED = {"size": (128, 144), "steps": 25, "strength": 0.08, "iterations": 1, "tile_batch": 1, "seed": 1}
"""On the tiny model: 2 steps of 2 tiles, with gradients."""


@pytest.fixture(scope="module")
def denoised(sd) -> np.ndarray:
    return np.asarray(texgen.expand(SWATCH, model=sd, **DENOISED).pixels)


@contextmanager
def floats_of_64_bits():
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        assert torch.get_default_dtype() == torch.float64, "as it was found"
        torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize(
    "settings", [torch.no_grad, torch.inference_mode, lambda: torch.autocast("cpu"), floats_of_64_bits]
)
def test_gradients_are_followed_whatever_the_caller_has_set(sd, denoised, settings):
    with settings():
        grad = torch.is_grad_enabled()
        assert np.array_equal(texgen.expand(SWATCH, model=sd, **DENOISED).pixels, denoised)
        assert torch.is_grad_enabled() == grad


def test_a_model_is_loaded_whatever_the_caller_has_set(sd_folder, denoised):
    with floats_of_64_bits(), torch.inference_mode():
        model = texgen.load(sd_folder, device="cpu")
    assert np.array_equal(texgen.expand(SWATCH, model=model, **DENOISED).pixels, denoised)


def test_denoising_takes_no_random_number_of_the_callers(sd, denoised):
    before = torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()  # noqa: NPY002
    texgen.expand(SWATCH, model=sd, **DENOISED)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert (np.random.get_state()[1].tolist(), random.getstate()) == before[1:]  # noqa: NPY002


def test_threads_that_denoise_take_turns_at_a_model(sd, denoised):
    before = dict(sd.unet.attn_processors)
    with ThreadPoolExecutor(3) as pool:
        jobs = [pool.submit(texgen.expand, SWATCH, model=sd, **DENOISED) for _ in range(3)]
        assert all(np.array_equal(job.result().pixels, denoised) for job in jobs)
    assert sd.unet.attn_processors == before


def test_a_map_of_origins_goes_into_a_tiff_alone(tmp_path):
    made = texgen.expand(SWATCH, (64, 80), with_map=True, **QUICK)
    for save in (made.save_map, made.save_field):
        with pytest.raises(texgen.OptionError, match=r"the suffix must be one of \.tif"):
            save(tmp_path / "x.png")
    made.save_map(tmp_path / "x.tif")
    assert [path.name for path in tmp_path.iterdir()] == ["x.tif"]
    assert np.array_equal(tifffile.imread(tmp_path / "x.tif"), made.coordinates)


def test_pixels_outlive_the_result_that_they_are_of(made):
    pixels = texgen.expand(SWATCH, (64, 80), **QUICK).pixels
    gc.collect()
    assert np.array_equal(pixels, made.pixels)


def test_numbers_of_numpy_are_kept_as_plain_numbers(tmp_path):
    crop, weights = np.array([0, 0, 80, 70]), np.ones(2, np.float32)
    made = texgen.expand(
        SWATCH, 96, crop=crop, exemplars=[SWATCH], exemplar_weights=weights, keep=np.array([8, 8]), **QUICK
    )
    laid = texgen.layout(SWATCH, SWATCH, 64, layout_weight=np.float32(0.5), **QUICK)
    tiled = texgen.tile(SWATCH, band=np.int64(16), **QUICK)
    moved = texgen.transfer(SWATCH, SWATCH, 64, weight=np.float64(2), **QUICK)
    soft = texgen.paint({1: SWATCH}, np.ones((64, 64), int), softness=np.int32(4), **QUICK)
    for result in (made, laid, tiled, moved, soft):
        json.dumps(result.recipe)
    assert made.recipe["preparation"]["crop"] == (0, 0, 80, 70) and tiled.recipe["band"] == 16
    rough = texgen.material(SWATCH, tmp_path / "w.png", roughness=np.float32(0.5), relief=np.int64(3))
    assert json.loads((tmp_path / "w.json").read_text())["relief"] == rough.recipe["relief"] == 3
    assert texgen.preview(tmp_path / "w.png", width=np.int64(192), light=np.float32(90)).image.width == 192


def test_threads_get_the_same_bytes_as_alone(made):
    with ThreadPoolExecutor(3) as pool:
        jobs = [pool.submit(texgen.expand, SWATCH, (64, 80), **QUICK) for _ in range(3)]
        assert all(np.array_equal(job.result().pixels, made.pixels) for job in jobs)


def test_threads_may_share_a_loaded_model(mini):
    alone = [np.asarray(texgen.expand(SWATCH, 128, model=mini, preset="draft", seed=seed).pixels) for seed in (1, 2)]
    with ThreadPoolExecutor(2) as pool:
        jobs = [pool.submit(texgen.expand, SWATCH, 128, model=mini, preset="draft", seed=seed) for seed in (1, 2)]
        assert all(np.array_equal(job.result().pixels, each) for job, each in zip(jobs, alone, strict=True))


def test_the_package_tells_its_version_and_its_names():
    assert texgen.__version__ == texgen.expand(SWATCH, 64, **QUICK).recipe["texgen"]
    assert {"expand", "fill", "material", "export", "Result", "OptionError"} <= set(dir(texgen))


LINES = (
    "--help", "models", "doctor --quick", "expand --help", "expand none.png -o o.png", "expand none.png -o o.png --seed -1", "expand none.png -o o.png --strength nan --model mini",
    "layout none.png --layout none.png -o o.png --layout-weight -1", "layout none.png --layout none.png -o o.png", "paint --swatch none.png:red --target none.png -o o.png --softness nan",
    "paint --swatch none.png:red --target none.png -o o.png", "fill none.png --hole none.png -o o.png", "tile none.png -o o.png", "transfer none.png none.png -o o.png",
    "text none.png wall -o o.png --model mini", "render none.tif --map height=none.png -o o.png", "material none.png -o o.png --ao 9", "material none.png -o o.png",
    "preview none.png -o o.png --width 1", "preview none.png -o o.png", "export none.png -o out --size-m nan", "export none.png -o out", "inspect none.png", "completion bash",
)  # fmt: skip
QUICKLY = f"""
LINES = {LINES}
import sys, texgen
from texgen.cli.main import main
for line in LINES:
    try: main(line.split())
    except SystemExit: pass
for call in (lambda: texgen.expand("none.png"), lambda: texgen.expand("none.png", seed=-1), lambda: texgen.tile("none.png", bnd=3)):
    try: call()
    except texgen.TexgenError: pass
print("loaded", sorted(set(["torch", "numba", "diffusers", "transformers", "scipy"]) & set(sys.modules)))
"""


def test_what_needs_no_model_imports_none():
    done = subprocess.run([sys.executable, "-c", QUICKLY], capture_output=True, text=True, check=True)
    assert done.stdout.endswith("loaded []\n"), done.stdout[-300:]


def test_a_quick_look_at_the_installation_tells_versions(capsys):
    code, out, _ = run(capsys, "doctor", "--quick")
    assert code == 0 and f"texgen {texgen.__version__}" in out and "mini" in out
