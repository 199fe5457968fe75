"""From latents to pixels: in tiles and bands as whole, in 8 and 16 bits."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from conftest import generator
from tiny import decode

from texgen.diffusion.decoding.decode import CanvasDecoder
from texgen.files.encoding import Encoding
from texgen.files.pixels import PixelFile
from tiling import Wrap

TORUS = Wrap(True, True)


def latents(height, width):
    return torch.randn(1, 16, height, width, generator=generator()) * 0.5


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("size", [(136, 160), (130, 155)])
def test_bands_in_any_order_give_the_whole_decode_rounded_and_cropped(mini, tmp_path, bits, size):
    canvas = latents(17, 20)
    decoder = CanvasDecoder(mini, canvas, TORUS)
    pixels = PixelFile(tmp_path / "pixels", (*size, 3), Encoding(str(bits)).dtype)
    for band in reversed(decoder.bands):
        decoder.write(band, pixels, Encoding(str(bits)))
    most = 2**bits - 1
    expected = decode(mini, canvas, TORUS)[0, :, : size[0], : size[1]] * most
    assert np.abs(pixels[:].transpose(2, 0, 1) - expected.numpy().astype(float)).max() <= 0.51


def test_a_canvas_of_many_bands_equals_the_whole_decode(mini, tmp_path):
    canvas = latents(130, 65)
    decoder = CanvasDecoder(mini, canvas, Wrap())
    assert [len(band) for band in decoder.bands] == [2, 2, 2]
    pixels = PixelFile(tmp_path / "pixels", (1040, 520, 3), np.uint16)
    for band in decoder.bands:
        decoder.write(band, pixels, Encoding("16"))
    expected = mini.decode(canvas).clamp(0, 1)[0].numpy() * 65535
    assert np.abs(pixels[:].transpose(2, 0, 1) - expected).max() <= 2
