"""A compiled network computes what the plain one does, or the run ends."""

from __future__ import annotations

import pytest
import tiny_transformers
import torch
from test_cli import run
from test_transfer import picture
from torch._dynamo.utils import counters

import texgen
from texgen.diffusion import models
from texgen.diffusion.models.networks import compiled
from texgen.errors import ModelError, OptionError

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch's compiler warns of torch's own modules


@pytest.fixture(autouse=True)
def quick(request, monkeypatch):
    """Graphs are captured, differentiated and run as they are; only slow tests make kernels of them."""
    torch.compiler.reset()
    counters.clear()
    if "slow" not in request.keywords:
        monkeypatch.setattr(compiled, "BACKEND", "aot_eager")
    yield
    torch.compiler.reset()


@pytest.fixture(params=["sd3", *(pytest.param(each, marks=pytest.mark.slow) for each in ("sd", "flux"))])
def folder(request, sd_folder, tmp_path):
    return sd_folder if request.param == "sd" else tiny_transformers.save_folder(tmp_path / "model", request.param)


def check_alike(folder, **options):
    """Latents of a run with distillation."""
    options |= {"tileable": "none", "steps": 2, "iterations": 1, "start": "noise", "strength": 1.0, "seed": 3}
    plain = texgen.expand(picture(1), 128, model=folder, **options)
    found = texgen.expand(picture(1), 128, model=folder, compile=True, **options)
    off = float((plain.latents - found.latents).abs().mean())
    moved = float(
        (plain.latents - texgen.expand(picture(1), 128, model=folder, **options | {"iterations": 0}).latents)
        .abs()
        .mean()
    )
    assert off < 0.01 * moved, f"{off:.1e} off, distillation moves by {moved:.1e}, allowed a hundredth"
    assert counters["stats"]["unique_graphs"] >= 4, "parts were compiled"
    assert not counters["graph_break"] and (plain.recipe["compiled"], found.recipe["compiled"]) == (False, True)


def test_a_compiled_network_computes_the_same(folder):
    check_alike(folder)


@pytest.mark.slow
def test_blocks_that_are_computed_again_are_compiled_too(sd_folder):
    plain, found = (models.load(sd_folder, device="cpu", compile=each) for each in (False, True))
    z = torch.randn(1, 4, 16, 16, generator=torch.Generator().manual_seed(1))
    gradients = []
    for model in (plain, found):
        with model.denoiser(recomputed=model is found) as network:
            latents = z.clone().requires_grad_(True)
            layers = model.attention_layers[-6:]
            loss = sum(each.output.square().mean() for each in network.features(latents, 100, layers).values())
            gradients += torch.autograd.grad(loss, latents)
    off = float((gradients[0] - gradients[1]).norm() / gradients[0].norm())
    assert off < 1e-4, f"{off:.1e}, allowed 1e-4"


def test_what_cannot_be_compiled_ends_the_run(sd_folder, monkeypatch, tmp_path, capsys):
    def broken(_graph, _inputs):
        raise RuntimeError("no compiler")

    monkeypatch.setattr(compiled, "BACKEND", broken)
    with pytest.raises(
        ModelError, match=r"torch cannot compile the network here \(.*no compiler.*\); leave --compile out"
    ):
        texgen.expand(picture(1), 128, model=sd_folder, compile=True, steps=1, start="noise", seed=3)


def test_more_variants_than_are_kept_end_the_run(sd_folder, monkeypatch):
    monkeypatch.setattr(compiled, "VARIANTS", 1)
    with pytest.raises(ModelError, match=r"cannot compile the network here .*fullgraph"):
        texgen.expand(picture(1), 128, model=sd_folder, compile=True, steps=1, start="noise", seed=3)


def test_a_loaded_model_is_compiled_where_it_is_loaded(sd):
    with pytest.raises(OptionError, match=r"compile is for a model that is given by its name; give it to texgen.load"):
        texgen.expand(picture(1), 128, model=sd, compile=True)


@pytest.mark.slow
def test_the_command_line_compiles(sd_folder, swatch, tmp_path, capsys):
    words = [
        "expand",
        str(swatch),
        "--size",
        "128",
        "--model",
        str(sd_folder),
        "--steps",
        "1",
        "--start",
        "noise",
        "--compile",
    ]
    assert run(capsys, *words, "-o", str(tmp_path / "o.png"))[0] == 0
    assert counters["stats"]["unique_graphs"] >= 4
