"""Every layout loads to the same network; what cannot be used is refused with a remedy."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import tiny
import torch
from conftest import generator
from tiny import decode

import texgen
from texgen.diffusion import models
from texgen.diffusion.bundled import BUNDLED
from texgen.diffusion.encoding import encoded_image
from texgen.diffusion.models.loading.folder import load_components
from texgen.diffusion.models.loading.hub import wanted_files
from texgen.diffusion.models.loading.load import choose_dtype
from texgen.diffusion.models.loading.weights import PROBED, PROBES
from texgen.diffusion.models.vae.mini_autoencoder import TextureAutoencoder
from texgen.errors import ModelError, OptionError, TexgenError
from tiling import Size, Wrap, cut, cut_from, plan_cores


def prediction(backbone: models.UNetModel) -> torch.Tensor:
    z = torch.randn(1, backbone.latent_channels, 16, 16, generator=generator())
    with torch.no_grad():
        result: torch.Tensor = backbone.unet(z, 300, **backbone.condition).sample
    return result


def test_a_folder_gives_the_saved_networks_and_the_encoded_empty_prompt(sd):
    torch.testing.assert_close(
        sd.unet.state_dict()["conv_in.weight"], tiny.unet(widths=tiny.SLIM).state_dict()["conv_in.weight"]
    )
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
    assert len(backbone.attention_layers) == 11
    assert torch.isfinite(prediction(backbone)).all()


@pytest.mark.parametrize("family", ["sd1", "sd2", "sdxl"])
def test_a_single_file_gives_the_same_network_as_its_folder(family, tmp_path):
    backbone = models.load(tiny.save_single_file(tmp_path / "model.safetensors", family))
    reference = tiny.unet(family, layers=tiny.PUBLISHED)
    torch.testing.assert_close(dict(backbone.unet.state_dict()), dict(reference.state_dict()))
    torch.testing.assert_close(
        dict(backbone.autoencoder.state_dict()), dict(tiny.autoencoder(layers=tiny.PUBLISHED).state_dict())
    )
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
    files = list(Path(BUNDLED["mini"]).rglob("*.safetensors"))
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


def steps(count: int) -> torch.Tensor:
    return torch.tensor(count)


def test_the_training_steps_of_a_2x_file_say_what_it_predicts_and_at_which_size(tmp_path):
    base = models.load(tiny.save_single_file(tmp_path / "base.safetensors", "sd2", global_step=steps(875000)))
    large = models.load(tiny.save_single_file(tmp_path / "large.safetensors", "sd2", global_step=steps(110000)))
    assert (base.prediction_type, base.native_tile) == ("epsilon", (64, 64))
    assert (large.prediction_type, large.native_tile) == ("v_prediction", (96, 96))


@pytest.mark.parametrize(("share", "predicted", "side"), [(1.0, "epsilon", 64), (0.068, "v_prediction", 96)])
def test_a_2x_file_without_its_training_steps_is_tried(share, predicted, side, tmp_path):
    with torch.no_grad():
        told = tiny.text_encoder(act="gelu")(torch.tensor([[49406, 49407] + [0] * 75]))[0]
    network = tiny.predicting(tiny.unet("sd2", layers=tiny.PUBLISHED), share, told)
    backbone = models.load(tiny.save_single_file(tmp_path / "m.safetensors", "sd2", network))
    assert (backbone.prediction_type, backbone.native_tile) == (predicted, (side, side))


def test_the_user_may_say_what_a_model_predicts_and_at_which_size(sd_folder, tmp_path, small):
    folder = models.load(sd_folder, prediction_type="v", native_size=192)
    assert (folder.prediction_type, folder.native_tile) == ("v_prediction", (24, 24))
    file = models.load(tiny.save_single_file(tmp_path / "m.safetensors", "sd2"), prediction_type="epsilon")
    assert (file.prediction_type, file.native_tile) == ("epsilon", (64, 64))
    large = models.load(tiny.save_xl_folder(tmp_path / "xl"), native_size=256)
    assert large.condition["added_cond_kwargs"]["time_ids"].tolist() == [[256, 256, 0, 0, 256, 256]]
    with pytest.raises(OptionError, match="prediction_type='x' is not known; use epsilon or v"):
        models.load(sd_folder, prediction_type="x")
    with pytest.raises(OptionError, match="native_size=100 must be a multiple of 64 px for tiny-sd"):
        models.load(sd_folder, native_size=100)
    told = {"prediction_type": "v", "native_size": 64}
    made = texgen.expand(small, 128, model=sd_folder, start="noise", steps=1, iterations=0, seed=1, **told)
    assert (made.recipe["prediction_type"], made.recipe["tile"]) == ("v_prediction", [8, 8])


def test_files_that_say_v_or_edm_are_believed(tmp_path):
    stated = models.load(tiny.save_single_file(tmp_path / "v.safetensors", "sd1", v_pred=torch.zeros(())))
    assert stated.prediction_type == "v_prediction"
    edm = tiny.save_single_file(tmp_path / "edm.safetensors", "sdxl", edm_mean=torch.zeros(4))
    with pytest.raises(ModelError, match="trained with an EDM schedule"):
        models.load(edm)


def with_taesd(folder: Path, target: Path) -> Path:
    """A folder whose autoencoder is the small one."""
    folder = copied(folder, target)
    shutil.rmtree(folder / "vae")
    tiny.taesd().save_pretrained(folder / "vae")
    index = json.loads((folder / "model_index.json").read_text())
    (folder / "model_index.json").write_text(json.dumps({**index, "vae": ["diffusers", "AutoencoderTiny"]}))
    return folder


def test_the_small_autoencoder_is_local_in_both_directions(sd_folder, tmp_path):
    model = models.load(with_taesd(sd_folder, tmp_path / "taesd"))
    canvas, core = Size(60, 44), Size(8, 44)
    image = torch.rand(1, 3, *canvas.scaled(8), generator=generator())
    latents = model.encode(image)
    whole, decoded = model.decode(latents), model.tile_decoder(latents, Wrap())
    for tile in plan_cores(canvas, core)[3:5]:
        read = tile.grown(model.encoder_halo, canvas, Wrap())
        part = cut_from(model.encode(cut(image, read.scaled(8))), read, tile)
        torch.testing.assert_close(part, cut(latents, tile), atol=1e-5, rtol=1e-4)
        read = tile.grown(model.halo, canvas, Wrap())
        part = cut_from(decoded(cut(latents, read), tile), read.scaled(8), tile.scaled(8))
        torch.testing.assert_close(part, cut(whole, tile.scaled(8)), atol=1e-5, rtol=1e-4)


def test_a_folder_with_the_small_autoencoder_makes_a_texture(sd_folder, tmp_path, small):
    folder = with_taesd(sd_folder, tmp_path / "taesd")
    options = {"tune_decoder": 1, "detail": "residual"}
    made = texgen.expand(small, 128, model=folder, seed=1, steps=2, iterations=1, strength=0.5, **options)
    assert torch.isfinite(made.latents).all()


@pytest.mark.parametrize("channels", [5, 9])
def test_single_files_for_inpainting_and_depth_are_refused(channels, tmp_path):
    network = tiny.unet(layers=tiny.PUBLISHED)
    network = type(network).from_config({**network.config, "in_channels": channels})
    path = tiny.save_single_file(tmp_path / "inpaint.safetensors", "sd1", network)
    with pytest.raises(ModelError, match=f"inpaint.safetensors: the UNet takes {channels} channels and gives 4"):
        models.load(path)


def test_refiners_are_refused(tmp_path):
    folder = tiny.save_xl_folder(tmp_path / "refiner")
    network = tiny.unet("sdxl")
    refiner = {**network.config, "projection_class_embeddings_input_dim": 5 * 256 + 20, "cross_attention_dim": 20}
    shutil.rmtree(folder / "unet")
    type(network).from_config(refiner).save_pretrained(folder / "unet")
    for part in ("text_encoder", "tokenizer"):
        shutil.rmtree(folder / part)
    with pytest.raises(ModelError, match="is told 1300 numbers about the picture, a base model 1556; refiners"):
        models.load(folder)


def test_text_encoders_of_another_model_are_refused(sd_folder, tmp_path):
    folder = copied(sd_folder, tmp_path / "mixed")
    shutil.rmtree(folder / "text_encoder")
    tiny.text_encoder(16).save_pretrained(folder / "text_encoder")
    with pytest.raises(ModelError, match="reads text of width 32, the text encoders give 16"):
        models.load(folder)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"_class_name": "EDMEulerScheduler"}, "EDMEulerScheduler is an EDM or flow schedule"),
        ({"_class_name": "FlowMatchEulerDiscreteScheduler"}, "is an EDM or flow schedule"),
        ({"_class_name": "UniPCMultistepScheduler", "use_flow_sigmas": True}, "is an EDM or flow schedule"),
        ({"_class_name": "DDIMScheduler", "prediction_type": "sample"}, "predicts 'sample'; epsilon and v_prediction"),
        ({"_class_name": "DDIMScheduler", "beta_schedule": "sigmoid"}, "scheduler: cannot be loaded"),
    ],
)
def test_schedules_that_are_no_ddpm_are_refused(config, message, sd_folder, tmp_path):
    folder = copied(sd_folder, tmp_path / "schedule")
    (folder / "scheduler" / "scheduler_config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match=message):
        models.load(folder)


def test_half_weights_are_read_where_they_are_all_there_is_or_the_network_runs_in_half(sd, sd_folder, tmp_path):
    folder = copied(sd_folder, tmp_path / "both")
    network = tiny.unet(widths=tiny.SLIM)
    with torch.no_grad():
        network.conv_in.weight.add_(1)
    network.to(torch.float16).save_pretrained(folder / "unet", variant="fp16")
    full, half = (
        load_components(folder, dtype)["unet"].conv_in.weight.detach().float()
        for dtype in (torch.float32, torch.float16)
    )
    ours = sd.unet.conv_in.weight
    assert torch.equal(full, ours) and float((half - ours - 1).abs().max()) < 0.02
    (folder / "unet" / "diffusion_pytorch_model.safetensors").rename(
        folder / "unet" / "diffusion_pytorch_model.non_ema.safetensors"
    )
    alone = models.load(folder).unet.conv_in.weight
    assert float((alone - ours - 1).abs().max()) < 0.01


def test_of_a_repository_only_what_is_read_is_fetched():
    unet = ["config.json", *(f"diffusion_pytorch_model{v}.safetensors" for v in ("", ".fp16", ".non_ema")), "old.bin"]
    names = [
        *(f"unet/{name}" for name in unet),
        "vae/diffusion_pytorch_model.fp16.safetensors",
        "text_encoder/model.safetensors",
    ]
    names += [
        "text_encoder/model.fp16.safetensors",
        "tokenizer/vocab.json",
        "v1.ckpt",
        "safety_checker/model.safetensors",
    ]
    both = {"model_index.json", "unet/config.json", "vae/diffusion_pytorch_model.fp16.safetensors"}
    both |= {"text_encoder/model.safetensors", "tokenizer/vocab.json"}
    assert set(wanted_files(names, half=False)) == both | {"unet/diffusion_pytorch_model.safetensors"}
    assert set(wanted_files(names, half=True)) == both | {"unet/diffusion_pytorch_model.fp16.safetensors"}


def sharded(folder: Path, target: Path) -> Path:
    folder = copied(folder, target)
    shutil.rmtree(folder / "unet")
    tiny.unet(widths=tiny.SLIM).save_pretrained(folder / "unet", max_shard_size="1MB")
    return folder


def test_shards_are_read_and_an_index_that_names_a_pickle_is_refused(sd, sd_folder, tmp_path):
    folder = sharded(sd_folder, tmp_path / "shards")
    torch.testing.assert_close(prediction(models.load(folder)), prediction(sd))
    path = folder / "unet" / "diffusion_pytorch_model.safetensors.index.json"
    index = json.loads(path.read_text())
    for shard in ("w.bin", "../vae/diffusion_pytorch_model.safetensors"):
        stolen = {**index["weight_map"], "conv_in.weight": shard}
        path.write_text(json.dumps({**index, "weight_map": stolen}))
        with pytest.raises(ModelError, match=f"names '{shard}'; only .safetensors shards beside it are read"):
            models.load(folder)
    path.write_text("{}")
    with pytest.raises(ModelError, match="not readable as an index of weights"):
        models.load(folder)


def test_the_fingerprint_tells_apart_models_too_large_to_be_hashed_whole(tmp_path, monkeypatch):
    from texgen.diffusion.models.loading import weights

    monkeypatch.setattr(weights, "HASHED_WHOLE", 0)
    size = 4 * PROBES * PROBED
    path = tmp_path / "m.safetensors"
    path.write_bytes(bytes(size))
    plain = weights.fingerprint(path)
    path.write_bytes(bytes(size // 2) + b"1" * (size // 2))
    assert weights.fingerprint(path) != plain


@pytest.mark.parametrize("half", ["encoder", "decoder"])
def test_an_autoencoder_that_gives_no_numbers_is_an_error_that_names_the_stage(half, sd_folder, small, tmp_path):
    model = models.load(sd_folder)
    with torch.no_grad():
        getattr(model.autoencoder, half).conv_out.bias.fill_(torch.nan)
    with pytest.raises(
        TexgenError, match=rf"tiny-sd: the autoencoder gave NaN or Inf in {half[:-2]}ing, in Tile\(top=0, left=0"
    ) as error:
        texgen.expand(small, 128, model=model, start="noise", steps=1, iterations=0, seed=1)
    assert error.value.exit_code == 1


def test_where_an_autoencoder_gives_no_numbers_is_told_by_the_tile(mini):
    latents, image = torch.zeros(1, mini.latent_channels, 128, 16), torch.zeros(1, 3, 1024, 128)
    latents[..., 120, 5] = image[..., 1000, 8] = torch.nan
    with pytest.raises(TexgenError, match=r"in decoding, in Tile\(top=64, left=0, bottom=128, right=16\) of"):
        decode(mini, latents, Wrap())
    with pytest.raises(TexgenError, match=r"in encoding, in Tile\(top=64, left=0, bottom=128, right=16\) of"):
        encoded_image(mini, image)
