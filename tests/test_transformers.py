"""Stable Diffusion 3 and Flux: what is loaded, attention distillation in joint attention, sampling along a flow."""

from __future__ import annotations

import json
import math
import shutil

import numpy as np
import pytest
import tiny_transformers as tiny
import torch
import torch.nn.functional as F
from conftest import generator
from diffusers import FluxPipeline, StableDiffusion3Pipeline
from PIL import Image
from safetensors.torch import load_file, save_file
from test_cli import run
from transformers import CLIPTokenizer

import texgen
from texgen.diffusion import models
from texgen.diffusion.guidance.distill import ad_loss, distill
from texgen.diffusion.guidance.exemplar_keys import Exemplars, choose_layers, exemplar_key_values
from texgen.diffusion.guidance.settings import Guidance
from texgen.diffusion.memory import tile_bytes
from texgen.diffusion.models.loading.components import text_encoder
from texgen.diffusion.models.loading.hub import wanted_files
from texgen.diffusion.sampling.assemble import Seeds
from texgen.diffusion.sampling.checkpoint import Unfinished
from texgen.diffusion.sampling.loop import Loop
from texgen.diffusion.sampling.optimize import optimize
from texgen.diffusion.sampling.progress import Progress
from texgen.diffusion.sampling.sample import sample
from texgen.diffusion.sampling.spectrum import spectrum_matcher
from texgen.diffusion.sampling.tile_pass import TilePass
from texgen.diffusion.tensor_files import save_tensors
from texgen.errors import ModelError, OptionError
from tiling import Size, Tile, Wrap, make_window

FAMILIES = ["sd3", "flux"]
SIDE_PX = 8 * tiny.SIDE


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("transformers")
    return {family: tiny.save_folder(root / f"tiny-{family}", family) for family in FAMILIES}


@pytest.fixture(scope="module", params=FAMILIES)
def family(request):
    return request.param


@pytest.fixture(scope="module")
def model(folders, family):
    """Tiles of 8 x 8 latent pixels, 4 x 4 image tokens."""
    return models.load(folders[family], device="cpu", native_size=SIDE_PX)


def noise(height=tiny.SIDE, width=tiny.SIDE, seed=0, batch=1):
    return torch.randn(batch, tiny.CHANNELS, height, width, generator=generator(seed))


def one_tile(model, latents, guidance, steps=4, exemplar=None):
    schedule, tile = model.schedule(steps), Tile(0, 0, *latents.shape[-2:])
    return Loop(
        model=model,
        schedule=schedule,
        timesteps=schedule.timesteps,
        tiles=TilePass(plans=[[tile]] * steps, window=make_window("ones", tile.size)),
        exemplars=Exemplars(crops=[noise(seed=5) / 2 if exemplar is None else exemplar]),
        guidance=guidance,
    )


# What is loaded


def test_a_folder_gives_the_saved_networks(folders, family, model):
    torch.testing.assert_close(dict(model.transformer.state_dict()), dict(tiny.transformer(family).state_dict()))
    torch.testing.assert_close(dict(model.autoencoder.state_dict()), dict(tiny.autoencoder().state_dict()))
    assert (model.factor, model.native_tile, model.latent_channels) == (8, (8, 8), 16)
    assert models.load(folders[family]).native_tile == {"sd3": (8, 8), "flux": (128, 128)}[family]
    assert not any(p.requires_grad for p in [*model.transformer.parameters(), *model.autoencoder.parameters()])


def test_a_single_file_of_stable_diffusion_3_gives_the_same_network_without_text(tmp_path):
    loaded = models.load(tiny.save_single_file(tmp_path / "model.safetensors"), native_size=SIDE_PX)
    folder = models.load(tiny.save_folder(tmp_path / "sd3", "sd3", *tiny.PUBLISHED))
    for ours, theirs in ((loaded.transformer, folder.transformer), (loaded.autoencoder, folder.autoencoder)):
        state = theirs.state_dict()
        assert state.keys() == ours.state_dict().keys()
        for name, tensor in ours.state_dict().items():
            assert tensor.equal(state[name]), name
    image = torch.rand(1, 3, 32, 32, generator=generator())
    torch.testing.assert_close(loaded.encode(image), folder.encode(image))
    assert loaded.condition.keys() == folder.condition.keys()
    for name, tensor in loaded.condition.items():
        assert tensor.shape == folder.condition[name].shape and not tensor.any()
    with loaded.denoiser() as ours, folder.denoiser() as theirs, torch.no_grad():
        torch.testing.assert_close(ours(noise(), 500.0), theirs(noise(), 500.0, loaded.condition))


def test_layers_are_the_attention_of_image_tokens_in_order_of_execution(family, model):
    seen = []
    hooks = [
        model.transformer.get_submodule(name).register_forward_hook(lambda *_, name=name: seen.append(name))
        for name in model.attention_layers
    ]
    with model.denoiser() as denoiser, torch.no_grad():
        denoiser(noise(), 500.0)
    for hook in hooks:
        hook.remove()
    everything = [n for n, module in model.transformer.named_modules() if hasattr(module, "to_q")]
    assert seen == model.attention_layers and sorted(seen) == sorted(everything)
    assert choose_layers(model.attention_layers, [-1]) == seen[-1:]


def pipeline(folder, family):
    parts = {
        "transformer": tiny.transformer(family), "vae": tiny.autoencoder(), "scheduler": tiny.scheduler(family),
        **tiny.text_encoders(family), "tokenizer": CLIPTokenizer.from_pretrained(folder / "tokenizer"),
    }  # fmt: skip
    if family == "flux":
        made = FluxPipeline(**parts, tokenizer_2=tiny.t5_tokenizer())
    else:
        second = CLIPTokenizer.from_pretrained(folder / "tokenizer_2")
        made = StableDiffusion3Pipeline(**parts, tokenizer_2=second, tokenizer_3=tiny.t5_tokenizer())
    made.set_progress_bar_config(disable=True)
    return made


def test_without_iterations_one_tile_equals_diffusers_pipeline_with_an_empty_prompt(folders, family, model):
    start = noise(seed=3)
    *_, last = sample(one_tile(model, start, Guidance(iterations=0), steps=5), Progress(latents=start))
    theirs = pipeline(folders[family], family)
    given = FluxPipeline._pack_latents(start, 1, 16, 8, 8) if family == "flux" else start
    made = theirs(
        prompt="", height=SIDE_PX, width=SIDE_PX, num_inference_steps=5, guidance_scale=1.0, latents=given, output_type="latent",
    ).images  # fmt: skip
    if family == "flux":
        made = FluxPipeline._unpack_latents(made, SIDE_PX, SIDE_PX, 8)
    torch.testing.assert_close(last.latents, made, atol=1e-4, rtol=0)
    assert (last.latents - start).abs().mean() > 0.01, "the network did something"


def test_guidance_without_distillation_is_diffusers_pipeline(folders, family, small):
    """Stable Diffusion 3 by two predictions, 7 by default; Flux is told it."""
    asked = {"negative_prompt": "c"} if family == "sd3" else {"guidance_scale": 2.0}
    options = {"iterations": 0, "adain": False, "steps": 3, "seed": 3}
    model = models.load(folders[family], native_size=128)
    made = texgen.text(small, "a b", model=model, **asked, **options)
    start = torch.randn(1, tiny.CHANNELS, 16, 16, generator=generator(Seeds.of(3).noise))
    given = FluxPipeline._pack_latents(start, 1, 16, 16, 16) if family == "flux" else start
    told = {"guidance_scale": 7.0, **asked}
    expected = pipeline(folders[family], family)(
        prompt="a b", height=128, width=128, num_inference_steps=3, latents=given, output_type="latent", **told
    ).images
    if family == "flux":
        expected = FluxPipeline._unpack_latents(expected, 128, 128, 8)
    torch.testing.assert_close(made.latents, expected, atol=1e-4, rtol=0)
    assert made.recipe["guidance_scale"] == told["guidance_scale"]
    other = texgen.text(small, "c", model=model, **asked, **options).latents
    assert float((made.latents - other).abs().max()) > 1e-3, "the prompt is read"


def test_a_lora_is_added_to_the_transformer(folders, family, tmp_path):
    pytest.importorskip("peft")
    layer = "transformer_blocks.0.attn.to_q"
    plain = models.load(folders[family], native_size=SIDE_PX)
    width = plain.transformer.get_submodule(layer).in_features
    down, up = torch.randn(2, width, generator=generator()), torch.randn(width, 2, generator=generator(1))
    file = tmp_path / "style.safetensors"
    weights = {f"transformer.{layer}.lora_A.weight": down, f"transformer.{layer}.lora_B.weight": up}
    save_file(weights, file)
    found = models.load(folders[family], native_size=SIDE_PX, loras=[(file, 0.5)])
    expected = dict(plain.transformer.state_dict())
    expected[f"{layer}.weight"] = expected[f"{layer}.weight"] + 0.5 * up @ down
    torch.testing.assert_close(dict(found.transformer.state_dict()), expected)
    assert found.fingerprint.startswith(f"{plain.fingerprint}+")
    save_file(
        {**weights, "text_encoder.text_model.encoder.layers.0.self_attn.q_proj.lora_A.weight": down.clone()}, file
    )
    with pytest.raises(ModelError, match=r"style\.safetensors: "):
        models.load(folders[family], loras=[file])
    save_file({"unet.x.lora_A.weight": down}, file)
    with pytest.raises(ModelError, match=r"style\.safetensors: "):
        models.load(folders[family], loras=[file])


def test_a_layout_is_followed(folders, family, small):
    """Noised and denoised with the layout's queries held: nearer to it than without."""
    plan = np.zeros((144, 128, 3), np.float32)
    plan[:, 64:] = 1
    options = {
        "model": models.load(folders[family], native_size=SIDE_PX),
        "steps": 2,
        "iterations": 1,
        "seed": 2,
        "tileable": "none",
    }
    laid = texgen.layout(small, plan, start="layout", strength=0.5, **options)
    assert laid.pixels.shape == (144, 128, 3) and laid.recipe["guidance"]["content_weight"] == 0.25
    assert laid.recipe["steps_run"] == 1 and laid.recipe["ad_iterations"] > 0
    loose = texgen.layout(small, plan, start="layout", strength=0.5, content_weight=0.0, **options)
    assert not torch.equal(laid.latents, loose.latents), "the layout's queries are read"


def test_t5_is_read_in_the_precision_that_it_is_saved_in(folders, tmp_path):
    from transformers import T5EncoderModel

    folder = tmp_path / "sd3"
    shutil.copytree(folders["sd3"], folder)
    tiny.t5().half().save_pretrained(folder / "text_encoder_3")
    encoder = text_encoder(T5EncoderModel, folder, "text_encoder_3")
    inside = encoder.encoder.block[0].layer[0].SelfAttention.q.weight
    assert inside.dtype == torch.float16, "half the memory"
    ours, exact = (models.load(each).condition["encoder_hidden_states"] for each in (folder, folders["sd3"]))
    assert ours.dtype == torch.float32
    off = float((ours - exact).norm() / exact.norm())
    assert 0 < off < 0.01, f"{off:.1e} off, allowed 1e-2"


def test_stable_diffusion_3_does_without_text_encoders_as_it_was_trained(folders, tmp_path):
    folder = tmp_path / "sd3"
    shutil.copytree(folders["sd3"], folder)
    shutil.rmtree(folder / "text_encoder_3")
    whole, without_t5 = (models.load(f).condition["encoder_hidden_states"] for f in (folders["sd3"], folder))
    torch.testing.assert_close(whole[:, :77], without_t5[:, :77])
    assert whole[:, 77:].abs().min() > 0 and not without_t5[:, 77:].any() and whole.shape == without_t5.shape
    shutil.rmtree(folder / "text_encoder")
    with pytest.raises(ModelError, match="one CLIP text encoder of two"):
        models.load(folder)
    shutil.rmtree(folder / "text_encoder_2")
    assert not any(tensor.any() for tensor in models.load(folder).condition.values())


@pytest.mark.parametrize("part", ["text_encoder", "text_encoder_2"])
def test_flux_without_a_text_encoder_is_refused(folders, tmp_path, part):
    shutil.copytree(folders["flux"], tmp_path / "flux")
    shutil.rmtree(tmp_path / "flux" / part)
    with pytest.raises(ModelError, match=f"no {part}; Flux needs both text encoders"):
        models.load(tmp_path / "flux")


def test_the_empty_prompt_is_encoded_once_for_all_runs(folders, family, model, tmp_path, monkeypatch):
    monkeypatch.setenv("TEXGEN_CACHE", str(tmp_path))
    first = models.load(folders[family]).condition
    (kept,) = tmp_path.iterdir()
    save_tensors(kept, {name: tensor + 1 for name, tensor in first.items()}, {})
    again = models.load(folders[family]).condition
    for name, tensor in model.condition.items():
        assert tensor.equal(first[name]) and (tensor + 1).equal(again[name])


def test_of_a_hub_model_what_is_read_is_fetched():
    names = [
        "model_index.json", "flux1-dev.safetensors", "text_encoder_3/model-00001-of-00002.safetensors", "tokenizer_3/spiece.model",
        "transformer/diffusion_pytorch_model.safetensors.index.json",
        "transformer/diffusion_pytorch_model-00001-of-00003.safetensors",
    ]  # fmt: skip
    assert sorted(wanted_files(names, half=True)) == sorted([names[0], names[2], *names[4:]])


# Attention distillation, against formulas that share no code with the package


def attention(query, key, value):
    return torch.softmax(query @ key.transpose(-1, -2) / math.sqrt(query.shape[-1]), -1) @ value


def split(tokens, heads=2):
    batch, count, width = tokens.shape
    return tokens.reshape(batch, count, heads, width // heads).permute(0, 2, 1, 3)


def merged(tokens):
    return tokens.permute(0, 2, 1, 3).flatten(2)


def fed(block, x, gate, shift, scale, norm, feed):
    return x + gate[:, None] * feed(norm(x) * (1 + scale[:, None]) + shift[:, None])


def sd3_image_tokens(network, condition, latents, timestep):
    """Queries, keys and values of the image tokens by layer, and the velocity's tokens' width."""
    side, embedded = latents.shape[-1] // 2, network.pos_embed
    width = embedded.pos_embed.shape[-1]
    image = F.conv2d(latents, embedded.proj.weight, embedded.proj.bias, stride=2).flatten(2).transpose(1, 2)
    grid = embedded.pos_embed.reshape(12, 12, width)
    first = (12 - side) // 2
    image = image + grid[first : first + side, first : first + side].reshape(1, side * side, width)
    text = network.context_embedder(condition["encoder_hidden_states"])
    time = network.time_text_embed(torch.tensor([timestep]), condition["pooled_projections"])
    found = {}
    for number, block in enumerate(network.transformer_blocks):
        at, last = block.attn, number == len(network.transformer_blocks) - 1
        x, gate, shift, scale, feed_gate, *second = block.norm1(image, emb=time)
        if last:
            y = block.norm1_context(text, time)
        else:
            y, text_gate, text_shift, text_scale, text_feed_gate = block.norm1_context(text, emb=time)
        query, key, value = at.norm_q(split(at.to_q(x))), at.norm_k(split(at.to_k(x))), split(at.to_v(x))
        found[f"transformer_blocks.{number}.attn"] = (query, key, value)
        joint = attention(
            torch.cat([query, at.norm_added_q(split(at.add_q_proj(y)))], 2),
            torch.cat([key, at.norm_added_k(split(at.add_k_proj(y)))], 2),
            torch.cat([value, split(at.add_v_proj(y))], 2),
        )
        count = x.shape[1]
        image = image + gate[:, None] * at.to_out[0](merged(joint[:, :, :count]))
        if second:
            own, (x2, gate2) = block.attn2, second
            alone = own.norm_q(split(own.to_q(x2))), own.norm_k(split(own.to_k(x2))), split(own.to_v(x2))
            found[f"transformer_blocks.{number}.attn2"] = alone
            image = image + gate2[:, None] * own.to_out[0](merged(attention(*alone)))
        image = fed(block, image, feed_gate, shift, scale, block.norm2, block.ff)
        if not last:
            text = text + text_gate[:, None] * at.to_add_out(merged(joint[:, :, count:]))
            text = fed(block, text, text_feed_gate, text_shift, text_scale, block.norm2_context, block.ff_context)
    return found


def rotated(tokens, places):
    """Pairs of channels turned by angles: 2 of 8 channels stand for nothing, 2 for the row, 4 for the column."""
    angles = [places[:, axis, None] / 10000 ** (torch.arange(0, size, 2) / size) for axis, size in enumerate((2, 2, 4))]
    cos, sin = torch.cat(angles, 1).cos(), torch.cat(angles, 1).sin()
    even, odd = tokens[..., 0::2], tokens[..., 1::2]
    return torch.stack([even * cos - odd * sin, even * sin + odd * cos], -1).flatten(-2)


def flux_image_tokens(network, condition, latents, timestep):
    side = latents.shape[-1] // 2
    packed = latents.reshape(1, 16, side, 2, side, 2).permute(0, 2, 4, 1, 3, 5).reshape(1, side * side, 64)
    image, text = network.x_embedder(packed), network.context_embedder(condition["encoder_hidden_states"])
    count = text.shape[1]
    rows = torch.arange(side).repeat_interleave(side)
    columns = torch.arange(side).repeat(side)
    places = torch.cat([torch.zeros(count, 3), torch.stack([0 * rows, rows, columns], 1)]).double()
    time = network.time_text_embed(
        torch.tensor([timestep]), torch.tensor([1000.0]), condition["pooled_projections"]
    )  # a guidance of 1
    found = {}
    for number, block in enumerate(network.transformer_blocks):
        at = block.attn
        x, gate, shift, scale, feed_gate = block.norm1(image, emb=time)
        y, text_gate, text_shift, text_scale, text_feed_gate = block.norm1_context(text, emb=time)
        query = torch.cat([at.norm_added_q(split(at.add_q_proj(y))), at.norm_q(split(at.to_q(x)))], 2)
        key = torch.cat([at.norm_added_k(split(at.add_k_proj(y))), at.norm_k(split(at.to_k(x)))], 2)
        value = torch.cat([split(at.add_v_proj(y)), split(at.to_v(x))], 2)
        query, key = rotated(query, places), rotated(key, places)
        found[f"transformer_blocks.{number}.attn"] = tuple(t[:, :, count:] for t in (query, key, value))
        joint = attention(query, key, value)
        image = image + gate[:, None] * at.to_out[0](merged(joint[:, :, count:]))
        image = fed(block, image, feed_gate, shift, scale, block.norm2, block.ff)
        text = text + text_gate[:, None] * at.to_add_out(merged(joint[:, :, :count]))
        text = fed(block, text, text_feed_gate, text_shift, text_scale, block.norm2_context, block.ff_context)
    for number, block in enumerate(network.single_transformer_blocks):
        at, whole = block.attn, torch.cat([text, image], 1)
        x, gate = block.norm(whole, emb=time)
        query, key = (rotated(norm(split(to(x))), places) for norm, to in ((at.norm_q, at.to_q), (at.norm_k, at.to_k)))
        value = split(at.to_v(x))
        found[f"single_transformer_blocks.{number}.attn"] = tuple(t[:, :, count:] for t in (query, key, value))
        both = torch.cat([merged(attention(query, key, value)), F.gelu(block.proj_mlp(x), approximate="tanh")], 2)
        whole = whole + gate[:, None] * block.proj_out(both)
        text, image = whole[:, :count], whole[:, count:]
    return found


PLAIN = {"sd3": sd3_image_tokens, "flux": flux_image_tokens}


@pytest.fixture
def exact(folders, family):
    """In float64."""
    loaded = models.load(folders[family], device="cpu", native_size=SIDE_PX)
    torch.nn.Module.to(loaded.transformer, torch.float64)
    return loaded


def test_a_step_of_attention_distillation_is_the_plain_formula(exact, family):
    start, exemplar, timestep, lr = noise().double(), noise(seed=5).double() / 2, 600.0, 0.05
    layers = choose_layers(exact.attention_layers, [1, -2, -1])
    with exact.denoiser() as denoiser:
        ideal = exemplar_key_values(denoiser, [exemplar], timestep, layers)
        moved, losses = distill(denoiser, start, timestep, ideal, Guidance(iterations=1, lr=lr))

    condition = {name: tensor.double() for name, tensor in exact.condition.items()}
    z = start.clone().requires_grad_(True)
    ours = PLAIN[family](exact.transformer, condition, z, timestep)
    theirs = PLAIN[family](exact.transformer, condition, exemplar, timestep)
    loss = sum(
        (attention(*ours[name]) - attention(ours[name][0], *theirs[name][1:]).detach()).abs().mean() for name in layers
    )
    (gradient,) = torch.autograd.grad(loss, z)
    assert losses[0] == pytest.approx(float(loss.detach()), rel=1e-5)
    assert gradient.abs().min() > 1e-7, "every latent pixel is reached"
    expected = start - lr * gradient / (gradient.abs() + 1e-8)
    torch.testing.assert_close(moved, expected, atol=1e-4 * lr, rtol=0)


def test_the_exemplar_itself_has_no_loss(model):
    exemplar = noise(seed=5)
    with model.denoiser() as denoiser:
        ideal = exemplar_key_values(denoiser, [exemplar], 500.0, model.attention_layers)
        own, other = (
            float(ad_loss(denoiser.features(z, 500.0, model.attention_layers), ideal)) for z in (exemplar, noise())
        )
    assert own < 1e-5 < 1e-3 < other


def test_gradients_reach_the_latents_and_no_weight_and_the_network_stays_as_found(model):
    latents = noise(batch=2).requires_grad_(True)
    with model.denoiser() as denoiser:
        features = denoiser.features(latents, 500.0, model.attention_layers[-2:])
        assert list(features) == model.attention_layers[-2:]
        assert all(tensor.shape == (2, 2, 16, 8) for layer in features.values() for tensor in layer)
        sum(layer.output.abs().sum() for layer in features.values()).backward()
    assert latents.grad.abs().min() > 0
    assert all(parameter.grad is None for parameter in model.transformer.parameters())
    assert not any(module._forward_pre_hooks for module in model.transformer.modules())
    assert not model.transformer.gradient_checkpointing


def test_recomputed_blocks_give_the_same_gradient_and_keep_less(model):
    gradients = []
    for recomputed in (False, True):
        latents = noise().requires_grad_(True)
        with model.denoiser(recomputed) as denoiser:
            features = denoiser.features(latents, 500.0, model.attention_layers)
            gradients += torch.autograd.grad(sum(f.output.abs().mean() for f in features.values()), latents)
    torch.testing.assert_close(*gradients)
    assert 0 < tile_bytes(model, Size(16, 16), True) < tile_bytes(model, Size(16, 16)) / 1.3


def test_odd_sides_keep_their_size_and_have_half_as_many_tokens_rounded_up(model):
    with model.denoiser() as denoiser, torch.no_grad():
        assert denoiser(noise(7, 5), 500.0).shape == (1, 16, 7, 5)
        features = denoiser.features(noise(7, 5), 500.0, model.attention_layers[-1:])
    assert features[model.attention_layers[-1]].query.shape[2] == 4 * 3


# Loops


def test_a_flow_is_noised_along_straight_lines_and_ends_in_the_picture(model):
    schedule, latents, other = model.schedule(6), noise(), noise(seed=1)
    assert schedule.timesteps[0] == 1000 and sorted(schedule.timesteps, reverse=True) == list(schedule.timesteps)
    assert len(set(schedule.timesteps)) == 6 and schedule.previous(schedule.timesteps[-1]) == 0
    assert schedule.last(0.5) == schedule.timesteps[3:] and schedule.last(1) == schedule.timesteps
    current = other
    for timestep in schedule.timesteps:
        torch.testing.assert_close(current, schedule.noised(latents, other, timestep))
        current = schedule.step(other - latents, timestep, current)
    torch.testing.assert_close(current, latents)


def test_both_loops_come_closer_to_the_exemplar(model):
    start, exemplar = noise(), noise(seed=5) / 2
    loop = one_tile(model, start, Guidance(iterations=4), steps=2, exemplar=exemplar)
    for step in sample(loop, Progress(latents=start)):
        assert step.losses[-1] < step.losses[0]
    steps = list(optimize(one_tile(model, start, Guidance(), steps=8, exemplar=exemplar), Progress(latents=start)))
    assert steps[-1].losses[0] < 0.9 * steps[0].losses[0]


def test_a_canvas_with_the_noise_of_the_flow_has_the_spectrum_already(model):
    schedule, exemplar = model.schedule(4), noise(160, 160).cumsum(3) / 8
    matcher, timestep = spectrum_matcher([exemplar], schedule), schedule.timesteps[1]
    noisy = schedule.noised(exemplar, noise(160, 160, seed=3), timestep)
    change = float((matcher(noisy, timestep, Wrap()) - noisy).square().mean() / noisy.var())
    assert change < 0.02, f"changed by {change:.3f} of the variance, allowed 0.02"


# On the command line


OPTIONS = ["--size", "144x128", "--seed", "3", "--steps", "2", "--iterations", "1", "--start", "noise", "--native-size", "64"]  # fmt: skip


def test_a_tileable_canvas_of_many_tiles_is_expanded_on_the_command_line(capsys, folders, family, small, tmp_path):
    out = tmp_path / "out.png"
    code, _, stderr = run(capsys, "expand", small, "-o", out, "--model", folders[family], *OPTIONS)
    assert code == 0, stderr
    recipe = json.loads((tmp_path / "out.png.json").read_text())
    assert recipe["model"] == f"tiny-{family}" and recipe["tile"] == [8, 8]
    assert recipe["ad_iterations"] == recipe["tile_steps"] >= 2 * 6
    with Image.open(out) as image:
        assert image.size == (144, 128) and np.asarray(image).std() > 0


def test_materials_are_painted_along_labels_and_a_content_takes_the_texture(folders, small):
    """Masked attention distillation of the image tokens; Algorithm 1 from a content."""
    options = {"seed": 1, "steps": 1, "native_size": SIDE_PX}
    labels, target = np.zeros((64, 64), np.uint8), np.zeros((128, 128), np.uint8)
    labels[:, 32:], target[64:] = 1, 1
    painted = texgen.paint(small, labels=labels, target=target, model=folders["sd3"], **options)
    content = Image.fromarray(np.arange(128 * 128 * 3, dtype=np.uint8).reshape(128, 128, 3))
    moved = texgen.transfer(small, content, model=folders["flux"], **options)
    for result in (painted, moved):
        assert result.pixels.shape == (128, 128, 3) and result.recipe["ad_iterations"] >= 4


class Killed(BaseException):
    """Ends a run at once, like a power cut."""


@pytest.mark.parametrize(("kind", "loop"), [("sd3", "sample"), ("flux", "optimize")])
def test_a_killed_run_resumes_to_the_same_pixels(folders, small, tmp_path, monkeypatch, kind, loop):
    model = models.load(folders[kind], device="cpu", native_size=SIDE_PX)
    options = {"size": (128, 128), "seed": 3, "steps": 2, "loop": loop, "tile_batch": 1, "start": "noise"}
    if loop == "sample":
        options["iterations"] = 1
    offer, seen, unbroken, resumed = Unfinished.offer, [], [], []

    def dying(self, progress, now=False):
        offer(self, progress, now)
        seen.append(progress.index)
        if progress.index == 1 and progress.batches == 2:
            raise Killed

    whole = texgen.expand(small, model=model, callback=unbroken.append, **options)
    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(Unfinished, "offer", dying)
        texgen.expand(small, model=model, checkpoint=tmp_path / "run", checkpoint_minutes=0, **options)
    again = texgen.expand(
        small, model=model, checkpoint=tmp_path / "run", resume=True, callback=resumed.append, **options
    )
    assert (again.pixels[:] == whole.pixels[:]).all() and again.latents.equal(whole.latents)
    assert 0 < len(resumed) < len(unbroken)


# What is refused


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"inject": "beside"}, "inject='beside' is for models with a UNet; leave it out for tiny-"),
        ({"layers": [99]}, "layer 99 is not in this model"),
    ],
)
def test_what_only_a_unet_has_is_refused_before_the_model_runs(model, small, options, message):
    with pytest.raises(OptionError, match=message):
        texgen.expand(small, model=model, size=(128, 128), **options)


def test_what_a_model_is_not_guided_by_is_refused(folders, small, tmp_path):
    flux = models.load(folders["flux"], native_size=SIDE_PX)
    with pytest.raises(OptionError, match="negative_prompt: tiny-flux has distilled guidance"):
        texgen.text(small, "a", 128, model=flux, negative_prompt="b")
    flux.transformer.register_to_config(guidance_embeds=False)
    with pytest.raises(OptionError, match="guidance_scale=3: tiny-flux has no guidance"):
        texgen.text(small, "a", 128, model=flux, guidance_scale=3.0)
    file = models.load(tiny.save_single_file(tmp_path / "model.safetensors"), native_size=SIDE_PX)
    with pytest.raises(ModelError, match="has no text encoders and reads no prompt; give the folder"):
        texgen.text(small, "a", 128, model=file)
    sd3 = models.load(folders["sd3"])
    with pytest.raises(OptionError, match="has 80 tokens, the model reads 75"):
        texgen.text(small, "a " * 80, 128, model=sd3)
    shutil.copytree(folders["sd3"], tmp_path / "sd3")
    shutil.rmtree(tmp_path / "sd3" / "tokenizer_3")
    with pytest.raises(ModelError, match=r"tokenizer_3: cannot be loaded .*; download the model again"):
        texgen.text(small, "a", 128, model=tmp_path / "sd3")


def test_what_the_loader_cannot_give_is_refused(folders, tmp_path):
    with pytest.raises(OptionError, match="prediction_type is for models with a UNet; leave it out for tiny-sd3"):
        models.load(folders["sd3"], prediction_type="v")
    with pytest.raises(OptionError, match="controlnets are for models with a UNet; leave them out for tiny-flux"):
        models.load(folders["flux"], controlnets=["control"])
    with pytest.raises(OptionError, match="native_size=208 must be a multiple of 16 px, at most 192, for tiny-sd3"):
        models.load(folders["sd3"], native_size=208)
    with pytest.raises(OptionError, match="native_size=72 must be a multiple of 16 px, for tiny-flux"):
        models.load(folders["flux"], native_size=72)


@pytest.mark.parametrize(
    ("part", "change", "message"),
    [
        ("model_index.json", {"transformer": ["diffusers", "Other"]}, "transformer class 'Other' is not known; known are SD3"),
        ("scheduler/scheduler_config.json", {"_class_name": "DDIMScheduler"}, "DDIMScheduler is no schedule of this model"),
        ("scheduler/scheduler_config.json", {"num_train_timesteps": "many"}, "scheduler: cannot be loaded"),
        ("transformer/config.json", {"in_channels": 32}, "the transformer takes 32 channels, the autoencoder's latents have 16"),
    ],
)  # fmt: skip
def test_another_kind_of_folder_is_refused(folders, tmp_path, part, change, message):
    shutil.copytree(folders["sd3"], tmp_path / "sd3")
    config = tmp_path / "sd3" / part
    config.write_text(json.dumps({**json.loads(config.read_text()), **change}))
    with pytest.raises(ModelError, match=message):
        models.load(tmp_path / "sd3")


def test_a_single_file_that_lacks_parts_is_refused(tmp_path):
    path = tmp_path / "model.safetensors"
    save_file({"double_blocks.0.img_attn.qkv.weight": torch.zeros(2)}, path)
    with pytest.raises(ModelError, match="a Flux transformer in one file lacks text encoders; give the folder"):
        models.load(path)
    whole = load_file(tiny.save_single_file(path))
    network = {name: tensor for name, tensor in whole.items() if not name.startswith("first_stage_model")}
    save_file(network, path)
    with pytest.raises(ModelError, match="a transformer without its autoencoder; use the whole checkpoint"):
        models.load(path)
    del whole["model.diffusion_model.joint_blocks.0.x_block.mlp.fc1.weight"]
    save_file(whole, path)
    with pytest.raises(ModelError, match="cannot be converted as Stable Diffusion 3"):
        models.load(path)
