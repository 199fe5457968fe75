"""Laws of spectrum matching and of tuning to an exemplar."""

from __future__ import annotations

import torch
from conftest import generator
from torch import Tensor

import texgen
from texgen.adapt import adapted
from texgen.attention import tapped
from texgen.exemplar import Exemplar, Source, contrast, encode_exemplar
from texgen.image import read
from texgen.pairs import pair_errors
from texgen.sample import noised, normal
from texgen.spectrum import BLOCK, cross_spectrum, spectrum_matcher, transport
from tiling import Wrap

TORUS = Wrap(True, True)


def field(seed: int, channels: int = 3, side: int = 96) -> Tensor:
    """A smooth random field whose channels are correlated, on a torus."""
    noise = normal((1, channels, side, side), generator(seed))
    smooth = torch.nn.functional.conv2d(
        torch.nn.functional.pad(noise, (2, 2, 2, 2), mode="circular"),
        torch.ones(channels, 1, 5, 5) / 8,
        groups=channels,
    )
    mixed = torch.tensor([[1.0, 0.6, 0.1], [0.0, 0.5, 0.3], [0.0, 0.0, 0.2]]) @ smooth[0].flatten(1)
    return mixed.view(1, channels, side, side) + 0.05 * normal((1, channels, side, side), generator(seed + 1)) + 0.3


def error(first: Tensor, second: Tensor) -> float:
    a, b = cross_spectrum([first], TORUS), cross_spectrum([second], TORUS)
    assert a is not None and b is not None
    return float((a - b).abs().sum() / b.abs().sum())


def test_white_noise_has_the_identity_as_its_spectrum():
    spectrum = cross_spectrum([normal((1, 3, 512, 512), generator())], TORUS)
    assert spectrum is not None and spectrum.shape == (BLOCK, BLOCK, 3, 3)
    torch.testing.assert_close(spectrum.real, torch.eye(3).expand(BLOCK, BLOCK, 3, 3), atol=0.12, rtol=0)


def test_the_transport_turns_one_covariance_into_the_other():
    def covariance(seed: int) -> Tensor:
        root = torch.complex(*normal((2, 5, 5, 4, 4), generator(seed)))
        return root @ root.mH + torch.eye(4)

    have, want = covariance(0), covariance(1)
    moved = transport(have, want)
    torch.testing.assert_close(moved @ have.to(moved.dtype) @ moved.mH, want.to(moved.dtype), atol=0.03, rtol=0.03)
    torch.testing.assert_close(moved, moved.mH, atol=1e-6, rtol=1e-6)


def test_a_canvas_takes_on_the_exemplars_spectrum_and_mean(mini):
    exemplar, canvas = field(0), field(5)
    canvas = canvas + 0.4 * normal(canvas.shape, generator(9)) - 1.0
    matcher = spectrum_matcher([exemplar], mini.scheduler)
    assert matcher is not None
    matched = matcher(canvas, 0, TORUS)
    before, after = error(canvas, exemplar), error(matched, exemplar)
    assert after < 0.3 * before, f"{after:.2f} of before {before:.2f}, allowed 0.3"
    torch.testing.assert_close(matched.mean((2, 3)), exemplar.mean((2, 3)), atol=0.02, rtol=0)


def test_a_canvas_that_has_the_spectrum_stays_nearly_as_it_is(mini):
    exemplar = field(0, side=256)
    matcher = spectrum_matcher([exemplar], mini.scheduler)
    assert matcher is not None
    change = float((matcher(exemplar, 0, TORUS) - exemplar).square().mean() / exemplar.var())
    assert change < 0.02, f"changed by {change:.3f} of the variance, allowed 0.02"


def test_the_noise_of_a_timestep_is_counted(mini):
    exemplar = field(0, side=256)
    matcher = spectrum_matcher([exemplar], mini.scheduler)
    assert matcher is not None
    noisy = noised(mini.scheduler, exemplar, normal(exemplar.shape, generator(3)), 400)
    change = float((matcher(noisy, 400, TORUS) - noisy).square().mean() / noisy.var())
    assert change < 0.02, f"changed by {change:.3f} of the variance, allowed 0.02"


def test_rolling_a_torus_rolls_the_result(mini):
    matcher = spectrum_matcher([field(0)], mini.scheduler)
    canvas = field(5)
    assert matcher is not None
    shift = (BLOCK // 2, 3 * BLOCK)
    torch.testing.assert_close(
        matcher(canvas.roll(shift, (2, 3)), 0, TORUS), matcher(canvas, 0, TORUS).roll(shift, (2, 3)), atol=1e-4, rtol=1e-4
    )  # fmt: skip


def test_fields_too_small_for_a_spectrum_are_left_alone(mini):
    assert spectrum_matcher([field(0, side=16)], mini.scheduler) is None
    matcher = spectrum_matcher([field(0)], mini.scheduler)
    small = field(1, side=16)
    assert matcher is not None and torch.equal(matcher(small, 0, Wrap()), small)


def test_adapting_lowers_the_error_on_the_exemplar_and_leaves_the_model_alone(mini, stationary):
    exemplar = encode_exemplar(mini, [read(stationary)[..., :256, :256]])
    before = {name: value.clone() for name, value in mini.unet.state_dict().items()}
    tuned = adapted(mini, exemplar, steps=12, below=150, generator=generator())

    def mean_error(backbone: texgen.Backbone) -> float:
        latents = exemplar.sources[0].latents
        pair = torch.cat([latents[..., :16, :16], latents[..., 16:, 16:]])
        timesteps = torch.tensor([80])
        with torch.no_grad(), tapped(backbone.unet, backbone.condition) as tap:
            return sum(
                float(pair_errors(tap, mini.scheduler, pair, timesteps, "beside", generator(i))[0]) for i in range(8)
            )

    after, before_tuning = mean_error(tuned), mean_error(mini)
    assert after < 0.99 * before_tuning, f"{after:.3f} of {before_tuning:.3f}, allowed 0.99"
    assert all(torch.equal(value, before[name]) for name, value in mini.unet.state_dict().items())


def test_the_recipe_says_what_was_adapted_and_matched(mini, small):
    options = {"strength": 0.1, "steps": 20, "iterations": 0, "adapt": 2, "match_spectrum": True, "seed": 1}
    first, second = (texgen.expand(small, 128, model=mini, **options) for _ in range(2))
    assert first.recipe["adapt"] == 2 and first.recipe["match_spectrum"] is True
    assert first.image.tobytes() == second.image.tobytes()


def test_a_calm_exemplar_is_raised_to_unit_power_and_lowered_again(mini, stationary):
    calm = 0.5 + (read(stationary)[..., :256, :256] - 0.5) * 0.1
    exemplar = encode_exemplar(mini, [calm])
    level = contrast(exemplar)
    assert level.gain > 2
    raised = exemplar.raised(level)
    power = torch.cat([s.latents.flatten() for s in raised.sources]).var()
    assert 0.5 < float(power) < 2
    torch.testing.assert_close(level.lowered(raised.crops[0]), exemplar.crops[0], atol=1e-5, rtol=1e-4)


def test_a_lively_exemplar_keeps_its_contrast():
    lively = Source(3 * normal((1, 4, 16, 16), generator()), 0, 0, 0)
    assert contrast(Exemplar(images=(), sources=(lively,), crops=(), numbers=(), factor=8)).gain == 1.0
