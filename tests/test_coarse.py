"""The start in two scales."""

from __future__ import annotations

import pytest
import torch
from conftest import generator

from texgen.coarse import coarse_scale, coarse_start
from texgen.errors import OptionError
from texgen.exemplar import encode_exemplar
from texgen.start import quilt_start
from tiling import Size, Wrap

TORUS = Wrap(True, True)


@pytest.fixture(scope="module")
def exemplar(mini):
    return encode_exemplar(mini, [torch.rand(1, 3, 264, 280, generator=generator())])


@pytest.mark.parametrize("wrap", [TORUS, Wrap(), Wrap(False, True)])
@pytest.mark.parametrize("canvas", [Size(8, 8), Size(17, 33), Size(40, 24)])
def test_a_coarse_start_has_the_canvas_size_and_comes_from_the_exemplar(mini, exemplar, canvas, wrap):
    begun = coarse_start(mini, exemplar, canvas, wrap, generator(), scale=2)
    assert begun.latents.shape == (1, 16, *canvas) and begun.coordinates.shape == (3, *canvas)
    assert begun.coordinates.min() >= 0
    assert begun.coordinates[1].max() <= 264 - 8 and begun.coordinates[2].max() <= 280 - 8


def test_coarse_starts_are_seeded(mini, exemplar):
    one, again, other = (coarse_start(mini, exemplar, Size(24, 24), TORUS, generator(seed)) for seed in (1, 1, 2))
    assert torch.equal(one.latents, again.latents) and torch.equal(one.coordinates, again.coordinates)
    assert not torch.equal(one.latents, other.latents)


def test_what_is_too_small_for_two_scales_is_quilted_at_one(mini):
    small = encode_exemplar(mini, [torch.rand(1, 3, 128, 128, generator=generator())])
    assert coarse_scale(small, Size(64, 64)) == 1
    begun = coarse_start(mini, small, Size(20, 20), TORUS, generator())
    assert torch.equal(begun.latents, quilt_start(small, Size(20, 20), TORUS, generator()).latents)


def test_the_scale_follows_from_the_smaller_of_exemplar_and_canvas(exemplar):
    assert coarse_scale(exemplar, Size(64, 64)) == 2
    assert coarse_scale(exemplar, Size(64, 8)) == 2
    assert coarse_scale(exemplar, Size(64, 7)) == 1


@pytest.mark.parametrize(("scale", "canvas"), [(0, Size(64, 64)), (8, Size(64, 64)), (4, Size(64, 12))])
def test_a_scale_that_leaves_less_than_a_block_is_refused(mini, exemplar, scale, canvas):
    with pytest.raises(OptionError, match=f"scale={scale} must be from 1 to [236]: a swatch of 33 latents"):
        coarse_start(mini, exemplar, canvas, TORUS, generator(), scale=scale)
