"""Reading and preparing swatches: what works, and a clear error for the rest."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image, ImageCms

from texgen.errors import InputError, OptionError
from texgen.files import image as images


def gradient(width: int = 80, height: int = 96) -> Image.Image:
    y, x = np.mgrid[:height, :width]
    return Image.fromarray(np.stack([x * 2, y * 2, (x + y) % 256], -1).astype(np.uint8))


@pytest.mark.parametrize("suffix", ["png", "tif", "bmp", "tga"])
def test_lossless_files_are_read_exactly(suffix, tmp_path):
    path = tmp_path / f"a.{suffix}"
    gradient().save(path)
    values = images.read(path)
    assert values.shape == (1, 3, 96, 80) and values.dtype == torch.float32
    np.testing.assert_array_equal(images.to_integers(values), np.asarray(gradient()))


@pytest.mark.parametrize("suffix", ["jpg", "webp"])
def test_lossy_files_are_read_closely(suffix, tmp_path):
    path = tmp_path / f"a.{suffix}"
    gradient().save(path, quality=95)
    assert np.abs(images.to_integers(images.read(path)).astype(int) - np.asarray(gradient())).mean() < 6


@pytest.mark.parametrize("mode", ["L", "P", "CMYK", "1"])
def test_other_colour_modes_become_rgb(mode, tmp_path):
    path = tmp_path / ("a.tif" if mode == "CMYK" else "a.png")
    gradient().convert(mode).save(path)
    assert images.read(path).shape == (1, 3, 96, 80)


def test_arrays_tensors_and_pillow_images_mean_the_same(tmp_path):
    picture = gradient()
    expected = images.read(picture)
    array = np.asarray(picture)
    tensor = torch.from_numpy(array.copy()).permute(2, 0, 1) / 255
    for other in (array, array.astype(np.float32) / 255, tensor, tensor[None]):
        torch.testing.assert_close(images.read(other), expected)


def test_exif_rotation_is_applied(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    path = tmp_path / "turned.png"
    gradient().save(path, exif=exif)
    np.testing.assert_array_equal(images.to_integers(images.read(path)), np.rot90(np.asarray(gradient()), -1))


def test_an_embedded_profile_is_converted_to_srgb(tmp_path):
    """One of sRGB changes nothing; one that calls sRGB's red blue, and its blue red, swaps the channels."""
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    swapped = srgb.replace(b"rXYZ", b"?XYZ").replace(b"bXYZ", b"rXYZ").replace(b"?XYZ", b"bXYZ")
    for profile, order in ((srgb, slice(None)), (swapped, slice(None, None, -1))):
        gradient().save(tmp_path / "profile.png", icc_profile=profile)
        found = images.to_integers(images.read(tmp_path / "profile.png")).astype(int)
        assert np.abs(found - np.asarray(gradient())[..., order]).max() <= 1


def test_an_opaque_alpha_channel_is_dropped_and_transparency_refused(tmp_path):
    opaque, clear = gradient().convert("RGBA"), gradient().convert("RGBA")
    clear.putpixel((3, 3), (0, 0, 0, 10))
    opaque.save(tmp_path / "opaque.png")
    clear.save(tmp_path / "clear.png")
    np.testing.assert_array_equal(images.to_integers(images.read(tmp_path / "opaque.png")), np.asarray(gradient()))
    with pytest.raises(InputError, match=r"has transparency, which would be lost; flatten it"):
        images.read(tmp_path / "clear.png")


def deep_png(width: int = 80, height: int = 80, claimed: tuple[int, int] | None = None) -> bytes:
    """A 16-bit RGB PNG, which Pillow would cut to 8 bits; or one whose header claims another size."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", *(claimed or (width, height)), 16, 2, 0, 0, 0)
    rows = b"".join(b"\0" + bytes(width * 6) for _ in range(height))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def bad_files(folder: Path) -> dict[str, Path]:
    """Every kind of unusable input, by the message it must give."""
    good = io.BytesIO()
    gradient().save(good, "PNG")
    content = {
        "is empty": ("empty.png", b""),
        "broken or truncated": ("truncated.png", good.getvalue()[: len(good.getvalue()) // 2]),
        "not an image of a known format": ("drawing.png", b"<svg xmlns='http://www.w3.org/2000/svg'/>"),
        "not an image of a known": ("notes.jpg", b"just some text"),
        "more than 8 bits a channel": ("deep.png", deep_png()),
        "too many pixels": ("bomb.png", deep_png(8, 8, claimed=(60000, 60000))),
    }
    found = {}
    for message, (name, data) in content.items():
        (folder / name).write_bytes(data)
        found[message] = folder / name
    found["no such file"] = folder / "absent.png"
    found["too small; at least 64 px"] = folder / "dot.png"
    Image.new("RGB", (1, 1)).save(folder / "dot.png")
    found["has 2 frames"] = folder / "moving.webp"
    gradient().save(folder / "moving.webp", save_all=True, append_images=[gradient().rotate(90)])
    tifffile.imwrite(folder / "deep.tif", np.zeros((80, 80, 3), np.uint16), photometric="rgb")
    found["more than 8 bits"] = folder / "deep.tif"
    found["cannot be read"] = folder
    return found


def test_every_unusable_file_has_its_message(tmp_path):
    for message, path in bad_files(tmp_path).items():
        with pytest.raises(InputError, match=message):
            images.prepare(images.read(path))


def test_arrays_of_other_shapes_and_ranges_are_refused():
    with pytest.raises(InputError, match=r"array of shape \(4, 4\)"):
        images.read(np.zeros((4, 4)))
    with pytest.raises(InputError, match=r"tensor of shape \(1, 1, 4, 4\)"):
        images.read(torch.zeros(1, 4, 4))
    with pytest.raises(InputError, match=r"finite and in \[0, 1\]"):
        images.read(torch.full((3, 80, 80), 2.0))


def test_preparing_cuts_turns_and_resizes():
    image = images.read(gradient())
    torch.testing.assert_close(images.prepare(image), image)
    assert images.prepare(image, crop=(10, 20, 64, 70)).shape[-2:] == (70, 64)
    torch.testing.assert_close(images.prepare(image, crop=(0, 0, 70, 70)), image[..., :70, :70])
    torch.testing.assert_close(images.prepare(image, rotate=90), torch.rot90(image, 1, (2, 3)))
    assert images.prepare(image, scale=1.5).shape[-2:] == (144, 120)
    assert images.prepare(image, size=512).shape[-2:] == (512, 512)


def test_impossible_preparations_are_refused():
    image = images.read(gradient())
    with pytest.raises(OptionError, match="crop=40,0,64,64 lies outside the 80x96 swatch"):
        images.prepare(image, crop=(40, 0, 64, 64))
    with pytest.raises(InputError, match="40x48 px is too small"):
        images.prepare(image, scale=0.5)


def slow_energy(image):
    """Spread of the brightness of sixteen parts, relative to its mean."""
    parts = torch.nn.functional.interpolate(image.mean(1, keepdim=True), (4, 4), mode="area")
    return float(parts.std() / parts.mean())


def test_flattening_takes_slow_light_out_and_leaves_the_texture(swatch):
    even = images.read(swatch)
    height, width = even.shape[-2:]
    y, x = torch.linspace(-1, 1, height)[:, None], torch.linspace(-1, 1, width)
    lit = (even * 0.8 * torch.exp(0.3 * x - 0.2 * y - 0.25 * x * x)).clamp(0, 1)
    found = images.flattened(lit)
    before, after = slow_energy(lit), slow_energy(found)
    assert after < 0.2 * before, f"slow energy {before:.3f} before, {after:.3f} after, allowed a fifth"
    detail = [x.diff(dim=-1).abs().mean() / x.mean() for x in (found, even)]
    assert float(detail[0] / detail[1]) == pytest.approx(1, abs=0.05)
    assert torch.equal(images.prepare(lit, flatten_light=True), found)


def test_flattening_a_swatch_of_one_colour_changes_nothing():
    flat = torch.full((1, 3, 70, 90), 0.4)
    torch.testing.assert_close(images.flattened(flat), flat, atol=1e-4, rtol=0)
    assert bool(torch.isfinite(images.flattened(torch.zeros(1, 3, 64, 64))).all())
