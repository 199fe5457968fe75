"""A layout: the plan is kept, in the swatch's own material."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from metrics import layout_agreement
from PIL import Image
from test_cli import run

import texgen
from texgen.diffusion.guidance.distill import content_loss
from texgen.diffusion.guidance.exemplar_keys import choose_layers
from texgen.errors import OptionError
from texgen.files import image as images

DRAFT = {"preset": "draft", "seed": 1, "tileable": "none"}


@pytest.fixture(scope="module")
def wall():
    from pathlib import Path

    return Path(__file__).parent.parent / "examples" / "swatches" / "stone_wall.jpg"


@pytest.fixture(scope="module")
def halves(wall):
    """Dark on the left, bright on the right, in the swatch's own greys."""
    levels = images.read(wall).mean(1).flatten()
    dark, bright = (float(torch.quantile(levels[::50], q)) for q in (0.15, 0.85))
    rough = torch.full((3, 256, 384), bright)
    rough[:, :, :192] = dark
    return rough


@pytest.mark.parametrize("preset", ["draft", "standard"])
def test_the_plan_is_kept_and_the_material_is_the_swatchs(wall, halves, preset):
    result = texgen.layout(wall, halves, **{**DRAFT, "preset": preset})
    assert result.image.size == (384, 256) and result.recipe["task"] == "layout"
    measured = layout_agreement(images.read(result.image), halves[None])
    assert measured >= 0.85, f"correlation {measured:.2f}, allowed 0.85"
    made, swatch = images.read(result.image), images.read(wall)
    sharpness = [float(x.diff(dim=-1).abs().mean()) for x in (made, swatch)]
    assert 0.7 < sharpness[0] / sharpness[1] < 1.3


def test_without_weight_the_plan_does_not_matter(small, halves):
    one, other = (texgen.layout(small, plan, 128, layout_weight=0.0, **DRAFT) for plan in (halves, 1 - halves))
    free = texgen.expand(small, 128, **DRAFT)
    assert one.image.tobytes() == other.image.tobytes() == free.image.tobytes()


def test_stable_diffusion_begins_with_what_the_swatch_model_laid_out(sd, wall, halves):
    plan = halves[:, :192, 64:320]
    result = texgen.layout(wall, plan, model=sd, **DRAFT, with_map=True)
    _, y, x = result.coordinates
    begun = images.read(wall)[..., y, x]
    measured = layout_agreement(begun, plan[None, :, ::8, ::8], side=8)
    assert measured >= 0.8, f"correlation {measured:.2f}, allowed 0.8"


def test_the_size_is_the_plans_or_what_is_asked_for(small, halves):
    options = {**DRAFT, "tileable": "both"}
    assert texgen.layout(small, halves, (160, 240), **options).image.size == (240, 160)
    odd = texgen.layout(small, halves[:, :131, :203], **DRAFT)
    assert odd.image.size == (203, 131)


def test_full_strength_without_content_is_free_synthesis(sd, small):
    options = {"model": sd, "seed": 1, "steps": 2, "iterations": 1, "tile_batch": 1}
    plan = torch.full((3, 128, 128), 0.8)
    laid_out = texgen.layout(small, plan, start="layout", strength=1.0, content_weight=0, **options)
    assert torch.equal(laid_out.latents, texgen.expand(small, 128, start="noise", **options).latents)
    weaker = texgen.layout(small, plan, start="layout", strength=0.5, **options)
    assert not torch.equal(laid_out.latents, weaker.latents)


def test_content_weight_holds_on_to_the_plan(sd, small):
    plan = images.read(small)[0].flip(-1).repeat(1, 2, 2)
    options = {"seed": 1, "steps": 50, "strength": 0.02, "iterations": 8, "start": "layout", "tile_batch": 1}
    free, held = (texgen.layout(small, plan, model=sd, content_weight=w, **options) for w in (0.0, 5.0))
    assert held.recipe["guidance"]["content_weight"] == 5.0
    layers = choose_layers(sd.attention_layers)
    with sd.denoiser() as tap, torch.no_grad():
        wanted = tap.features(sd.encode(plan[None]), 1, layers)
        away = [float(content_loss(tap.features(each.latents, 1, layers), wanted)) for each in (free, held)]
    assert away[1] < 0.95 * away[0], (
        f"{away[1]:.3f} from the plan, without the weight {away[0]:.3f}, allowed 0.95 of it"
    )


def test_the_command_line_lays_out(wall, tmp_path, capsys):
    Image.fromarray(np.full((136, 160, 3), 90, np.uint8)).save(tmp_path / "rough.png")
    out = tmp_path / "o.png"
    command = ["layout", wall, "--layout", tmp_path / "rough.png", "-o", out, "--preset", "draft", "--seed", "1"]
    assert run(capsys, *command)[0] == 0
    with Image.open(out) as image:
        assert image.size == (160, 136)
    recipe = json.loads((tmp_path / "o.png.json").read_text())
    assert recipe["layout"]["name"] == "rough.png" and recipe["layout_weight"] == 1.0 and recipe["task"] == "layout"


def test_a_start_that_looks_at_no_layout_and_one_that_has_none_are_refused(mini, wall, halves):
    with pytest.raises(OptionError, match="start='noise' does not look at the layout"):
        texgen.layout(wall, halves, **DRAFT, start="noise", model="mini")
    with pytest.raises(OptionError, match="start='layout' needs a layout"):
        texgen.expand(wall, 128, model=mini, start="layout")
