"""Capture, injection, order of execution, and the losses on them."""

from __future__ import annotations

import pytest
import tiny
import torch
from conftest import generator

from texgen.diffusion.attention import KeyValue, LayerFeatures
from texgen.diffusion.guidance.distill import ad_loss, content_loss
from texgen.diffusion.guidance.exemplar_keys import choose_layers, exemplar_key_values
from texgen.diffusion.models.networks.unet import self_attention_layers
from texgen.errors import OptionError


def latents(backbone, side=16, batch=1, seed=0):
    return torch.randn(batch, backbone.latent_channels, side, side, generator=generator(seed))


def test_layers_come_in_order_of_execution_with_the_middle_before_the_up_blocks(sd):
    unet = tiny.unet(widths=tiny.SLIM, layers=tiny.PUBLISHED)
    order = self_attention_layers(unet, sd.condition)
    assert len(order) == 16
    middle = next(i for i, name in enumerate(order) if "mid_block" in name)
    assert all("down_blocks" in name for name in order[:middle])
    assert all("up_blocks" in name for name in order[middle + 1 :])
    registry = [n for n in unet.attn_processors if "attn1" in n]
    assert "mid_block" in registry[-1], "the registry's own order has the middle last: the trap this test is about"
    assert choose_layers(order) == order[10:16]


def test_the_tapped_unet_predicts_what_the_plain_one_does(sd):
    z = latents(sd, batch=2)
    with torch.no_grad():
        plain = sd.unet(z, 400, encoder_hidden_states=sd.condition["encoder_hidden_states"].expand(2, -1, -1)).sample
        with sd.denoiser() as tap:
            torch.testing.assert_close(tap(z, 400), plain, atol=1e-5, rtol=1e-5)


def test_processors_come_back_also_after_an_exception(sd):
    before = dict(sd.unet.attn_processors)
    with pytest.raises(ZeroDivisionError), sd.denoiser():
        assert sd.unet.attn_processors != before
        raise ZeroDivisionError
    assert sd.unet.attn_processors == before


def test_captured_output_is_attention_of_captured_query_key_and_value(sd):
    layers = choose_layers(sd.attention_layers)
    with sd.denoiser() as tap, torch.no_grad():
        features = tap.features(latents(sd), 100, layers)
    assert list(features) == layers
    for query, key, value, output in features.values():
        scores = query.double() @ key.double().transpose(-1, -2) / query.shape[-1] ** 0.5
        torch.testing.assert_close((scores.softmax(-1) @ value.double()).float(), output, atol=1e-5, rtol=1e-4)


def test_nothing_after_the_last_wanted_layer_is_computed(sd):
    called = []
    hook = sd.unet.conv_out.register_forward_hook(lambda *_: called.append(1))
    try:
        with sd.denoiser() as tap, torch.no_grad():
            tap.features(latents(sd), 100, choose_layers(sd.attention_layers))
            assert not called
            tap(latents(sd), 100)
            assert called
    finally:
        hook.remove()


def test_injecting_a_tiles_own_keys_in_place_changes_nothing_and_others_do(sd):
    z = latents(sd)
    with sd.denoiser() as tap, torch.no_grad():
        plain = tap(z, 300)
        own = exemplar_key_values(tap, [z], 300, sd.attention_layers)
        with tap.injecting(own, "replace"):
            torch.testing.assert_close(tap(z, 300), plain, atol=1e-5, rtol=1e-4)
        other = exemplar_key_values(tap, [latents(sd, seed=5)], 300, sd.attention_layers)
        for mode in ("replace", "beside"):
            with tap.injecting(other, mode):
                assert (tap(z, 300) - plain).abs().max() > 1e-4
        torch.testing.assert_close(tap(z, 300), plain)


def test_keys_of_several_exemplars_are_concatenated_along_the_tokens(sd):
    layers = choose_layers(sd.attention_layers)
    with sd.denoiser() as tap:
        one, two = latents(sd, 16), latents(sd, 24, seed=1)
        both = exemplar_key_values(tap, [one, two], 10, layers)
        alone = exemplar_key_values(tap, [two], 10, layers)
    last = layers[-1]
    assert both[last][0].key.shape[2] == 256 + 576
    torch.testing.assert_close(both[last][0].value[:, :, 256:], alone[last][0].value)
    assert not both[last][0].key.requires_grad


def test_tiles_need_not_be_square(sd):
    z = torch.randn(1, 4, 16, 40, generator=generator())
    with sd.denoiser() as tap, torch.no_grad():
        features = tap.features(z, 10, choose_layers(sd.attention_layers))
    assert list(features.values())[-1].query.shape[2] == 16 * 40


def random_features(batch=3, seed=0):
    g = generator(seed)
    shapes = {"a": (2, 5, 4), "b": (1, 9, 6)}
    return {n: LayerFeatures(*(torch.randn(batch, *s, generator=g) for _ in range(4))) for n, s in shapes.items()}


@pytest.mark.parametrize("scale", [1.0, 1.7])
def test_the_ad_loss_equals_the_formula_in_float64(scale):
    features, g = random_features(), generator(9)
    exemplar = {
        n: (KeyValue(*(torch.randn(1, f.query.shape[1], 11, f.query.shape[3], generator=g) for _ in range(2))),)
        for n, f in features.items()
    }
    expected = 0.0
    for name, layer in features.items():
        key, value = (tensor.double() for tensor in exemplar[name][0][:2])
        scores = scale * layer.query.double() @ key.transpose(-1, -2) / layer.query.shape[-1] ** 0.5
        difference = (layer.output.double() - scores.softmax(-1) @ value).abs()
        expected += sum(float(difference[tile].mean()) for tile in range(3))
    assert float(ad_loss(features, exemplar, scale)) == pytest.approx(expected, rel=1e-5)


def test_the_loss_of_a_batch_is_the_sum_over_its_tiles():
    features, g = random_features(), generator(9)
    exemplar = {
        n: (KeyValue(*(torch.randn(1, f.query.shape[1], 7, f.query.shape[3], generator=g) for _ in range(2))),)
        for n, f in features.items()
    }
    singles = [
        ad_loss({n: LayerFeatures(*(x[i : i + 1] for x in f)) for n, f in features.items()}, exemplar) for i in range(3)
    ]
    torch.testing.assert_close(ad_loss(features, exemplar), torch.stack(singles).sum())


def test_the_content_loss_equals_the_formula_in_float64():
    features, content = random_features(), random_features(seed=4)
    expected = sum(
        float((features[n].query.double() - content[n].query.double()).abs().mean((1, 2, 3)).sum()) for n in features
    )
    assert float(content_loss(features, content)) == pytest.approx(expected, rel=1e-5)
    assert float(content_loss(features, features)) == 0


def test_the_ad_loss_reaches_the_latents_and_only_them(sd):
    layers = choose_layers(sd.attention_layers)
    z = latents(sd).requires_grad_(True)
    with sd.denoiser() as tap:
        exemplar = exemplar_key_values(tap, [latents(sd, seed=3)], 50, layers)
        ad_loss(tap.features(z, 50, layers), exemplar).backward()
    assert z.grad.abs().max() > 0
    assert all(parameter.grad is None for parameter in sd.unet.parameters())


def test_layers_are_chosen_by_index_or_name_and_unknown_ones_refused(sd):
    order = sd.attention_layers
    assert choose_layers(order, [-1, 0, order[3]]) == [order[0], order[3], order[9]]
    with pytest.raises(OptionError, match="layer 10 is not in this model; it has 10"):
        choose_layers(order, [10])
    with pytest.raises(OptionError, match="layer 'nope' is not"):
        choose_layers(order, ["nope"])
    with pytest.raises(OptionError, match="no layer is chosen"):
        choose_layers(order, [])
