"""Tests of `regions.py` on pictures with known regions."""

from __future__ import annotations

import math
from pathlib import Path

import metrics
import pytest
import regions
import torch
from torch import Tensor

from texgen.files import image as images
from tiling import Size

SWATCHES = Path(__file__).parent.parent / "examples" / "swatches"
SIZE = Size(256, 256)


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fewer patches than a benchmark takes."""
    monkeypatch.setattr(metrics, "SAMPLES", 1024)


def swatch(name: str) -> Tensor:
    """A square of a swatch, 384 px wide at most."""
    return images.read(next(SWATCHES.glob(f"{name}.*")))[..., :384, :384]


def learnt(exemplar: Tensor) -> Tensor:
    """The half that the measures may see."""
    return exemplar[..., : exemplar.shape[-1] // 2]


def shown(exemplar: Tensor, size: Size = SIZE) -> Tensor:
    """The other half, mirrored until it fills a canvas."""
    half = exemplar[..., exemplar.shape[-1] // 2 :]
    half = torch.cat([half, half.flip(-1)], -1)
    half = torch.cat([half, half.flip(-2)], -2)
    return half.repeat(1, 1, *(-(-want // got) for want, got in zip(size, half.shape[-2:], strict=True)))[
        ..., : size.height, : size.width
    ]


def pasted(exemplars: list[Tensor], labels: Tensor) -> Tensor:
    """A picture that shows each label's unseen half in the regions of the map."""
    size = Size(*labels.shape)
    return torch.stack([shown(exemplar, size) for exemplar in exemplars]).gather(0, labels.expand(1, 1, 3, *size))[0]


def recoloured(exemplar: Tensor, other: Tensor) -> Tensor:
    """The exemplar with the channels' means and deviations of another."""
    (mean, spread), (wanted, width) = (
        (x.mean((2, 3), keepdim=True), x.std((2, 3), keepdim=True)) for x in (exemplar, other)
    )
    return (exemplar - mean) / spread * width + wanted


def disc(radius: int) -> Tensor:
    places = torch.arange(256) - 127.5
    return (torch.hypot(places[:, None], places) < radius).long()


PAIRS = [("clay", "rusty_metal"), ("brick_round", "wood_planks"), ("sandstone", "stone_wall"), ("sand", "forest_floor")]


@pytest.mark.parametrize("names", PAIRS)
def test_the_true_map_agrees_and_the_swapped_one_does_not(names: tuple[str, str]) -> None:
    exemplars = [swatch(name) for name in names]
    target = regions.two_regions(SIZE)
    image, known = pasted(exemplars, target), [learnt(exemplar) for exemplar in exemplars]
    found = regions.label_agreement(image, target, known)
    assert found["agreement"] > 0.97 and found["halo"] < 0.05 and found["boundary_px"] <= 4, found
    swapped = regions.label_agreement(image, 1 - target, known)
    assert swapped["agreement"] < 0.03 and swapped["halo"] > 0.95, swapped


@pytest.mark.parametrize("names", [("clay", "rusty_metal"), ("wood_planks", "sandstone"), ("roof_shingles", "sand")])
def test_materials_of_one_colour_are_told_apart_by_structure(names: tuple[str, str]) -> None:
    first, second = (swatch(name) for name in names)
    exemplars = [recoloured(first, second), second]
    target = regions.two_regions(SIZE)
    found = regions.label_agreement(pasted(exemplars, target), target, [learnt(exemplar) for exemplar in exemplars])
    assert found["agreement"] > 0.95, found


def test_four_materials_on_a_torus_agree() -> None:
    exemplars = [swatch(name) for name in ("stone_wall", "wood_planks", "rusty_metal", "sand")]
    target = regions.four_regions(Size(320, 384), tileable=True)
    known = [learnt(exemplar) for exemplar in exemplars]
    found = regions.label_agreement(pasted(exemplars, target), target, known, wrapped=True)
    assert found["agreement"] > 0.97, found


def test_one_swatch_with_a_mask_for_each_label_is_enough() -> None:
    exemplars = [swatch(name) for name in ("clay", "rusty_metal")]
    labels, target = disc(80), regions.two_regions(SIZE)
    source, image = pasted(exemplars, labels), pasted(exemplars, target)
    masks = [labels == 0, labels == 1]
    assert regions.label_agreement(image, target, [source, source], masks=masks)["agreement"] > 0.97


@pytest.mark.parametrize(("names", "grown"), [(PAIRS[1], -6), (PAIRS[2], 6)])
def test_a_boundary_six_pixels_off_measures_six(names: tuple[str, str], grown: int) -> None:
    exemplars = [swatch(name) for name in names]
    found = regions.label_agreement(pasted(exemplars, disc(80 + grown)), disc(80), [learnt(x) for x in exemplars])
    assert abs(found["boundary_px"] - 6) < 2.5, found


def test_a_map_shifted_by_six_pixels_measures_six() -> None:
    exemplars = [swatch(name) for name in ("sandstone", "stone_wall")]
    target = (torch.arange(256) >= 128).long().expand(256, 256).contiguous()
    found = regions.label_agreement(pasted(exemplars, target.roll(6, 1)), target, exemplars, wrapped=True)
    assert abs(found["boundary_px"] - 6) < 2.5, found


def test_distances_are_euclidean_and_wrap_when_asked() -> None:
    edges = torch.zeros(100, 90, dtype=torch.bool)
    edges[5, 80] = True
    for wrapped in (False, True):
        found = regions._distance(edges, wrapped)
        down, right = ((torch.arange(n) - at).abs() for n, at in ((100, 5), (90, 80)))
        if wrapped:
            down, right = torch.minimum(down, 100 - down), torch.minimum(right, 90 - right)
        expected = torch.hypot(down[:, None].float(), right.float()).clamp_max(regions.REACH)
        assert torch.allclose(found, expected, atol=1e-4)


def test_a_map_of_one_label_has_no_boundary() -> None:
    exemplars = [swatch("clay"), swatch("sand")]
    target = torch.zeros(SIZE, dtype=torch.long)
    found = regions.label_agreement(shown(exemplars[0]), target, exemplars)
    assert found["agreement"] > 0.97 and math.isnan(found["halo"]) and math.isnan(found["boundary_px"]), found


SIZES = [Size(512, 512), Size(301, 203), Size(96, 640)]


@pytest.mark.parametrize("tileable", [False, True])
@pytest.mark.parametrize("size", SIZES)
def test_maps_hold_every_label_at_any_size(size: Size, tileable: bool) -> None:
    for count, labels in (
        (2, regions.two_regions(size, tileable=tileable)),
        (4, regions.four_regions(size, tileable=tileable)),
    ):
        assert labels.shape == size and labels.dtype == torch.int64
        assert (labels.flatten().bincount(minlength=count) > 0.005 * size.area).all()


@pytest.mark.parametrize("size", SIZES)
def test_a_tileable_map_has_no_seam_of_its_own(size: Size) -> None:
    for labels in (regions.two_regions(size, tileable=True), regions.four_regions(size, tileable=True)):
        across = (labels != labels.roll(1, 1)).sum(0)
        straight = across >= 0.5 * size.height  # the stripe's sides
        assert not straight[0]
        across = across[~straight]
        down = (labels != labels.roll(1, 0)).sum(1)
        for lines in (across, down):
            assert lines[0] <= 2 * lines[1:].max() and lines[0] < 0.3 * labels.numel() / len(lines)
