"""Preparing swatches: cutting, turning, resizing, flattening their light."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from test_image import gradient

from texgen.errors import InputError, OptionError
from texgen.files import image as images
from texgen.materials.preparation import Preparation, as_array
from texgen.materials.uneven_light import flattened


def test_preparing_cuts_turns_and_resizes():
    image = images.read_pixels(gradient())
    assert np.array_equal(Preparation().colours(image), image)
    assert np.array_equal(Preparation(crop=(10, 20, 64, 70)).colours(image), image[20:90, 10:74])
    assert np.array_equal(Preparation(rotate=90).colours(image), np.rot90(image))
    assert Preparation(scale=1.5).colours(image).shape == (144, 120, 3)
    assert Preparation(size=512).colours(image).shape == (512, 512, 3)


def test_impossible_preparations_are_refused():
    image = images.read_pixels(gradient())
    with pytest.raises(OptionError, match="crop=40,0,64,64 lies outside the 80x96 swatch"):
        Preparation(crop=(40, 0, 64, 64)).colours(image)
    with pytest.raises(InputError, match="40x48 px is too small"):
        Preparation(scale=0.5).colours(image)


def slow_energy(image):
    """Spread of the brightness of sixteen parts, relative to its mean."""
    parts = torch.nn.functional.interpolate(image.mean(1, keepdim=True), (4, 4), mode="area")
    return float(parts.std() / parts.mean())


def test_flattening_takes_slow_light_out_and_leaves_the_texture(swatch):
    even = images.read(swatch)
    height, width = even.shape[-2:]
    y, x = torch.linspace(-1, 1, height)[:, None], torch.linspace(-1, 1, width)
    lit = (even * 0.8 * torch.exp(0.3 * x - 0.2 * y - 0.25 * x * x)).clamp(0, 1)
    found = flattened(lit)
    before, after = slow_energy(lit), slow_energy(found)
    assert after < 0.2 * before, f"slow energy {before:.3f} before, {after:.3f} after, allowed a fifth"
    detail = [x.diff(dim=-1).abs().mean() / x.mean() for x in (found, even)]
    assert float(detail[0] / detail[1]) == pytest.approx(1, abs=0.05)
    assert np.array_equal(Preparation(flatten_light=True).colours(as_array(lit)), as_array(found))


def test_flattening_a_swatch_of_one_colour_changes_nothing():
    flat = torch.full((1, 3, 70, 90), 0.4)
    torch.testing.assert_close(flattened(flat), flat, atol=1e-4, rtol=0)
    assert bool(torch.isfinite(flattened(torch.zeros(1, 3, 64, 64))).all())
