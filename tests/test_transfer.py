"""Style and appearance transfer by a diffusion model, against Algorithm 1 written out."""

from __future__ import annotations

import numpy as np
import pytest
import tiny
import torch
from scipy.ndimage import gaussian_filter
from torch import Tensor

import texgen
from texgen.diffusion import models, presets
from texgen.diffusion.encoding import encoded_image
from texgen.diffusion.knobs import Knobs
from texgen.diffusion.models import UNetModel
from texgen.diffusion.plan import Plan, make_plan
from texgen.errors import OptionError
from texgen.job import Canvas, Constraints, Content, Job
from texgen.tasks.size import WRAPS
from tiling import Size


def picture(seed: int, height: int = 128, width: int = 128) -> np.ndarray:
    """Smooth noise in [0, 1]."""
    noise = gaussian_filter(np.random.default_rng(seed).random((height, width, 3)), (3, 3, 0))
    return np.float32((noise - noise.min()) / (noise.max() - noise.min()))


def tensor(pixels: np.ndarray) -> Tensor:
    return torch.from_numpy(pixels).permute(2, 0, 1)[None]


def algorithm_1(
    model: UNetModel,
    swatch: np.ndarray,
    content: np.ndarray | Tensor,
    weight: float,
    steps: int,
    labels: np.ndarray | None = None,
) -> Tensor:
    """Eq. 3 to 5 in plain torch, one square tile, from a content or latents; `labels` are those of its latent pixels (h, w), and transposed the swatch's."""
    exemplar = model.encode(tensor(swatch))
    wanted = content if isinstance(content, Tensor) else model.encode(tensor(content))
    latents = wanted.clone().requires_grad_(True)
    adam = torch.optim.Adam([latents], lr=0.05)
    layers = model.attention_layers[-6:]
    with model.denoiser() as network:
        for timestep in model.schedule(steps).timesteps:
            with torch.no_grad():
                own, kept = (network.features(each, timestep, layers) for each in (exemplar, wanted))
            found, loss = network.features(latents, timestep, layers), torch.zeros(())
            for name in layers:
                query, scale = found[name].query.detach(), found[name].query.shape[-1] ** -0.5
                scores = query @ own[name].key.mT * scale
                if labels is not None:
                    every = len(labels) // round(query.shape[2] ** 0.5)
                    coarse = torch.from_numpy(labels[every // 2 :: every, every // 2 :: every].copy())
                    scores[..., coarse.flatten()[:, None] != coarse.T.flatten()] = -torch.inf
                ideal = scores.softmax(-1) @ own[name].value
                loss = loss + (found[name].output - ideal).abs().mean()
                loss = loss + weight * (found[name].query - kept[name].query).abs().mean()
            adam.zero_grad()
            loss.backward()
            adam.step()
    return latents.detach()


def test_a_transfer_is_algorithm_1_from_the_contents_latents(sd):
    swatch, content = picture(1), picture(2)
    made = texgen.transfer(swatch, content, model=sd, steps=3, seed=1)
    expected = algorithm_1(sd, swatch, content, 0.25, 3)
    off = float(
        (made.latents - expected).abs().mean()
    )  # Adam's first step is a sign: where the gradient is 0 it may flip
    assert off < 1e-4, f"{off:.1e}, allowed 1e-4"
    assert float((made.latents - algorithm_1(sd, swatch, content, 0.0, 3)).abs().mean()) > 1e-3, "lambda is seen"
    assert made.recipe["mode"] == "style" and made.recipe["steps_run"] == made.recipe["ad_iterations"] == 3
    assert made.recipe["tileable"] == "none" and "weight" not in made.recipe


def plan(model: UNetModel, preset: str = "standard", mode: str = "style", content_weight: float | None = None) -> Plan:
    given = Constraints(content=Content(picture(2), mode), content_weight=content_weight)
    job = Job(canvas=Canvas(Size(128, 128), WRAPS["none"]), exemplars=[], constraints=given)
    return make_plan(model, preset, Knobs(), job)


def test_the_published_numbers_are_the_defaults(sd, tmp_path):
    for preset, steps in (("draft", 100), ("standard", 200), ("best", 300)):
        planned = plan(sd, preset)
        assert (planned.preset.steps, planned.guidance.lr, planned.guidance.content_weight) == (steps, 0.05, 0.25)
        assert planned.optimizes and planned.preset.start == "layout"
    xl = models.load(tiny.save_xl_folder(tmp_path / "xl"))
    assert [plan(xl, mode=mode).guidance.content_weight for mode in presets.TRANSFER_CONTENT] == [0.2, 0.2]
    assert sd.is_xl is False and xl.is_xl is True


def test_a_transfer_takes_any_aspect_in_tiles(sd):
    content = picture(2, 150, 200)
    made = texgen.transfer(picture(1), content, model=sd, steps=1, seed=1)
    assert made.pixels.shape == (150, 200, 3) and made.latents.shape[2:] == (19, 25)
    assert made.recipe["tile_steps"] >= 4, "tiles of 128 px"
    whole = torch.nn.functional.pad(tensor(content), (0, 0, 0, 2), mode="replicate")
    moved = (made.latents - encoded_image(sd, whole)).abs()
    assert float(moved.max()) < 0.0501, "Adam's first step moves a latent by lr at most"
    assert bool((moved.amax(1) > 0.049).all()), "every latent pixel is in a tile"


def test_a_masked_transfer_reads_the_swatchs_part_of_each_label_alone(sd):
    swatch, content = picture(1), picture(2)
    target = np.zeros((128, 128), np.int64)
    target[64:] = 1
    made = texgen.transfer(swatch, content, model=sd, labels=target.T.copy(), target=target, steps=2, seed=1)
    expected = algorithm_1(sd, swatch, content, 0.25, 2, target[::8, ::8])
    off = float(
        (made.latents - expected).abs().mean()
    )  # Adam's first step is a sign: where the gradient is 0 it may flip
    assert off < 1e-4, f"{off:.1e}, allowed 1e-4"
    assert float((expected - algorithm_1(sd, swatch, content, 0.25, 2)).abs().max()) > 0.01, "labels are seen"
    assert made.recipe["labels"] == ["#000000", "#000001"]


def test_the_content_weight_stands_for_the_modes(sd):
    appearance, given = plan(sd, mode="appearance"), plan(sd, content_weight=0.1)
    assert (appearance.guidance.content_weight, given.guidance.content_weight) == (0.2, 0.1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"content_weight": 0.2}, "content_weight=0.2 is for diffusion models"),
        ({"model": "mini", "weight": 2.0}, "weight=2.0 is for the swatch model; use content_weight"),
        ({"model": "mini", "strength": 0.5}, "strength does nothing with loop='optimize'"),
        ({"model": "mini", "start": "swatch"}, "start='swatch' does not look at the content; use 'layout' or 'noise'"),
        ({"model": "mini", "guides": [(picture(1), picture(1))]}, "guides is for the swatch model"),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_refused(options, message):
    with pytest.raises(OptionError, match=message):
        texgen.transfer(picture(1), picture(2), **options)
