"""Tests of `likeness.py` on a copy, a shuffle, a blur and half a swatch."""

from __future__ import annotations

import math

import likeness as judge
import metrics
import pytest
import torch
import torch.nn.functional as F
from likeness import coherence, likeness
from torch import Tensor

SIDE = 128


@pytest.fixture(autouse=True)
def few(monkeypatch):
    monkeypatch.setattr(judge, "QUERIES", 200)
    monkeypatch.setattr(judge, "PATCH", 9)


def swatch() -> Tensor:
    """Blobs of two sizes."""
    generator = torch.Generator().manual_seed(0)
    large, small = (torch.rand(1, 3, side, side, generator=generator) for side in (SIDE // 8, SIDE // 2))
    return sum(F.interpolate(values, SIDE, mode="bicubic") for values in (large, small)).div(2).clamp(0, 1)


def test_a_copy_is_coherent_complete_and_copied():
    found = likeness(swatch(), swatch())
    assert found == pytest.approx((0, 0, 0, 1), abs=1e-3)


def test_a_roll_is_a_copy_but_for_its_seam():
    found = likeness(swatch().roll((20, 30), (2, 3)), swatch())
    assert found.copied > 0.3 and found.coherence_99 > 0.2 and found.completeness_95 > 0.05


def test_a_swatch_that_tiles_by_itself_has_the_patches_across_its_border():
    mirrored = torch.cat([swatch(), swatch().flip(2)], 2)
    mirrored = torch.cat([mirrored, mirrored.flip(3)], 3)
    found = likeness(mirrored.roll((52, 72), (2, 3)), mirrored)
    assert (found.coherence_99, found.copied) == pytest.approx((0, 1), abs=1e-3)


def test_shuffled_pixels_are_neither():
    order = torch.randperm(SIDE * SIDE, generator=torch.Generator().manual_seed(1))
    shuffled = swatch().flatten(2)[..., order].view(1, 3, SIDE, SIDE)
    found = likeness(shuffled, swatch())
    assert found.coherence_95 > 0.6 and found.completeness_95 > 0.6 and found.copied == 0


def test_a_blur_is_less_coherent_the_more_it_blurs():
    blurred = [F.avg_pool2d(F.pad(swatch(), [side // 2] * 4, mode="replicate"), side, 1) for side in (3, 9)]
    slightly, strongly = (likeness(image, swatch()) for image in blurred)
    assert 0 < slightly.coherence_95 < strongly.coherence_95
    assert strongly.copied == 0


def test_half_a_swatch_is_coherent_and_incomplete():
    half = swatch()[..., : SIDE // 2].repeat(1, 1, 1, 2)
    found = likeness(half, swatch())
    assert found.completeness_95 > 0.3
    assert likeness(half[..., : SIDE // 2], swatch()).coherence_99 == pytest.approx(0, abs=1e-3)


def test_a_part_is_measured_alone():
    area = torch.zeros(SIDE, SIDE, dtype=torch.bool)
    area[: SIDE // 2 + 4] = True
    other = torch.where(area, swatch(), swatch().flip(1))
    assert coherence(other, swatch(), area) == pytest.approx(0, abs=1e-3)
    assert coherence(other, swatch(), ~area) > 0.3
    assert math.isnan(coherence(other, swatch(), area & ~area)), "nothing to measure"


def test_all_measures_of_a_copy_are_those_of_a_copy():
    image = swatch()
    found = metrics.measure(image, image, tileable=False)
    assert math.isnan(found["wrap"]), "nothing to close"
    for name, value in {"coherence_99": 0, "completeness_95": 0, "copied": 1, "patch": 0, "colour": 0}.items():
        assert found[name] == pytest.approx(value, abs=1e-3), name
    assert found["saturation"] == found["sharpness"] == pytest.approx(1)
    assert found["repeat"] == found["repeat_own"] and found["worst"] == found["worst_own"]
