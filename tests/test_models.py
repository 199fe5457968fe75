"""Every layout loads to the same network; what cannot be used is refused with a remedy."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import tiny
import torch
from conftest import generator

from texgen.diffusion import models
from texgen.diffusion.models.autoencoder import TextureAutoencoder
from texgen.diffusion.models.load import choose_dtype
from texgen.errors import ModelError, OptionError


def prediction(backbone: models.Backbone) -> torch.Tensor:
    z = torch.randn(1, backbone.latent_channels, 16, 16, generator=generator())
    with torch.no_grad():
        result: torch.Tensor = backbone.unet(z, 300, **backbone.condition).sample
    return result


def test_a_folder_gives_the_saved_networks_and_the_encoded_empty_prompt(sd):
    torch.testing.assert_close(sd.unet.state_dict()["conv_in.weight"], tiny.unet().state_dict()["conv_in.weight"])
    ids = torch.tensor([[49406] + [49407] * 76])
    with torch.no_grad():
        expected = tiny.text_encoder()(ids)[0]
    torch.testing.assert_close(sd.condition["encoder_hidden_states"], expected)
    assert (sd.factor, sd.native_tile, sd.latent_channels, sd.decodes_locally) == (8, (16, 16), 4, False)
    assert type(sd.scheduler).__name__ == "DDIMScheduler" and sd.scheduler.config.steps_offset == 1
    assert not sd.scheduler.config.clip_sample
    assert not any(p.requires_grad for p in [*sd.unet.parameters(), *sd.autoencoder.parameters()])


def test_a_folder_of_fp16_variants_gives_the_same_to_half_precision(sd, tmp_path):
    variant = models.load(tiny.save_folder(tmp_path / "half", variant="fp16"))
    torch.testing.assert_close(prediction(variant), prediction(sd))


def test_an_xl_folder_has_pooled_text_and_size_conditions(tmp_path):
    backbone = models.load(tiny.save_xl_folder(tmp_path / "xl"))
    assert backbone.condition["encoder_hidden_states"].shape == (1, 77, 32)
    added = backbone.condition["added_cond_kwargs"]
    assert added["text_embeds"].shape == (1, 20)
    assert added["time_ids"].tolist() == [[128, 128, 0, 0, 128, 128]]
    assert len(backbone.attention_layers) == 17
    assert torch.isfinite(prediction(backbone)).all()


@pytest.mark.parametrize("family", ["sd1", "sd2", "sdxl"])
def test_a_single_file_gives_the_same_network_as_its_folder(family, tmp_path):
    backbone = models.load(tiny.save_single_file(tmp_path / "model.safetensors", family))
    reference = tiny.unet(family)
    for name, tensor in reference.state_dict().items():
        torch.testing.assert_close(backbone.unet.state_dict()[name], tensor)
    for name, tensor in tiny.autoencoder().state_dict().items():
        torch.testing.assert_close(backbone.autoencoder.state_dict()[name], tensor)
    assert backbone.scheduler.config.prediction_type == ("v_prediction" if family == "sd2" else "epsilon")
    with torch.no_grad():
        if family == "sdxl":
            zero_padded = torch.tensor([[49406, 49407] + [0] * 75])
            output = tiny.text_encoder(20, projected=True, act="gelu")(zero_padded, output_hidden_states=True)
            torch.testing.assert_close(backbone.condition["added_cond_kwargs"]["text_embeds"], output[0])
            torch.testing.assert_close(backbone.condition["encoder_hidden_states"][..., 12:], output.hidden_states[-2])
        elif family == "sd2":
            expected = tiny.text_encoder(act="gelu")(torch.tensor([[49406, 49407] + [0] * 75]))[0]
            torch.testing.assert_close(backbone.condition["encoder_hidden_states"], expected)
        else:
            expected = tiny.text_encoder()(torch.tensor([[49406] + [49407] * 76]))[0]
            torch.testing.assert_close(backbone.condition["encoder_hidden_states"], expected)
    assert torch.isfinite(prediction(backbone)).all()


def test_a_hub_model_in_the_cache_loads_offline(sd, sd_folder, tmp_path, monkeypatch):
    commit = "0" * 40
    repository = tmp_path / "models--someone--tiny"
    shutil.copytree(sd_folder, repository / "snapshots" / commit)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(commit)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    backbone = models.load("someone/tiny")
    torch.testing.assert_close(prediction(backbone), prediction(sd))
    assert backbone.name == "someone/tiny"


def test_the_bundled_model_needs_no_network_and_is_small(mini):
    files = list(Path(models.BUNDLED["mini"]).rglob("*.safetensors"))
    assert sum(f.stat().st_size for f in files) < 60e6
    assert mini.factor == 8 and mini.halo and mini.native_tile == (64, 64)
    assert mini.scheduler.config.prediction_type == "v_prediction"
    assert len(models.load("mini").fingerprint) == 16 and models.load("mini").fingerprint == mini.fingerprint


def test_the_bundled_autoencoder_reconstructs(mini):
    image = torch.nn.functional.interpolate(
        torch.rand(1, 3, 8, 8, generator=generator()), scale_factor=16, mode="bicubic"
    ).clamp(0, 1)
    error = (mini.decode(mini.encode(image)) - image).square().mean()
    psnr = float(-10 * error.log10())
    assert psnr > 30, f"PSNR {psnr:.1f} dB, allowed 30"


def test_an_untrained_texture_autoencoder_is_its_linear_code():
    model = TextureAutoencoder(latent_channels=4)
    z = torch.randn(1, 4, 6, 6)
    torch.testing.assert_close(model.decode(z).sample, model.block_decoder(z))


@pytest.mark.parametrize("suffix", [".ckpt", ".pt", ".bin", ".pth"])
def test_pickles_are_refused(suffix, tmp_path):
    path = tmp_path / f"model{suffix}"
    path.write_bytes(b"x")
    with pytest.raises(ModelError, match=r"pickled checkpoints can run code and are refused; use a .safetensors"):
        models.load(path)


def test_what_is_no_model_is_refused_with_a_remedy(sd_folder, tmp_path):
    with pytest.raises(ModelError, match="no such model; give mini"):
        models.load("nonsense")
    with pytest.raises(ModelError, match="someone/absent: not in the local cache"):
        models.load("someone/absent")
    with pytest.raises(ModelError, match="no such model"):
        models.load(tmp_path / "absent.safetensors")
    with pytest.raises(ModelError, match=r"no model_index.json; give a folder saved"):
        models.load(tmp_path)
    text = tmp_path / "notes.txt"
    text.write_text("hello")
    with pytest.raises(ModelError, match=r"not a .safetensors file"):
        models.load(text)
    broken = tmp_path / "broken.safetensors"
    broken.write_bytes(b"\x00" * 100)
    with pytest.raises(ModelError, match="not a readable safetensors file"):
        models.load(broken)
    lora = tmp_path / "lora.safetensors"
    from safetensors.torch import save_file

    save_file({"lora.weight": torch.zeros(2)}, lora)
    with pytest.raises(ModelError, match="no whole Stable Diffusion"):
        models.load(lora)


def copied(folder: Path, target: Path) -> Path:
    shutil.copytree(folder, target)
    return target


def test_broken_folders_name_the_part(sd_folder, tmp_path):
    one = copied(sd_folder, tmp_path / "a")
    (one / "unet" / "diffusion_pytorch_model.safetensors").unlink()
    with pytest.raises(ModelError, match=r"unet: no .safetensors weights; the folder is incomplete"):
        models.load(one)
    (one / "unet" / "diffusion_pytorch_model.bin").write_bytes(b"x")
    with pytest.raises(ModelError, match="only pickled weights"):
        models.load(one)
    two = copied(sd_folder, tmp_path / "b")
    weights = two / "vae" / "diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(ModelError, match="vae: cannot be loaded"):
        models.load(two)
    three = copied(sd_folder, tmp_path / "c")
    (three / "model_index.json").write_text("{")
    with pytest.raises(ModelError, match="not readable as JSON"):
        models.load(three)
    (three / "model_index.json").write_text("[]")
    with pytest.raises(ModelError, match="no JSON object"):
        models.load(three)
    (three / "model_index.json").write_text(json.dumps({"vae": ["x", "VQModel"]}))
    with pytest.raises(ModelError, match="autoencoder class 'VQModel' is not known"):
        models.load(three)
    four = copied(sd_folder, tmp_path / "d")
    shutil.rmtree(four / "tokenizer")
    with pytest.raises(ModelError, match="tokenizer: cannot be loaded"):
        models.load(four)
    five = copied(sd_folder, tmp_path / "e")
    shutil.rmtree(five / "scheduler")
    with pytest.raises(ModelError, match="scheduler: cannot be loaded"):
        models.load(five)


def test_inpainting_networks_are_refused(sd_folder, tmp_path):
    folder = copied(sd_folder, tmp_path / "inpaint")
    shutil.rmtree(folder / "unet")
    network = tiny.unet()
    config = {**network.config, "in_channels": 9}
    type(network).from_config(config).save_pretrained(folder / "unet")
    with pytest.raises(ModelError, match="takes 9 channels and gives 4, the autoencoder's latents have 4"):
        models.load(folder)


def test_devices_and_dtypes_are_checked():
    with pytest.raises(OptionError, match="device='gpu9' is not available"):
        models.load("mini", device="gpu9")
    with pytest.raises(OptionError, match="dtype='int8' is not known"):
        models.load("mini", device="cpu", dtype="int8")
    with pytest.raises(OptionError, match="'float16' is not for a CPU"):
        choose_dtype("float16", torch.device("cpu"))
    assert choose_dtype("auto", torch.device("cuda")) == torch.float16
    assert choose_dtype("bfloat16", torch.device("cpu")) == torch.bfloat16


def test_bfloat16_is_refused_where_the_processor_kills_the_probe(monkeypatch):
    monkeypatch.setattr("sys.executable", shutil.which("false"))
    with pytest.raises(OptionError, match="crashes on this CPU"):
        choose_dtype("bfloat16", torch.device("cpu"))


def test_a_folder_with_a_weight_missing_is_refused_not_filled_up(sd_folder, tmp_path):
    from safetensors.torch import load_file, save_file

    folder = copied(sd_folder, tmp_path / "m")
    path = next((folder / "unet").glob("*.safetensors"))
    weights = load_file(path)
    del weights["conv_in.weight"]
    save_file(weights, path, metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"unet: 1 weights are missing \(conv_in.weight"):
        models.load(folder)
