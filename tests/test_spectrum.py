"""Laws of spectrum matching and of tuning to an exemplar."""

from __future__ import annotations

import torch
from conftest import generator
from torch import Tensor

import texgen
from texgen.diffusion.sampling.loop import normal
from texgen.diffusion.sampling.spectrum import BLOCK, cross_spectrum, spectrum_matcher, transport
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
    matcher = spectrum_matcher([exemplar], mini.schedule(50))
    assert matcher is not None
    matched = matcher(canvas, 0, TORUS)
    before, after = error(canvas, exemplar), error(matched, exemplar)
    assert after < 0.3 * before, f"{after:.2f} of before {before:.2f}, allowed 0.3"
    torch.testing.assert_close(matched.mean((2, 3)), exemplar.mean((2, 3)), atol=0.02, rtol=0)


def test_a_canvas_that_has_the_spectrum_stays_nearly_as_it_is(mini):
    exemplar = field(0, side=256)
    matcher = spectrum_matcher([exemplar], mini.schedule(50))
    assert matcher is not None
    change = float((matcher(exemplar, 0, TORUS) - exemplar).square().mean() / exemplar.var())
    assert change < 0.02, f"changed by {change:.3f} of the variance, allowed 0.02"


def test_the_noise_of_a_timestep_is_counted(mini):
    exemplar = field(0, side=256)
    matcher = spectrum_matcher([exemplar], mini.schedule(50))
    assert matcher is not None
    noisy = mini.schedule(50).noised(exemplar, normal(exemplar.shape, generator(3)), 400)
    change = float((matcher(noisy, 400, TORUS) - noisy).square().mean() / noisy.var())
    assert change < 0.02, f"changed by {change:.3f} of the variance, allowed 0.02"


def test_rolling_a_torus_rolls_the_result(mini):
    matcher = spectrum_matcher([field(0)], mini.schedule(50))
    canvas = field(5)
    assert matcher is not None
    shift = (BLOCK // 2, 3 * BLOCK)
    torch.testing.assert_close(
        matcher(canvas.roll(shift, (2, 3)), 0, TORUS), matcher(canvas, 0, TORUS).roll(shift, (2, 3)), atol=1e-4, rtol=1e-4
    )  # fmt: skip


def test_fields_too_small_for_a_spectrum_are_left_alone(mini):
    assert spectrum_matcher([field(0, side=16)], mini.schedule(50)) is None
    matcher = spectrum_matcher([field(0)], mini.schedule(50))
    small = field(1, side=16)
    assert matcher is not None and torch.equal(matcher(small, 0, Wrap()), small)


def test_the_recipe_says_what_was_matched(mini, small):
    options = {"strength": 0.1, "steps": 20, "iterations": 0, "match_spectrum": True, "seed": 1}
    first, second = (texgen.expand(small, 128, model=mini, **options) for _ in range(2))
    assert first.recipe["match_spectrum"] is True
    assert first.image.tobytes() == second.image.tobytes()
