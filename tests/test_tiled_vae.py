"""Tiles of Stable Diffusion's decoder against the whole decode, on a plane, a cylinder and a torus."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import tiny
import torch
import torch.nn.functional as F
from conftest import generator
from diffusers import AutoencoderKL

from texgen.diffusion import encoding
from texgen.diffusion.models.vae import tiled
from texgen.diffusion.models.vae.canvas_statistics import fixed_statistics
from texgen.diffusion.models.vae.tiled import HALO, exact_halo, gather_statistics, sample_tiles
from texgen.errors import ModelError
from tiling import Size, Wrap, canvas_size, cut, cut_from, plan_cores, spread_tiles

FLAT, CYLINDER, TORUS = Wrap(), Wrap(x=True), Wrap(True, True)
CORE = Size(16, 16)
EXACT = 14
"""Of one layer a block."""


def perturbed(autoencoder: AutoencoderKL, seed: int = 0) -> AutoencoderKL:
    """Norms and biases as different from their initial ones and zeros as trained ones are."""
    with torch.no_grad():
        for parameter in autoencoder.parameters():
            if parameter.ndim == 1:
                parameter += 0.3 * torch.randn(parameter.shape, generator=generator(seed := seed + 1))
    return autoencoder.requires_grad_(False).eval()


@pytest.fixture(scope="module")
def vae() -> AutoencoderKL:
    return perturbed(tiny.autoencoder(tiny.THIN))


def latents(height: int, width: int) -> torch.Tensor:
    """Noise on blotches of ten latents, on a ramp: no two tiles have the same statistics."""
    fine = torch.randn(1, 4, height, width, generator=generator(1))
    coarse = torch.randn(1, 4, -(-height // 10) + 1, -(-width // 10) + 1, generator=generator(2))
    blotches = F.interpolate(coarse, size=(height, width), mode="bicubic")
    return 0.5 * fine + blotches + torch.linspace(-1, 1, width)


def ring(conv: torch.nn.Conv2d, wrap: Wrap):
    def forward(x: torch.Tensor) -> torch.Tensor:
        x = F.pad(x, (1, 1, 0, 0), mode="circular" if wrap.x else "constant")
        return F.conv2d(F.pad(x, (0, 0, 1, 1), mode="circular" if wrap.y else "constant"), conv.weight, conv.bias)

    return forward


@torch.no_grad()
def decoded_whole(autoencoder: AutoencoderKL, canvas: torch.Tensor, wrap: Wrap) -> torch.Tensor:
    """The plain decode, with convolutions that wrap where the canvas does."""
    autoencoder = copy.deepcopy(autoencoder)
    for module in autoencoder.decoder.modules():
        if isinstance(module, torch.nn.Conv2d) and module.padding == (1, 1):
            module.forward = ring(module, wrap)
    return autoencoder.decode(canvas).sample


@torch.no_grad()
def decoded_in_tiles(autoencoder, canvas, wrap, halo=EXACT, core=CORE, **options) -> torch.Tensor:
    size, factor = canvas_size(canvas), 2 ** (len(autoencoder.config.block_out_channels) - 1)
    image = torch.empty(1, 3, *size.scaled(factor))
    statistics = gather_statistics(autoencoder, lambda tile: cut(canvas, tile), size, wrap, **options)
    with fixed_statistics(autoencoder, statistics):
        for tile in plan_cores(size, core):
            read = tile.grown(halo, size, wrap)
            values = autoencoder.decode(cut(canvas, read)).sample
            place, held = tile.scaled(factor), read.scaled(factor)
            top, left = place.top - held.top, place.left - held.left
            image[..., place.top : place.bottom, place.left : place.right] = values[
                ..., top : top + place.size.height, left : left + place.size.width
            ]
    return image


@torch.no_grad()
def encoded_in_tiles(autoencoder, image, wrap, halo, samples=None) -> torch.Tensor:
    """Latents of pixels in [-1, 1], core by core, with statistics of the whole."""
    canvas = Size(*(side // 8 for side in canvas_size(image)))
    whole = [tile.scaled(8) for tile in (samples or plan_cores(canvas, CORE))]
    found = gather_statistics(
        autoencoder, lambda tile: cut(image, tile), canvas.scaled(8), wrap, samples=whole, part="encoder"
    )
    latents = torch.empty(1, 4, *canvas)
    with fixed_statistics(autoencoder, found):
        for tile in plan_cores(canvas, CORE):
            read = tile.grown(halo, canvas, wrap)
            values = autoencoder.encode(cut(image, read.scaled(8))).latent_dist.mean
            latents[..., tile.top : tile.bottom, tile.left : tile.right] = cut_from(values, read, tile)
    return latents


def psnr(image: torch.Tensor, whole: torch.Tensor) -> float:
    return float(20 * (whole.max() - whole.min()).log10() - 10 * (image - whole).square().mean().log10())


def assert_alike(image: torch.Tensor, reference: torch.Tensor, allowed: float) -> None:
    measured = psnr(image, reference)
    print(f"PSNR {measured:.1f} dB, allowed {allowed}")
    assert measured >= allowed, f"PSNR {measured:.1f} dB, allowed {allowed}"


@pytest.mark.parametrize("wrap", [FLAT, CYLINDER, TORUS])
@pytest.mark.parametrize("size", [(16, 16), (17, 16), (5, 33), (31, 16), (19, 37)])
def test_tiles_are_the_whole_decode_where_samples_cover_the_canvas(vae, size, wrap):
    canvas = latents(*size)
    assert_alike(decoded_in_tiles(vae, canvas, wrap), decoded_whole(vae, canvas, wrap), 100)


def test_a_canvas_of_one_tile_is_the_plain_decode(vae):
    canvas = latents(16, 12)
    with torch.no_grad():
        plain = vae.decode(canvas).sample
    # float32 sums in another order: single values differ by up to 1.7e-5 on some processors
    torch.testing.assert_close(decoded_in_tiles(vae, canvas, FLAT), plain, atol=3e-5, rtol=1e-4)


@pytest.mark.parametrize(
    "options",
    [
        {"mid_block_add_attention": False},
        {"use_quant_conv": False, "use_post_quant_conv": False, "latent_channels": 16},
        {"block_out_channels": (16, 32), "layers_per_block": 1, "scaling_factor": 0.13025, "norm_num_groups": 8},
    ],
    ids=["no attention", "no quantisation", "two levels"],
)
def test_tiles_are_the_whole_decode_for_other_shapes_of_the_autoencoder(options):
    options = {"block_out_channels": tiny.THIN, "norm_num_groups": 4, "layers_per_block": 2, **options}
    levels = len(options["block_out_channels"])
    blocks = {"down_block_types": ("DownEncoderBlock2D",) * levels, "up_block_types": ("UpDecoderBlock2D",) * levels}
    torch.manual_seed(1)
    vae = perturbed(AutoencoderKL(**{"latent_channels": 4, **blocks, **options}))
    canvas = latents(20, 17).repeat(1, vae.config.latent_channels // 4, 1, 1)
    assert_alike(decoded_in_tiles(vae, canvas, CYLINDER), decoded_whole(vae, canvas, CYLINDER), 100)


@pytest.mark.parametrize(("dtype", "allowed"), [(torch.float16, 60), (torch.bfloat16, 40)])
def test_statistics_of_a_half_precision_autoencoder_are_float32(vae, dtype, allowed):
    half, canvas = copy.deepcopy(vae).to(dtype), latents(8, 6)
    statistics = gather_statistics(half, lambda tile: cut(canvas, tile), canvas_size(canvas), FLAT)
    assert {values.dtype for moments in statistics.norms.values() for values in moments} == {torch.float32}
    assert_alike(
        decoded_in_tiles(half, canvas.to(dtype), FLAT), decoded_whole(half, canvas.to(dtype), FLAT).float(), allowed
    )


@pytest.mark.slow
@pytest.mark.parametrize("wrap", [FLAT, TORUS])
def test_a_sample_of_a_larger_canvas_comes_near_to_its_whole_decode(vae, wrap):
    canvas = latents(161, 150)
    image = decoded_in_tiles(vae, canvas, wrap, core=Size(64, 64))
    assert_alike(image, decoded_whole(vae, canvas, wrap), 40)


def test_a_small_sample_of_an_uneven_canvas_still_comes_near_to_its_whole_decode(vae):
    canvas = latents(48, 55)
    samples = spread_tiles(canvas_size(canvas), Size(8, 8), 16)
    image = decoded_in_tiles(vae, canvas, TORUS, core=Size(24, 55), samples=samples, most_tokens=256)
    assert_alike(image, decoded_whole(vae, canvas, TORUS), 30)


def test_tiles_agree_with_each_other_whatever_was_sampled(vae):
    canvas = latents(25, 22)
    samples = spread_tiles(canvas_size(canvas), Size(8, 8), 2)
    small, large = (decoded_in_tiles(vae, canvas, TORUS, core=Size(s, s), samples=samples) for s in (11, 24))
    assert_alike(small, large, 100)


def test_rolling_a_torus_by_one_tile_rolls_the_image(vae):
    canvas, factor = latents(32, 32), 8
    for samples, allowed in ((None, 100), (plan_cores(Size(32, 32), CORE)[:3], 25)):
        image = decoded_in_tiles(vae, canvas, TORUS, halo=6, samples=samples)
        rolled = decoded_in_tiles(vae, canvas.roll((16, 16), (2, 3)), TORUS, halo=6, samples=samples)
        assert_alike(rolled, image.roll((16 * factor, 16 * factor), (2, 3)), allowed)


def test_another_order_of_the_samples_changes_noise_only(vae):
    canvas = latents(30, 30)
    samples = plan_cores(canvas_size(canvas), Size(11, 11))
    images = [decoded_in_tiles(vae, canvas, FLAT, samples=order, most_tokens=100) for order in (samples, samples[::-1])]
    assert_alike(*images, 100)


def test_more_halo_than_the_exact_one_changes_nothing_and_less_changes_little(vae):
    canvas = latents(48, 8)
    assert exact_halo(vae) == EXACT and exact_halo(tiny.autoencoder(tiny.THIN, tiny.PUBLISHED)) == 18
    reference = decoded_in_tiles(vae, canvas, FLAT, halo=24)
    for halo, allowed in ((EXACT, 100), (HALO, 80), (8, 50)):
        assert_alike(decoded_in_tiles(vae, canvas, FLAT, halo=halo), reference, allowed)


def test_tiles_are_nearer_to_the_whole_decode_than_blended_tiles_of_diffusers(vae):
    canvas = latents(40, 40)
    whole = decoded_whole(vae, canvas, FLAT)
    blended = copy.deepcopy(vae)
    blended.enable_tiling()
    blended.tile_latent_min_size, blended.tile_sample_min_size = 24, 24 * 8
    with torch.no_grad():
        baseline = psnr(blended.decode(canvas).sample, whole)
    assert_alike(decoded_in_tiles(vae, canvas, FLAT), whole, baseline + 30)


def test_the_autoencoder_is_as_found_also_after_an_exception(vae):
    canvas = latents(16, 16)
    modules, processors = dict(vae.named_modules()), vae.attn_processors
    with torch.no_grad():
        before = vae.decode(canvas).sample
    statistics = gather_statistics(vae, lambda tile: cut(canvas, tile), Size(16, 16), TORUS)
    with pytest.raises(ZeroDivisionError), fixed_statistics(vae, statistics):
        assert dict(vae.named_modules()) != modules
        raise ZeroDivisionError
    with pytest.raises(RuntimeError, match="channels"):
        gather_statistics(vae, lambda tile: cut(canvas[:, :3], tile), Size(16, 16), TORUS)
    assert dict(vae.named_modules()) == modules and vae.attn_processors == processors
    assert not any(module._forward_pre_hooks for module in modules.values())
    with torch.no_grad():
        assert torch.equal(vae.decode(canvas).sample, before)


@pytest.mark.parametrize("size", [Size(5, 7), Size(128, 128), Size(129, 128), Size(700, 20), Size(4096, 4096)])
def test_samples_are_bounded_and_cover_a_small_canvas_once(size):
    samples = sample_tiles(size)
    area = sum(tile.size.area for tile in samples)
    assert area == size.area if size.area <= 128 * 128 and size.height <= 512 else area <= 128 * 128
    assert 0 < len(samples) <= 64 and all(tile.bottom <= size.height and tile.right <= size.width for tile in samples)


@pytest.mark.parametrize("size", [(6, 7), (20, 21), (40, 33)])
def test_the_tokens_that_attention_reads_are_bounded(vae, size):
    canvas = latents(*size)
    statistics = gather_statistics(vae, lambda tile: cut(canvas, tile), Size(*size), FLAT, most_tokens=100)
    ((batch, tokens, channels),) = [found.shape for found in statistics.tokens.values()]
    assert (batch, channels) == (1, tiny.THIN[-1]) and min(42, canvas[0, 0].numel()) <= tokens <= 100


def test_unknown_blocks_are_refused_by_name():
    vae = AutoencoderKL(up_block_types=("AttnUpDecoderBlock2D",), norm_num_groups=32)
    with pytest.raises(ModelError, match="AttnUpDecoderBlock2D"):
        exact_halo(vae)


def picture(height: int, width: int) -> torch.Tensor:
    """Pixels in [-1, 1] of the same kind as `latents`."""
    return F.interpolate(latents(height, width)[:, :3], scale_factor=8, mode="bicubic").clamp(-2, 2) / 2


@pytest.mark.parametrize("size", [(16, 16), (17, 16), (5, 33), (19, 37)])
def test_tiles_are_the_whole_encode_where_samples_cover_the_canvas(vae, size):
    image, exact = picture(*size), exact_halo(vae, "encoder") // 8
    with torch.no_grad():
        whole = vae.encode(image).latent_dist.mean
    assert exact_halo(vae, "encoder") % 8 == 0 and HALO <= exact <= 32
    assert_alike(encoded_in_tiles(vae, image, FLAT, exact), whole, 100)


def test_less_context_and_few_samples_change_an_encode_little(vae):
    image, canvas = picture(40, 33), Size(40, 33)
    with torch.no_grad():
        whole = vae.encode(image).latent_dist.mean
    assert_alike(encoded_in_tiles(vae, image, FLAT, HALO), whole, 60)
    assert_alike(encoded_in_tiles(vae, image, FLAT, HALO, spread_tiles(canvas, Size(12, 12), 6)), whole, 30)


def test_an_encode_on_a_torus_rolls_with_the_picture(vae):
    image, exact = picture(16, 32), exact_halo(vae, "encoder") // 8
    found = encoded_in_tiles(vae, image, TORUS, exact)
    rolled = encoded_in_tiles(vae, image.roll(16 * 8, 3), TORUS, exact)
    assert_alike(rolled, found.roll(16, 3), 100)


def largest(module: torch.nn.Module, work) -> int:
    """Numbers of the largest tensor that a layer gives during some work."""
    sizes: list[int] = []
    hooks = [
        layer.register_forward_hook(lambda _l, _i, output: sizes.append(getattr(output, "numel", int)()))
        for layer in module.modules()
    ]
    work()
    for hook in hooks:
        hook.remove()
    return max(sizes)


def test_a_large_picture_is_encoded_in_tiles_and_memory_does_not_grow_with_it(sd, vae, monkeypatch):
    monkeypatch.setattr(encoding, "WHOLE", 8 * 8)
    monkeypatch.setattr(encoding, "CORE", 8)
    monkeypatch.setattr(tiled, "ENCODER_SAMPLE", Size(8, 8))
    monkeypatch.setattr(tiled, "HALO", 8)
    image, found, model = picture(72, 60) / 2 + 0.5, [], replace(sd, autoencoder=vae)
    tiles = largest(vae, lambda: found.append(encoding.encoded_image(model, image)))
    whole = largest(vae, lambda: found.append(model.encode(image)))
    side = 8 * (8 + 2 * exact_halo(vae, "encoder") // 8)
    assert whole == tiny.THIN[0] * 72 * 60 * 64 and tiles <= tiny.THIN[0] * side**2 < 0.6 * whole
    assert_alike(*found, 25)


def test_what_is_no_larger_than_a_tile_or_four_is_encoded_whole(sd):
    image = torch.rand(1, 3, 128, 192, generator=generator())
    assert torch.equal(encoding.encoded_image(sd, image), sd.encode(image))
