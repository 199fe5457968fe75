"""Prompts, guidance, ControlNets and LoRA, against diffusers' own pipelines on tiny networks."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import diffusers
import pytest
import tiny
import torch
from test_transfer import picture, tensor
from transformers import CLIPTokenizer

import texgen
from texgen.diffusion import models
from texgen.diffusion.models import Backbone
from texgen.diffusion.sampling.assemble import Seeds
from texgen.job import Prompt
from tiling import Size

PLAIN = {"iterations": 0, "adain": False, "seed": 3, "steps": 2}
"""No attention distillation: what is left is diffusers' own sampling."""


@pytest.fixture(scope="module")
def xl_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.save_xl_folder(tmp_path_factory.mktemp("models") / "tiny-xl")


@pytest.fixture(scope="module")
def xl(xl_folder: Path) -> Backbone:
    return models.load(xl_folder, device="cpu")


@pytest.fixture(scope="module")
def controlnet_folders(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two ControlNets of the tiny UNet, whose zero convolutions are trained."""
    found = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        net = diffusers.ControlNetModel.from_unet(tiny.unet(), conditioning_embedding_out_channels=(8, 8, 8, 8))
        for block in [*net.controlnet_down_blocks, net.controlnet_mid_block, net.controlnet_cond_embedding.conv_out]:
            torch.nn.init.normal_(block.weight, std=0.2)
        found.append(tmp_path_factory.mktemp("controls") / f"net-{seed}")
        net.save_pretrained(found[-1])
    return found


@pytest.fixture(scope="module")
def controlled(sd_folder: Path, controlnet_folders: list[Path]) -> Backbone:
    return models.load(sd_folder, device="cpu", controlnets=controlnet_folders)


def noise(seed: int, height: int = 16, width: int = 16) -> torch.Tensor:
    """What a run of this seed begins with."""
    return torch.randn(1, 4, height, width, generator=torch.Generator().manual_seed(Seeds.of(seed).noise))


def pipeline(model: Backbone, folder: Path, **more: object):
    """diffusers' own pipeline, of the same networks."""
    encoders = list(model.prompts.encoders())
    parts = {"vae": model.autoencoder, "unet": model.unet, "scheduler": model.scheduler, "tokenizer": tokenizer(folder)}
    if model.is_xl:
        parts |= {"text_encoder": encoders[0], "text_encoder_2": encoders[1], "tokenizer_2": tokenizer(folder, "_2")}
        kind = diffusers.StableDiffusionXLPipeline
    else:
        parts |= {
            "text_encoder": encoders[0],
            "safety_checker": None,
            "feature_extractor": None,
            "requires_safety_checker": False,
        }
        kind = diffusers.StableDiffusionControlNetPipeline if more else diffusers.StableDiffusionPipeline
    found = kind(**parts, **more)
    found.set_progress_bar_config(disable=True)
    return found


def tokenizer(folder: Path, which: str = "") -> CLIPTokenizer:
    return CLIPTokenizer.from_pretrained(folder / f"tokenizer{which}")


def check_close(found: torch.Tensor, expected: torch.Tensor, allowed: float = 1e-4) -> None:
    off = float((found - expected).abs().max())
    assert off < allowed, f"{off:.1e}, allowed {allowed:.0e}"


# --- parity


@pytest.mark.parametrize("negative", [None, "c c"])
def test_guidance_without_distillation_is_diffusers_pipeline(sd, sd_folder, negative):
    made = texgen.text(picture(1), "a b", model=sd, negative_prompt=negative, **PLAIN)
    expected = pipeline(sd, sd_folder)(
        "a b",
        negative_prompt=negative,
        guidance_scale=7.0,
        num_inference_steps=2,
        latents=noise(3),
        output_type="latent",
    ).images
    check_close(made.latents, expected)
    assert made.pixels.shape == (128, 128, 3), "the native size"
    other = texgen.text(picture(1), "b a", model=sd, negative_prompt=negative, **PLAIN)
    assert float((made.latents - other.latents).abs().max()) > 1e-2, "the prompt is seen"


@pytest.mark.parametrize("negative", [None, "", "c"])
def test_guidance_of_xl_is_diffusers_pipeline(xl, xl_folder, negative):
    made = texgen.text(picture(1), "a b", model=xl, negative_prompt=negative, **PLAIN)
    expected = pipeline(xl, xl_folder)(
        "a b",
        negative_prompt=negative,
        guidance_scale=7.0,
        num_inference_steps=2,
        latents=noise(3),
        output_type="latent",
    ).images
    check_close(made.latents, expected)


def test_xl_is_told_the_size_of_the_tile(xl):
    told, away = xl.conditions(Prompt("a", None, 7.0), Size(96, 128))
    for each in (told, away):
        assert each["added_cond_kwargs"]["time_ids"].tolist() == [[96, 128, 0, 0, 96, 128]]


def test_zeros_stand_for_no_negative_prompt_only_where_the_model_says_so(xl, xl_folder, tmp_path):
    none, empty = (xl.prompts.unconditional(negative, Size(128, 128)) for negative in (None, ""))
    assert not none["encoder_hidden_states"].any() and not none["added_cond_kwargs"]["text_embeds"].any()
    assert empty["encoder_hidden_states"].any()
    folder = shutil.copytree(xl_folder, tmp_path / "xl")
    index = json.loads((folder / "model_index.json").read_text())
    (folder / "model_index.json").write_text(json.dumps({**index, "force_zeros_for_empty_prompt": False}))
    encoded = models.load(folder).prompts.unconditional(None, Size(128, 128))
    torch.testing.assert_close(encoded["encoder_hidden_states"], empty["encoder_hidden_states"])


def test_scale_one_is_the_prompt_without_guidance(sd, sd_folder):
    made = texgen.text(picture(1), "a b", model=sd, guidance_scale=1, negative_prompt="c", **PLAIN)
    expected = pipeline(sd, sd_folder)(
        "a b", guidance_scale=1.0, num_inference_steps=2, latents=noise(3), output_type="latent"
    ).images
    check_close(made.latents, expected)


@pytest.mark.parametrize("count", [1, 2])
def test_controlnets_without_distillation_are_diffusers_pipeline(sd_folder, controlnet_folders, count):
    model = models.load(sd_folder, device="cpu", controlnets=controlnet_folders[:count])
    pictures, weights = [picture(5 + i) for i in range(count)], [0.8, 0.3][:count]
    made = texgen.text(picture(1), "a b", model=model, controls=list(zip(pictures, weights, strict=True)), **PLAIN)
    expected = pipeline(model, sd_folder, controlnet=list(model.controlnet.nets))(
        "a b", [tensor(each) for each in pictures], controlnet_conditioning_scale=weights, guidance_scale=7.0,
        num_inference_steps=2, latents=noise(3), output_type="latent",
    ).images  # fmt: skip
    check_close(made.latents, expected)
    off = texgen.text(picture(1), "a b", model=model, controls=[(each, 0.0) for each in pictures], **PLAIN)
    assert float((made.latents - off.latents).abs().max()) > 1e-2, "the pictures are seen"
