"""Starts, detail transfer, and decoding round the wrap."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from conftest import generator
from tiny import decode

import texgen
from texgen.diffusion.decoding.detail import find_detail
from texgen.diffusion.encoding import encoded
from texgen.diffusion.exemplar import encode_exemplar
from texgen.diffusion.sampling.start import swatch_start
from texgen.files import image as images
from texgen.job import Canvas, Job
from texgen.materials.exemplar import Exemplar as Swatch
from texgen.model import Clock, Workplace
from texgen.runs.interrupt import StopSignals
from texgen.runs.resume import RunFolder
from tiling import Size, Wrap, cut

TORUS = Wrap(True, True)


@pytest.fixture(scope="module")
def exemplar(mini):
    path = Path(__file__).parent.parent / "examples" / "swatches" / "roof_shingles.jpg"
    return encode_exemplar(mini, [images.read(path)])


class Sewn(NamedTuple):
    latents: torch.Tensor
    coordinates: torch.Tensor


@pytest.fixture(scope="module")
def sewn(exemplar) -> Sewn:
    """Blocks of 8x8 latent pixels of the exemplar, side by side."""
    source = exemplar.sources[0].latents
    draws = np.random.default_rng(0).integers(0, [s - 8 for s in source.shape[-2:]], (5, 7, 2))
    corners = torch.from_numpy(draws.repeat(8, 0).repeat(8, 1)).permute(2, 0, 1)
    inside = torch.stack(torch.meshgrid(torch.arange(40) % 8, torch.arange(56) % 8, indexing="ij"))
    y, x = corners + inside
    return Sewn(source[..., y, x], torch.stack([torch.zeros_like(y), 8 * y, 8 * x]))


def test_decoding_a_rolled_canvas_rolls_the_decoded_one(mini, sewn):
    latents = sewn.latents
    whole = decode(mini, latents, TORUS)
    rolled = decode(mini, latents.roll((7, 19), (2, 3)), TORUS)
    torch.testing.assert_close(rolled, whole.roll((56, 152), (2, 3)), atol=1e-5, rtol=0)


def test_decoding_in_tiles_equals_decoding_whole(mini):
    latents = torch.randn(1, 16, 70, 66, generator=generator()) * 0.5
    torch.testing.assert_close(decode(mini, latents, Wrap()), mini.decode(latents).clamp(0, 1), atol=1e-5, rtol=0)


def test_a_stable_diffusion_canvas_decodes_with_a_wrapped_margin(sd):
    latents = torch.randn(1, 4, 16, 24, generator=generator())
    whole = decode(sd, latents, TORUS)
    assert whole.shape == (1, 3, 128, 192)
    rolled = decode(sd, latents.roll((5, 9), (2, 3)), TORUS)
    torch.testing.assert_close(rolled, whole.roll((40, 72), (2, 3)), atol=1e-3, rtol=0)
    assert (decode(sd, latents, Wrap()) - whole).abs().max() > 0.01


@pytest.mark.parametrize("replacing", [False, True])
def test_detail_gives_the_exemplar_back_where_the_canvas_is_the_exemplar(mini, exemplar, replacing):
    source = exemplar.sources[0]
    rows, columns = (8 * torch.arange(n) for n in source.latents.shape[-2:])
    grid = torch.stack(torch.meshgrid(rows, columns, indexing="ij"))
    coordinates = torch.cat([torch.zeros_like(grid[:1]), grid])
    detail = find_detail(mini, exemplar, source.latents, coordinates, Wrap(), replacing)
    assert torch.equal(detail.coordinates, coordinates)
    with_detail = decode(mini, source.latents, Wrap(), detail)
    without = decode(mini, source.latents, Wrap())
    psnr = [float(-10 * (i - exemplar.images[0]).square().mean().log10()) for i in (with_detail, without)]
    assert psnr[0] > 45 and psnr[0] > psnr[1] + 8, f"PSNR with and without: {psnr}"


def test_detail_restores_sharpness(mini, exemplar, sewn):
    result = sewn
    detail = find_detail(mini, exemplar, result.latents, result.coordinates, TORUS)

    def sharpness(image):
        return float(image.diff(dim=-1).abs().mean())

    original = sharpness(exemplar.images[0])
    before, after = (sharpness(decode(mini, result.latents, TORUS, d)) / original for d in (None, detail))
    assert before < after and 0.85 < after < 1.15, f"{before:.2f} to {after:.2f}, allowed 0.85 to 1.15"


def test_detail_is_found_without_a_map_and_fades_where_nothing_matches(mini, exemplar, sewn):
    known = find_detail(mini, exemplar, sewn.latents, None, TORUS)
    strange = find_detail(mini, exemplar, torch.randn(1, 16, 16, 16, generator=generator()) * 5, None, TORUS)
    assert known.weight.mean() > 0.8 > 0.2 > strange.weight.mean()


def test_carrying_pixels_takes_grain_away_and_leaves_what_matches_nothing(mini, exemplar, sewn):
    clean = sewn
    noisy = clean.latents + 0.1 * torch.randn(clean.latents.shape, generator=generator())
    target = decode(
        mini, clean.latents, TORUS, find_detail(mini, exemplar, clean.latents, clean.coordinates, TORUS, True)
    )

    def error(replacing):
        detail = find_detail(mini, exemplar, noisy, clean.coordinates, TORUS, replacing)
        return float((decode(mini, noisy, TORUS, detail) - target).abs().mean())

    assert error(True) < 0.5 * error(False)
    strange = torch.randn(1, 16, 16, 16, generator=generator()) * 5
    detail = find_detail(mini, exemplar, strange, None, TORUS, True)
    torch.testing.assert_close(decode(mini, strange, TORUS, detail), decode(mini, strange, TORUS), atol=0.1, rtol=0)


def test_large_swatches_give_at_most_four_native_crops(mini):
    whole = encode_exemplar(mini, [torch.rand(1, 3, 256, 200)])
    assert [tuple(c.shape[-2:]) for c in whole.crops] == [(32, 25)]
    four = encode_exemplar(mini, [torch.rand(1, 3, 800, 1000)])
    assert [tuple(c.shape[-2:]) for c in four.crops] == [(64, 64)] * 4


def job_of(exemplar, size: Size, wrap: Wrap) -> Job:
    pixels = exemplar.images[0][0].permute(1, 2, 0).contiguous().numpy()
    return Job(canvas=Canvas(size, wrap), exemplars=[Swatch(pixels)])


def place_in(folder: Path | None) -> Workplace:
    return Workplace(RunFolder(folder, {}, resume=True), StopSignals(), Clock())


@pytest.mark.parametrize(
    ("size", "wrap"), [(Size(192, 256), TORUS), (Size(192, 251), Wrap(True, False)), (Size(187, 256), Wrap())]
)
def test_the_swatch_models_start_is_its_texture_encoded(mini, exemplar, size, wrap):
    canvas = Size(24, 32)
    begun = swatch_start(mini, job_of(exemplar, size, wrap), canvas, 5, place_in(None))
    tileable = {(True, True): "both", (True, False): "y", (False, False): "none"}[wrap]
    texture = texgen.expand(exemplar.images[0], size, tileable=tileable, seed=5, with_map=True)
    missing = (0, 256 - size.width, 0, 192 - size.height)
    whole = torch.nn.functional.pad(images.read(texture.image), missing, mode="replicate")
    expected = encoded(mini, lambda tile: cut(whole, tile.scaled(8)), canvas, wrap)
    torch.testing.assert_close(begun.latents[..., :22, :30], expected[..., :22, :30], atol=1e-4, rtol=1e-4)
    corners = texture.coordinates[:, ::8, ::8]
    last = torch.tensor([0, *exemplar.images[0].shape[-2:]])[:, None, None] - 8
    inside = torch.from_numpy(corners).long().minimum(last.clamp_min(0))
    assert begun.coordinates.shape[1:] == canvas
    assert torch.equal(begun.coordinates[:, : inside.shape[1], : inside.shape[2]], inside)


def test_the_swatch_models_start_can_be_interrupted_and_gone_on_with(mini, exemplar, tmp_path):
    wanted, canvas = job_of(exemplar, Size(192, 256), TORUS), Size(24, 32)
    whole = swatch_start(mini, wanted, canvas, 5, place_in(None))
    place = place_in(tmp_path / "run")
    place.stop.asked = True
    with pytest.raises(KeyboardInterrupt):
        swatch_start(mini, wanted, canvas, 5, place)
    again = swatch_start(mini, wanted, canvas, 5, place_in(tmp_path / "run"))
    assert torch.equal(again.latents, whole.latents)
