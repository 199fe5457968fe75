"""Laws of the tuned decoder: it gives back more of the exemplar, and nothing else changes."""

from __future__ import annotations

import copy
import os
from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import generator
from safetensors.torch import load_file, save_file

import texgen
from texgen.diffusion.decoding import tune
from texgen.diffusion.decoding.tune import PUBLISHED, Recipe, tuned_decoder
from texgen.diffusion.exemplar import Exemplar, encode_exemplar
from texgen.diffusion.tensor_files import CACHED, cache_folder, cached
from texgen.errors import ModelError, TexgenError
from texgen.files import image as images


def encoded(backbone, path, side: int = 128) -> Exemplar:
    return encode_exemplar(backbone, [images.read(path)[..., :side, :side].contiguous()])


def psnr(backbone, exemplar) -> float:
    decoded, image = backbone.decode(exemplar.sources[0].latents), exemplar.images[0]
    return float(-10 * (decoded - image).square().mean().log10())


def state(backbone) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in backbone.autoencoder.state_dict().items()}


def same(first, second) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def tuned(backbone, exemplar, iterations: int = 4, seed: int = 0, **options):
    return tuned_decoder(backbone, exemplar, Recipe(iterations=iterations, **options), generator=generator(seed))


@pytest.fixture(autouse=True)
def small_windows(monkeypatch):
    """Windows of 64 latents and few of them before the first iteration: the laws are the same, the tests fast."""
    monkeypatch.setattr(tune, "SIDE", 8)
    monkeypatch.setattr(tune, "PROBES", 2)


@pytest.fixture(scope="module", params=["mini", "sd"])
def backbone(request):
    """The bundled model, and a tiny one of diffusers' AutoencoderKL."""
    return request.getfixturevalue(request.param)


def test_more_of_the_exemplar_comes_back(mini, swatch):
    exemplar = encoded(mini, swatch)
    before, after = psnr(mini, exemplar), psnr(tuned(mini, exemplar, iterations=40), exemplar)
    assert after > before + 0.1, f"{before:.2f} dB untuned, {after:.2f} dB tuned, allowed {before + 0.1:.2f}"


def test_more_of_the_exemplar_comes_back_from_an_untrained_autoencoder(sd, swatch):
    exemplar = encoded(sd, swatch)
    before, after = psnr(sd, exemplar), psnr(tuned(sd, exemplar, iterations=24, lr=2e-3), exemplar)
    assert after > before + 1, f"{before:.2f} dB untuned, {after:.2f} dB tuned, allowed {before + 1:.2f}"


def test_the_given_model_and_the_copied_encoder_stay_as_they_are(backbone, swatch):
    exemplar, before = encoded(backbone, swatch), state(backbone)
    after = tuned(backbone, exemplar)
    assert same(state(backbone), before)
    assert after.unet is backbone.unet and after.autoencoder is not backbone.autoencoder
    trained = after.decoder_weights().keys()
    kept = [name for name in before if name not in trained]
    assert any("encoder" in name for name in kept) and not any("decoder" in name for name in kept)
    assert all(torch.equal(after.autoencoder.state_dict()[name], before[name]) for name in kept)
    assert not same(after.decoder_weights(), backbone.decoder_weights())


def test_a_tuned_decoder_is_frozen_and_in_evaluation_mode(backbone, swatch):
    for one in (tuned(backbone, encoded(backbone, swatch), iterations=1), backbone):
        assert not any(parameter.requires_grad for parameter in one.autoencoder.parameters())
        assert not any(module.training for module in one.autoencoder.modules())


def test_a_decoder_that_gives_no_numbers_is_an_error(sd, swatch):
    with pytest.raises(TexgenError, match="gave NaN or Inf while it was tuned, at step 2"):
        tuned(sd, encoded(sd, swatch), iterations=3, lr=1e30)


def test_tuning_is_seeded(backbone, swatch):
    exemplar = encoded(backbone, swatch)
    first, again, other = (tuned(backbone, exemplar, seed=seed).decoder_weights() for seed in (1, 1, 2))
    assert same(first, again) and not same(first, other)


def test_saved_weights_decode_like_the_tuned_decoder(backbone, swatch, tmp_path):
    exemplar = encoded(backbone, swatch)
    after, before = tuned(backbone, exemplar), state(backbone)
    save_file(after.decoder_weights(), tmp_path / "decoder.safetensors")
    restored = backbone.with_decoder(load_file(tmp_path / "decoder.safetensors"))
    latents = exemplar.sources[-1].latents
    assert torch.equal(restored.decode(latents), after.decode(latents))
    assert not torch.equal(backbone.decode(latents), after.decode(latents))
    assert same(state(backbone), before)


def test_without_iterations_nothing_changes(backbone, swatch):
    exemplar = encoded(backbone, swatch)
    latents = exemplar.sources[0].latents
    assert torch.equal(tuned(backbone, exemplar, iterations=0).decode(latents), backbone.decode(latents))


def test_weights_of_another_autoencoder_are_refused(mini, sd):
    with pytest.raises(ModelError, match=r"of the decoder's tensors do not fit .*; tune it anew"):
        mini.with_decoder(sd.decoder_weights())
    weights = mini.decoder_weights()
    name = next(iter(weights))
    with pytest.raises(ModelError, match=rf"1 of the decoder's tensors do not fit mini: {name} is \(1, 1\), the model"):
        mini.with_decoder({**weights, name: torch.zeros(1, 1)})


@pytest.mark.parametrize("sides", [(64, 64), (64, 300), (72, 65), (200, 56)])
def test_any_exemplar_gives_windows(mini, sides):
    exemplar = encode_exemplar(mini, [torch.rand(1, 3, *(side - side % 8 for side in sides), generator=generator())])
    assert all(tensor.isfinite().all() for tensor in tuned(mini, exemplar, iterations=3).decoder_weights().values())


def test_several_exemplars_of_different_sizes_and_a_flat_one(mini):
    swatches = [torch.rand(1, 3, 64, 96, generator=generator()), torch.full((1, 3, 64, 64), 0.5)]
    for exemplar in (encode_exemplar(mini, swatches), encode_exemplar(mini, swatches[1:])):
        assert all(tensor.isfinite().all() for tensor in tuned(mini, exemplar, iterations=3).decoder_weights().values())


def test_windows_stand_for_the_pixels_they_were_encoded_from(mini, monkeypatch):
    """Encoded again, the pixels give the latents, away from the window's border."""
    monkeypatch.setattr(tune, "SIDE", 16)
    image = torch.rand(1, 3, 256, 320, generator=generator())
    exemplar = encode_exemplar(mini, [image, image.flip(-1)[..., :200, :]])
    for seed in range(6):
        latents, pixels, _ = tune._windows(exemplar, generator(seed))
        again = torch.cat([mini.encode(one) for one in pixels.split(1)])
        inner = (..., slice(5, -5), slice(5, -5))
        difference = float((again[inner] - latents[inner]).abs().max())
        assert difference < 1e-4, f"latents differ by {difference:.1e} inside, allowed 1e-4"


def test_a_large_exemplar_costs_no_more_than_a_small_one(mini):
    small = encode_exemplar(mini, [torch.rand(1, 3, 256, 256, generator=generator())])
    source = small.sources[0]._replace(latents=torch.zeros(1, 16, 256, 256))
    large = replace(small, images=(torch.zeros(1, 3, 2048, 2048),), sources=(source,))
    areas = [tune._windows(exemplar, generator())[0][:, 0].numel() for exemplar in (small, large)]
    assert areas == [tune.SIDE * tune.SIDE] * 2


# --- as published


def test_norms_of_the_whole_picture_learn_from_the_whole_picture(sd, swatch):
    image = images.read(swatch)[..., :64, :128].contiguous()
    seen, unseen = (encode_exemplar(sd, [image[..., side : side + 64].contiguous()]) for side in (0, 64))
    windows, wholes = (
        tuned_decoder(sd, seen, replace(recipe, iterations=24, lr=1e-3), generator=generator())
        for recipe in (Recipe(), PUBLISHED)
    )
    gained = [psnr(each, unseen) - psnr(sd, unseen) for each in (windows, wholes)]
    assert gained[1] > gained[0] + 1, f"{gained[0]:.1f} dB by windows, {gained[1]:.1f} by the whole, allowed one more"


def test_the_published_recipe_is_its_formula_on_the_whole_swatch(sd, swatch):
    """L1 to all pixels by torch's Adam at a constant rate, written over the decoder itself."""
    exemplar = encoded(sd, swatch, 64)
    vae, image = copy.deepcopy(sd.autoencoder), exemplar.images[0] * 2 - 1
    parameters = [*vae.decoder.parameters(), *vae.post_quant_conv.parameters()]
    adam = torch.optim.Adam([each.requires_grad_(True) for each in parameters], lr=1e-4)
    with torch.no_grad():
        latents = vae.encode(image).latent_dist.mean
    for _ in range(3):
        adam.zero_grad()
        (vae.decode(latents).sample - image).abs().mean().backward()
        adam.step()
    found = tuned_decoder(sd, exemplar, replace(PUBLISHED, iterations=3), generator=generator()).autoencoder
    with torch.no_grad():
        off = float((found.decode(latents).sample - vae.decode(latents).sample).abs().max())
        moved = float((found.decode(latents).sample - sd.autoencoder.decode(latents).sample).abs().max())
    assert off < 1e-2 * moved, f"{off:.1e} off, moved by {moved:.1e}, allowed a hundredth of it"
    assert (PUBLISHED.iterations, PUBLISHED.lr, PUBLISHED.whole) == (75, 1e-4, True)


def test_who_looks_at_the_whole_picture_and_the_published_preset_are_tuned_as_published(sd, mini, small, monkeypatch):
    recipes = []
    monkeypatch.setattr(
        "texgen.diffusion.run.tuned_decoder", lambda model, _, recipe, **__: recipes.append(recipe) or model
    )
    for model, preset in ((mini, "draft"), (mini, "published"), (sd, "draft")):
        texgen.expand(
            small,
            128,
            model=model,
            preset=preset,
            iterations=0,
            steps=1,
            start="noise",
            tileable="none",
            exemplar_size=64,
            tune_decoder=75,
        )
    assert recipes == [Recipe(iterations=75), PUBLISHED, PUBLISHED]


# --- kept between runs


def test_a_tuned_decoder_is_kept_by_what_it_depends_on_and_the_result_is_the_same(mini, small, tmp_path, monkeypatch):
    options = {"model": mini, "preset": "draft", "detail": "none", "tune_decoder": 2, "size": 128}
    fresh = np.asarray(texgen.expand(small, seed=1, **options).image)
    monkeypatch.setenv("TEXGEN_CACHE", str(tmp_path / "cache"))
    first = np.asarray(texgen.expand(small, seed=1, **options).image)
    assert len(list((tmp_path / "cache").iterdir())) == 1
    monkeypatch.setattr("texgen.diffusion.run.tuned_decoder", None)  # not called again
    again = np.asarray(texgen.expand(small, seed=1, **options).image)
    texgen.expand(small, seed=2, **options)
    assert np.array_equal(first, again) and np.array_equal(first, fresh)
    with pytest.raises(TypeError, match="'NoneType' object is not callable"):
        texgen.expand(small, seed=1, **{**options, "tune_decoder": 3})


def test_the_cache_keeps_the_newest_and_makes_anew_what_is_broken(tmp_path, monkeypatch):
    monkeypatch.setenv("TEXGEN_CACHE", str(tmp_path))
    for number in range(CACHED + 3):
        cached([number], lambda: {"a": torch.ones(1)})
        for age, path in enumerate(sorted(tmp_path.iterdir(), key=lambda p: -p.stat().st_mtime)):
            os.utime(path, (1e9 - age, 1e9 - age))
    assert len(list(tmp_path.iterdir())) == CACHED
    kept = [cached([number], lambda: {"a": torch.zeros(1)})["a"].item() for number in (CACHED + 2, 3, 2)]
    assert kept == [1, 1, 0], "the newest are kept, the oldest made anew"
    for path in tmp_path.iterdir():
        path.write_bytes(b"broken")
    assert cached([CACHED + 2], lambda: {"a": torch.zeros(1)})["a"].item() == 0


def test_a_cache_that_cannot_be_written_is_none(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("TEXGEN_CACHE", str(tmp_path / "file" / "cache"))
    assert cached(["x"], lambda: {"a": torch.ones(1)})["a"].item() == 1
    monkeypatch.delenv("TEXGEN_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "texgen"
