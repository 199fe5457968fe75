"""Tests of `metrics.py` on constructed pictures with known answers."""

from __future__ import annotations

import math

import metrics
import pytest
import torch
from torch import Tensor


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fewer patches than a benchmark takes."""
    monkeypatch.setattr(metrics, "SAMPLES", 1024)


def noise(height: int = 256, width: int = 256, seed: int = 0) -> Tensor:
    return torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(seed)) * 0.8


def picture(values: Tensor) -> Tensor:
    """A grey picture of values (H, W)."""
    return values.float().expand(1, 3, *values.shape)


def zigzag(length: int, jump: float) -> Tensor:
    """A periodic ramp, eight pixels up and eight down, in steps of 1, but of 1 + `jump` onto every eighth pixel."""
    at = torch.arange(length)
    steps = torch.where((at - 1) % 16 < 8, 1.0, -1.0) * torch.where(at % 8 == 0, 1 + jump, 1.0)
    return steps.cumsum(0)


def test_equal_pictures_are_at_no_distance_and_brighter_ones_at_that_of_their_patches() -> None:
    image = noise()
    assert metrics.patch_distance(image, image) == metrics.colour_distance(image, image) == 0
    assert metrics.colour_distance(image, image + 0.1) == pytest.approx(25.5, rel=1e-3)
    expected = 0.1 * math.sqrt(2 / math.pi)  # of a constant, seen along a random direction
    assert metrics.patch_distance(image, image + 0.1) == pytest.approx(expected, rel=0.15)


def test_a_picture_of_equal_halves_is_like_itself() -> None:
    part = noise(64, 64)
    assert metrics.own_distance(part.repeat(1, 1, 2, 2)) == pytest.approx(0, abs=1e-6)
    assert metrics.own_distance(torch.cat([part, part + 0.2], 3)) > 0.05


def test_saturation_and_sharpness_of_plain_pictures() -> None:
    red = torch.tensor([1.0, 0, 0]).view(1, 3, 1, 1).expand(1, 3, 8, 8)
    assert (metrics.saturation(red), metrics.saturation(picture(torch.ones(8, 8)))) == (1, 0)
    board = picture(torch.arange(8)[:, None] + torch.arange(8) & 1)
    assert (metrics.sharpness(board), metrics.sharpness(red)) == (2, 0)


def test_a_border_that_does_not_close_is_the_worst_line() -> None:
    places = torch.arange(128)
    assert metrics.line_percentile(picture(places.expand(128, 128))) == 100
    crest = (2 * math.pi * (places - 0.5) / 128).cos()
    assert metrics.line_percentile(picture(crest + crest[:, None])) < 5


def test_lines_at_a_period_are_found_by_it_alone() -> None:
    stepped = picture(zigzag(128, 3).expand(128, 128))
    assert metrics.line_percentile(stepped, 8) > 85
    assert metrics.line_percentile(stepped.roll(1, 3), 8) < 1


def test_a_grid_shows_as_the_ratio_of_its_steps() -> None:
    for jump in (0.0, 0.5, 3.0):
        lines = zigzag(128, jump)
        assert metrics.grid_ratio(picture(lines + lines[:, None])) == pytest.approx(1 + jump, rel=1e-4)


@pytest.mark.parametrize("axis", [1, 2])
def test_a_seam_shows_as_the_ratio_of_its_step(axis: int) -> None:
    """A picture of two parts from different places: a slope of one level per pixel with a step of four levels."""
    y, x = torch.meshgrid(torch.arange(64), torch.arange(96), indexing="ij")
    second = (y, x)[axis - 1] >= 32
    coordinates = torch.stack([0 * y, y, x + 100 * second])[:, ::8, ::8]
    assert metrics.seam_ratio(picture(x + y + 4 * second), coordinates) == pytest.approx(5)
    assert metrics.seam_ratio(picture(x + y), coordinates) == pytest.approx(1)


@pytest.mark.parametrize("wrapped", [True, False])
def test_what_is_repeated_peaks_and_noise_does_not(wrapped: bool) -> None:
    repeated = noise(64, 64).repeat(1, 1, 4, 4)
    assert metrics.repetition_peak(repeated, wrapped) > 0.95
    assert metrics.repetition_peak(noise(), wrapped) < 0.1
    mixed = (repeated + noise(seed=1)) / 2
    assert metrics.repetition_peak(mixed, wrapped) == pytest.approx(0.5, abs=0.1), "half of its power is repeated"


def test_a_window_unlike_the_others_stands_out() -> None:
    image, exemplar = noise(384, 384), noise(seed=1)
    assert metrics.worst_window(image, exemplar) < 2
    image[..., 128:256, 128:256] = 0.4
    assert metrics.worst_window(image, exemplar) > 3


def test_a_layout_agrees_with_itself_and_not_with_its_negative() -> None:
    plan = noise(256, 256)
    assert metrics.layout_agreement(plan, plan) == pytest.approx(1)
    assert metrics.layout_agreement(1 - plan, plan) == pytest.approx(-1)
