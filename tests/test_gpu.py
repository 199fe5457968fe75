"""On a GPU: the same texture as on a CPU, out of memory, half precision, interrupted runs."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch
from conftest import generator

import texgen
from texgen.diffusion import models
from texgen.diffusion.guidance.distill import ad_loss
from texgen.diffusion.guidance.exemplar_keys import choose_layers, exemplar_key_values
from texgen.diffusion.sampling.loop import normal
from texgen.diffusion.sampling.sample import _Tiles

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")

OPTIONS = {"size": (256, 256), "seed": 3, "steps": 25, "strength": 0.12, "iterations": 2, "start": "swatch"}


@pytest.fixture(scope="module")
def on_gpu(sd_folder):
    return models.load(sd_folder, device="cuda", dtype="float32")


def pulled(backbone):
    """The AD loss of two tiles and its gradient, on the CPU."""
    latents = normal((2, 4, 16, 16), generator()).to(backbone.device).requires_grad_(True)
    layers = choose_layers(backbone.attention_layers)
    with backbone.denoiser() as tap:
        other = normal((1, 4, 24, 16), generator(1)).to(backbone.device)
        loss = ad_loss(tap.features(latents, 100, layers), exemplar_key_values(tap, [other], 100, layers))
    (gradient,) = torch.autograd.grad(loss, latents)
    return float(loss.detach()), gradient.cpu()


def test_a_network_is_moved_off_a_gpu(sd_folder):
    model = models.load(sd_folder, device="cuda")
    assert model.offload_autoencoder() and not model.offload_autoencoder()
    assert next(model.autoencoder.parameters()).device.type == "cpu"


@pytest.mark.parametrize(("dtype", "allowed"), [("float32", 0.03), ("float16", 0.05), ("bfloat16", 0.3)])
def test_the_pull_is_that_of_the_cpu(sd, sd_folder, dtype, allowed):
    loss, gradient = pulled(models.load(sd_folder, device="cuda", dtype=dtype))
    expected, exact = pulled(sd)
    error = float((gradient - exact).norm() / exact.norm())
    assert loss == pytest.approx(expected, rel=allowed / 10) and error < allowed, f"error {error:.4f}"


def test_a_texture_is_that_of_the_cpu(sd, on_gpu, small):
    """But for signs of gradients near zero: an L1 loss and Adam's first steps turn them into whole steps."""
    ours, theirs = (texgen.expand(small, model=backbone, **OPTIONS).latents.flatten() for backbone in (on_gpu, sd))
    alike = float(torch.corrcoef(torch.stack([ours, theirs]))[0, 1])
    assert alike > 0.98, f"correlation {alike:.4f}"


def test_a_batch_that_does_not_fit_is_done_in_halves(on_gpu, small, monkeypatch):
    """The device's own allocator refuses more than one tile."""
    options = {**OPTIONS, "iterations": 0}
    whole = texgen.expand(small, model=on_gpu, tile_batch=1, **options)
    step, done = _Tiles.step, []

    def refused(self, timestep, tiles):
        if len(tiles.latents) > 1:
            torch.empty(2 * torch.cuda.mem_get_info()[1], dtype=torch.uint8, device="cuda")
        done.append(len(tiles.latents))
        return step(self, timestep, tiles)

    monkeypatch.setattr(_Tiles, "step", refused)
    halved = texgen.expand(small, model=on_gpu, tile_batch=4, **options)
    torch.testing.assert_close(halved.latents, whole.latents, rtol=0, atol=1e-2)
    assert set(done) == {1}


def test_a_tile_with_no_number_is_done_in_float32(sd_folder, small):
    """float16 overflows where a weight is huge; the texture is finite all the same."""
    half = models.load(sd_folder, device="cuda", dtype="float16")
    unet = copy.deepcopy(half.unet)
    with torch.no_grad():
        unet.conv_in.weight.mul_(3e4)
    result = texgen.expand(small, model=replace(half, unet=unet), **OPTIONS)
    assert bool(torch.isfinite(result.latents).all()) and next(unet.parameters()).dtype == torch.float16


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_an_interrupted_run_ends_in_the_same_bytes(sd_folder, small, tmp_path, dtype):
    backbone = models.load(sd_folder, device="cuda", dtype=dtype)
    whole = texgen.expand(small, model=backbone, **OPTIONS)
    seen = []

    def stop(step):
        seen.append(step)
        if len(seen) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        texgen.expand(
            small, model=backbone, checkpoint=tmp_path / "run", checkpoint_minutes=0, callback=stop, **OPTIONS
        )
    resumed = texgen.expand(small, model=backbone, checkpoint=tmp_path / "run", resume=True, **OPTIONS)
    assert torch.equal(whole.latents, resumed.latents)


def test_the_whole_path_of_the_command_runs(sd_folder, small, tmp_path):
    from texgen.cli.main import main

    out = tmp_path / "out.png"
    arguments = ["expand", str(small), "-o", str(out), "--model", str(sd_folder), "--size", "256", "--seed", "1"]
    with pytest.raises(SystemExit) as ended:
        main([*arguments, "--device", "cuda", "--steps", "10"])
    assert ended.value.code == 0 and out.stat().st_size > 1000
