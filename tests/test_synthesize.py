"""Textures from noise by attention alone, against Algorithm 1 written out."""

from __future__ import annotations

import pytest
import torch
from test_transfer import algorithm_1, picture

import texgen
from texgen.diffusion.sampling.assemble import Seeds
from texgen.errors import ModelError, OptionError


def noise(seed: int, *shape: int) -> torch.Tensor:
    """What a run of this seed begins with."""
    return torch.randn(1, *shape, generator=torch.Generator().manual_seed(Seeds.of(seed).noise))


def test_a_synthesis_is_algorithm_1_from_noise_at_the_native_size(sd):
    swatch, start = picture(1), noise(4, 4, 16, 16)
    made = texgen.synthesize(swatch, model=sd, steps=3, seed=4)
    expected = algorithm_1(sd, swatch, start, 0.0, 3)
    off = float((made.latents - expected).abs().mean())  # where a gradient is 0 Adam's first step may flip
    assert off < 1e-4, f"{off:.1e}, allowed 1e-4"
    assert made.pixels.shape == (128, 128, 3) and made.recipe["tileable"] == "none"
    assert (made.recipe["loop"], made.recipe["start"], made.recipe["steps_run"]) == ("optimize", "noise", 3)
    expanded = texgen.expand(swatch, 128, model=sd, steps=3, seed=4, loop="optimize", tileable="none")
    assert torch.equal(made.latents, expanded.latents), "the same loop of expand"


def test_as_published_the_swatch_is_resized_and_nothing_is_added(sd):
    made = texgen.synthesize(picture(1), model=sd, steps=1, seed=4, preset="published")
    assert made.recipe["preparation"]["size"] == 512 and made.recipe["exemplars"][0]["width"] == 512
    assert (made.recipe["window"], made.recipe["lr"], made.recipe["guidance"]["content_weight"]) == ("ones", 0.05, 0)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({}, ModelError, "the swatch model does not synthesize from noise; give model"),
        ({"model": "mini", "loop": "sample"}, OptionError, "loop='sample' is for texgen.expand"),
        ({"model": "mini", "strength": 0.5}, OptionError, "strength=0.5 needs start='swatch'"),
        ({"model": "mini", "iterations": 2}, OptionError, "iterations does nothing with loop='optimize'"),
        ({"model": "mini", "with_map": True}, OptionError, "a start of noise has no map"),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_refused(options, error, message):
    with pytest.raises(error, match=message):
        texgen.synthesize(picture(1), **options)
