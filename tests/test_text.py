"""Prompts, guidance, ControlNets and LoRA, against diffusers' own pipelines on tiny networks."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import diffusers
import numpy as np
import pytest
import tiny
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from test_cli import run
from test_transfer import picture, tensor
from transformers import CLIPTokenizer

import texgen
from texgen.cli.types import type_of
from texgen.diffusion import models
from texgen.diffusion.knobs import Knobs
from texgen.diffusion.models import UNetModel
from texgen.diffusion.models.loading.hub import wanted_files
from texgen.diffusion.models.prompts import END, known_tokens
from texgen.diffusion.sampling.assemble import Seeds
from texgen.diffusion.sampling.loop import step_generator
from texgen.errors import ModelError, OptionError
from texgen.job import Prompt
from texgen.knobs import rows
from tiling import Size

PLAIN = {"iterations": 0, "adain": False, "seed": 3, "steps": 2}
"""No attention distillation: what is left is diffusers' own sampling."""


@pytest.fixture(scope="module")
def xl_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.save_xl_folder(tmp_path_factory.mktemp("models") / "tiny-xl")


@pytest.fixture(scope="module")
def xl(xl_folder: Path) -> UNetModel:
    return models.load(xl_folder, device="cpu")


def save_controlnet(folder: Path, seed: int, family: str = "sd1") -> Path:
    """A ControlNet of the tiny UNet, whose zero convolutions are trained."""
    torch.manual_seed(seed)
    net = diffusers.ControlNetModel.from_unet(
        tiny.unet(family, widths=tiny.SLIM), conditioning_embedding_out_channels=(8, 8, 8, 8)
    )
    for block in [*net.controlnet_down_blocks, net.controlnet_mid_block, net.controlnet_cond_embedding.conv_out]:
        torch.nn.init.normal_(block.weight, std=0.2)
    net.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def controlnet_folders(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return [save_controlnet(tmp_path_factory.mktemp("controls") / f"net-{seed}", seed) for seed in (1, 2)]


@pytest.fixture(scope="module")
def controlled(sd_folder: Path, controlnet_folders: list[Path]) -> UNetModel:
    return models.load(sd_folder, device="cpu", controlnets=controlnet_folders)


def noise(seed: int, height: int = 16, width: int = 16) -> torch.Tensor:
    """What a run of this seed begins with."""
    return torch.randn(1, 4, height, width, generator=torch.Generator().manual_seed(Seeds.of(seed).noise))


def pipeline(model: UNetModel, folder: Path, **more: object):
    """diffusers' own pipeline, of the same networks."""
    encoders = list(model.prompts.encoders())
    parts = {"vae": model.autoencoder, "unet": model.unet, "scheduler": model.scheduler, "tokenizer": tokenizer(folder)}
    if model.is_xl:
        parts |= {"text_encoder": encoders[0], "text_encoder_2": encoders[1], "tokenizer_2": tokenizer(folder, "_2")}
        kind = diffusers.StableDiffusionXLControlNetPipeline if more else diffusers.StableDiffusionXLPipeline
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


def check_close(found: torch.Tensor, expected: torch.Tensor) -> None:
    off = float((found - expected).abs().max())
    assert off < 1e-4, f"{off:.1e}, allowed 1e-4"


# --- parity


def check_parity(model: UNetModel, folder: Path, negative: str | None) -> texgen.Result:
    """Without distillation, what diffusers' own pipeline makes."""
    made = texgen.text(picture(1), "a b", model=model, negative_prompt=negative, **PLAIN)
    expected = pipeline(model, folder)(
        "a b",
        negative_prompt=negative,
        guidance_scale=7.0,
        num_inference_steps=2,
        latents=noise(3),
        output_type="latent",
    ).images
    check_close(made.latents, expected)
    return made


def test_guidance_without_distillation_is_diffusers_pipeline(sd, sd_folder):
    made = check_parity(sd, sd_folder, "c c")
    assert made.pixels.shape == (128, 128, 3), "the native size"


@pytest.mark.parametrize("negative", [None, "c"])
def test_guidance_of_xl_is_diffusers_pipeline(xl, xl_folder, negative):
    check_parity(xl, xl_folder, negative)


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


def test_controlnets_without_distillation_are_diffusers_pipeline(controlled, sd_folder):
    pictures, weights = [picture(5), picture(6)], [0.8, 0.3]
    given = list(zip(pictures, weights, strict=True))
    made = texgen.text(picture(1), "a b", model=controlled, controls=given, **PLAIN)
    expected = pipeline(controlled, sd_folder, controlnet=list(controlled.controlnet.nets))(
        "a b", [tensor(each) for each in pictures], controlnet_conditioning_scale=weights, guidance_scale=7.0,
        num_inference_steps=2, latents=noise(3), output_type="latent",
    ).images  # fmt: skip
    check_close(made.latents, expected)


def test_controlnets_of_xl_are_diffusers_pipeline(xl_folder, tmp_path):
    model = models.load(xl_folder, device="cpu", controlnets=[save_controlnet(tmp_path / "net", 1, "sdxl")])
    made = texgen.text(picture(1), "a b", model=model, controls=[(picture(5), 0.8)], **PLAIN)
    expected = pipeline(model, xl_folder, controlnet=model.controlnet.nets[0])(
        "a b", image=tensor(picture(5)), controlnet_conditioning_scale=0.8, guidance_scale=7.0, num_inference_steps=2,
        latents=noise(3), output_type="latent", height=128, width=128,
    ).images  # fmt: skip
    check_close(made.latents, expected)


def test_control_pictures_are_cut_to_each_tile(controlled):
    """The first step over tiles is that of each tile alone under its own part of the pictures."""
    options = {**PLAIN, "model": controlled, "guidance_scale": 1, "steps": 1, "schedule": "fixed", "tile_overlap": 0}
    pictures = [picture(5, 128, 256), picture(6, 64, 128)]
    made = texgen.text(picture(1), "a b", (128, 256), controls=pictures, **options)
    stretched = [
        torch.nn.functional.interpolate(tensor(each), (128, 256), mode="bicubic", antialias=True) for each in pictures
    ]
    canvas, (timestep,) = noise(3, 16, 32), controlled.schedule(1).timesteps
    told, _ = controlled.conditions(Prompt("a b", None, 1.0), Size(128, 128))
    for left in (0, 16):
        tile = canvas[..., left : left + 16]
        seen = torch.cat([each.clamp(0, 1)[..., 8 * left : 8 * left + 128] for each in stretched], 1)
        steered = controlled.controlled(told, tile, timestep, seen, (1.0, 1.0))
        with torch.no_grad():
            prediction = controlled.unet(tile, timestep, **steered).sample
        expected = controlled.schedule(1).step(prediction, timestep, tile)
        check_close(made.latents[..., left : left + 16], expected)


@pytest.mark.parametrize("verb", ["expand", "layout"])
def test_controlnets_steer_other_verbs_too(controlled, verb):
    options = {"model": controlled, "start": "noise", "steps": 1, "iterations": 0, "seed": 1}
    if verb == "layout":
        options |= {"start": "layout"}
    make = {
        "expand": lambda **o: texgen.expand(picture(1), 128, **o),
        "layout": lambda **o: texgen.layout(picture(1), picture(2), **o),
    }[verb]
    on, off = (make(controls=[(picture(5), w), (picture(6), w)], **options) for w in (1.0, 0.0))
    assert float((on.latents - off.latents).abs().max()) > 1e-2
    assert [each["weight"] for each in on.recipe["controls"]] == [1.0, 1.0]


# --- the method


def test_a_prompt_acts_in_the_denoising_step_alone_and_the_rest_is_algorithm_2(sd):
    """One step with AdaIN and two iterations, written out; features are those of the empty prompt."""
    swatch = picture(1)
    made = texgen.text(swatch, "a b", model=sd, steps=1, seed=3)
    schedule, exemplar, latents = sd.schedule(1), sd.encode(tensor(swatch)), noise(3)
    (timestep,), layers = schedule.timesteps, sd.attention_layers[-6:]
    after = schedule.previous(timestep)
    prompt, away = sd.conditions(Prompt("a b", None, 7.0), Size(128, 128))
    with torch.no_grad():
        wanted, other = (sd.unet(latents, timestep, **each).sample for each in (prompt, away))
    latents = schedule.step(other + 7.0 * (wanted - other), timestep, latents)
    drawn = torch.randn(exemplar.shape, generator=step_generator(Seeds.of(3).exemplars, after))
    noised = schedule.noised(exemplar, drawn, after)
    mean, deviation = (getattr(noised, f)((2, 3), keepdim=True) for f in ("mean", "std"))
    own_mean, own_deviation = (getattr(latents, f)((2, 3), keepdim=True) for f in ("mean", "std"))
    latents = ((latents - own_mean) / own_deviation * deviation + mean).requires_grad_(True)
    adam = torch.optim.Adam([latents], lr=0.015)
    with sd.denoiser() as network:
        with torch.no_grad():
            own = network.features(noised, after, layers)
        for _ in range(2):
            found, loss = network.features(latents, after, layers), torch.zeros(())
            for name in layers:
                query = found[name].query.detach()
                ideal = (query @ own[name].key.mT * query.shape[-1] ** -0.5).softmax(-1) @ own[name].value
                loss = loss + (found[name].output - ideal).abs().mean()
            adam.zero_grad()
            loss.backward()
            adam.step()
    off = float(
        (made.latents - latents.detach()).abs().mean()
    )  # Adam's first step is a sign: where the gradient is 0 it may flip
    assert off < 1e-4, f"{off:.1e}, allowed 1e-4"
    assert {"prompt": "a b", "negative_prompt": None, "guidance_scale": 7.0}.items() <= made.recipe.items()


def test_a_larger_canvas_is_made_in_tiles_of_any_aspect(xl):
    made = texgen.text(picture(1), "a", (150, 200), model=xl, steps=1, seed=1)
    assert made.pixels.shape == (150, 200, 3) and made.recipe["tile_steps"] == 4
    assert made.recipe["ad_iterations"] == 2 * 4 and made.recipe["lr"] == 0.015


# --- single files, LoRA


def test_a_single_file_reads_prompts_with_the_tokenizer_of_clip(sd, sd_folder, tmp_path, monkeypatch):
    path = tiny.save_single_file(tmp_path / "model.safetensors", "sd1")
    model = models.load(path, device="cpu")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    prompt = Prompt("a b", None, 7.0)
    with pytest.raises(ModelError, match=r"a single file has no tokenizer, .* give a diffusers folder"):
        model.check_prompt(prompt)
    repository = tmp_path / "models--openai--clip-vit-large-patch14"
    shutil.copytree(sd_folder / "tokenizer", repository / "snapshots" / ("0" * 40))
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("0" * 40)
    for found, expected in zip(
        model.conditions(prompt, Size(512, 512)), sd.conditions(prompt, Size(128, 128)), strict=True
    ):
        torch.testing.assert_close(found, expected)
    padded = known_tokens("a b", pad=0)
    assert padded[0, :4].tolist() == [END - 1, 1, 2, END] and not padded[0, 4:].any()


LORA = "unet.up_blocks.3.attentions.1.transformer_blocks.0.attn1.to_q"


@pytest.fixture
def lora(tmp_path: Path) -> Path:
    """One layer of the UNet and one of the text encoder, in diffusers' names."""
    torch.manual_seed(4)
    names = {LORA: tiny.SLIM[0], "text_encoder.text_model.encoder.layers.0.self_attn.q_proj": 32}
    weights = {}
    for name, width in names.items():
        weights |= {f"{name}.lora_A.weight": torch.randn(2, width), f"{name}.lora_B.weight": torch.randn(width, 2)}
    save_file(weights, tmp_path / "style.safetensors")
    return tmp_path / "style.safetensors"


def test_a_lora_is_added_to_the_weights(sd, sd_folder, lora):
    pytest.importorskip("peft")
    half = models.load(sd_folder, device="cpu", loras=[(lora, 0.5)])
    weights = load_file(lora)
    layer = LORA.removeprefix("unet.")
    expected = dict(sd.unet.state_dict())
    expected[f"{layer}.weight"] = (
        expected[f"{layer}.weight"] + 0.5 * weights[f"{LORA}.lora_B.weight"] @ weights[f"{LORA}.lora_A.weight"]
    )
    torch.testing.assert_close(dict(half.unet.state_dict()), expected)
    assert half.fingerprint.startswith(f"{sd.fingerprint}+") and half.fingerprint.endswith(":0.5")
    assert not torch.allclose(half.condition["encoder_hidden_states"], sd.condition["encoder_hidden_states"])
    twice = models.load(sd_folder, device="cpu", loras=[lora, (lora, -0.5)])  # a file alone is added whole
    torch.testing.assert_close(twice.unet.state_dict(), half.unet.state_dict())
    torch.testing.assert_close(twice.condition, half.condition)
    with pytest.raises(ModelError, match=r"style\.safetensors: is no LoRA of this model"):
        models.load("mini", device="cpu", loras=[(lora, 1.0)])
    save_file({"a.weight": torch.zeros(2)}, lora)
    with pytest.raises(ModelError, match=r"style\.safetensors: "):
        models.load(sd_folder, device="cpu", loras=[(lora, 1.0)])


def test_a_lora_in_the_names_of_other_trainers_is_scaled_by_its_alpha(sd, sd_folder, tmp_path):
    pytest.importorskip("peft")
    layer = LORA.removeprefix("unet.")
    name = f"lora_unet_{layer.replace('.', '_')}"
    down, up = torch.randn(4, tiny.SLIM[0]), torch.randn(tiny.SLIM[0], 4)
    weights = {f"{name}.lora_down.weight": down, f"{name}.lora_up.weight": up, f"{name}.alpha": torch.tensor(2.0)}
    save_file(weights, tmp_path / "kohya.safetensors")
    made = models.load(sd_folder, device="cpu", loras=[(tmp_path / "kohya.safetensors", 1.0)])
    before, after = (each.unet.state_dict()[f"{layer}.weight"] for each in (sd, made))
    torch.testing.assert_close(after, before + 2 / 4 * up @ down)


def test_a_lora_without_peft_names_the_extra(sd_folder, lora, monkeypatch):
    monkeypatch.setattr("texgen.diffusion.models.loading.lora.find_spec", lambda _name: None)
    with pytest.raises(ModelError, match=r"needs peft, which is not installed: pip install 'texgen\[lora\]'"):
        models.load(sd_folder, loras=[(lora, 1.0)])


# --- what is refused


def test_what_reads_no_prompt_is_refused_with_exit_code_4(capsys, swatch, tmp_path):
    for model in ([], ["--model", "mini", "--size", "128"]):
        code, _, said = run(capsys, "text", swatch, "a castle", "-o", tmp_path / "o.png", *model)
        assert code == 4 and "reads no prompt" in said and not list(tmp_path.iterdir())


def test_the_command_line_makes_the_native_size_and_tells_how(capsys, sd_folder, tmp_path):
    Image.fromarray(np.uint8(picture(1) * 255)).save(tmp_path / "s.png")
    arguments = [tmp_path / "s.png", "a b", "-o", tmp_path / "o.png", "--model", sd_folder, "--negative-prompt", "c"]
    code, _, said = run(capsys, "text", *arguments, "--steps", "1", "--seed", "1", "--guidance-scale", "3")
    assert code == 0 and "Loading" not in said
    with Image.open(tmp_path / "o.png") as made:
        assert made.size == (128, 128)
    recipe = json.loads((tmp_path / "o.png.json").read_text())
    assert "text s.png 'a b'" in recipe["command"] and "--negative-prompt c --guidance-scale 3" in recipe["command"]


@pytest.mark.parametrize(
    ("prompt", "options", "error", "message"),
    [
        (" ", {}, OptionError, "the prompt is empty"),
        ("a " * 80, {}, OptionError, r"has 80 tokens, the model reads 75; shorten it"),
        ("a", {"guidance_scale": 0.5}, OptionError, "guidance_scale=0.5 must be from 1 to 50"),
        ("a", {"loop": "optimize"}, OptionError, "the prompt would do nothing with loop='optimize'"),
        ("a", {"controls": [picture(1)]}, OptionError, "1 control pictures are given for 0 ControlNets"),
        ("a", {"loras": [("x.safetensors", 1.0)]}, OptionError, "give it to texgen.load"),
    ],
)  # fmt: skip
def test_prompts_that_make_no_sense_are_refused(sd, prompt, options, error, message):
    with pytest.raises(error, match=message):
        texgen.text(picture(1), prompt, 128, model=sd, **options)


def test_files_that_do_not_fit_the_model_are_refused(sd_folder, xl_folder, controlnet_folders, tmp_path):
    with pytest.raises(ModelError, match="no such LoRA"):
        models.load(sd_folder, loras=[(tmp_path / "absent.safetensors", 1.0)])
    with pytest.raises(ModelError, match="pickled weights can run code"):
        models.load(sd_folder, loras=[(tmp_path / "x.ckpt", 1.0)])
    with pytest.raises(OptionError, match="LoRA scale=11 must be from -10 to 10"):
        models.load(sd_folder, loras=[(tmp_path / "x.safetensors", 11)])
    with pytest.raises(ModelError, match="no such ControlNet"):
        models.load(sd_folder, controlnets=["absent.safetensors"])
    with pytest.raises(ModelError, match="is a ControlNet for another model"):
        models.load(xl_folder, controlnets=controlnet_folders[:1])
    folder = shutil.copytree(sd_folder, tmp_path / "sd")
    (folder / "tokenizer" / "vocab.json").unlink()
    with pytest.raises(ModelError, match="tokenizer: "):
        models.load(folder)


def test_of_a_controlnets_repository_only_its_weights_are_fetched():
    names = [
        "README.md",
        "config.json",
        "diffusion_pytorch_model.bin",
        "diffusion_pytorch_model.fp16.safetensors",
        "images/a.png",
    ]
    assert wanted_files([*names, "diffusion_pytorch_model.safetensors"], half=True) == [
        "config.json",
        "diffusion_pytorch_model.fp16.safetensors",
    ]


def test_a_controlnet_stands_in_the_command_as_it_was_given():
    row = next(row for row in rows(Knobs) if row.name == "controlnets")
    assert type_of(row) is str, "a hub id is no path: its owner would go"
