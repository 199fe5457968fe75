"""Reading pictures: every format at its own depth, and a clear error for what cannot be read."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import OpenImageIO as oiio
import pytest
import tifffile
import torch
from PIL import Image, ImageCms

from texgen.errors import InputError
from texgen.files import decode
from texgen.files import image as images
from texgen.files.encoding import Encoding, display, linear
from texgen.files.icc import to_srgb
from texgen.files.pixels import rounded
from texgen.files.publish import save_image
from texgen.files.row_reader import PictureRows


def as_integers(values: np.ndarray) -> np.ndarray:
    return rounded(values, np.uint8)


def gradient(width: int = 80, height: int = 96) -> Image.Image:
    y, x = np.mgrid[:height, :width]
    return Image.fromarray(np.stack([x * 2, y * 2, (x + y) % 256], -1).astype(np.uint8))


@pytest.mark.parametrize("suffix", ["png", "tif", "bmp", "tga"])
def test_lossless_files_are_read_exactly(suffix, tmp_path):
    path = tmp_path / f"a.{suffix}"
    gradient().save(path)
    values = images.read(path)
    assert values.shape == (1, 3, 96, 80) and values.dtype == torch.float32
    np.testing.assert_array_equal(as_integers(images.read_pixels(path)), np.asarray(gradient()))


@pytest.mark.parametrize("suffix", ["jpg", "webp"])
def test_lossy_files_are_read_closely(suffix, tmp_path):
    path = tmp_path / f"a.{suffix}"
    gradient().save(path, quality=95)
    assert np.abs(as_integers(images.read_pixels(path)).astype(int) - np.asarray(gradient())).mean() < 6


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
    np.testing.assert_array_equal(as_integers(images.read_pixels(path)), np.rot90(np.asarray(gradient()), -1))


def test_an_embedded_profile_is_converted_to_srgb(tmp_path):
    """One of sRGB changes nothing; one that calls sRGB's red blue, and its blue red, swaps the channels."""
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for profile, order in ((srgb, slice(None)), (swapped_profile(), slice(None, None, -1))):
        gradient().save(tmp_path / "profile.png", icc_profile=profile)
        found = as_integers(images.read_pixels(tmp_path / "profile.png")).astype(int)
        assert np.abs(found - np.asarray(gradient())[..., order]).max() <= 1


def test_an_opaque_alpha_channel_is_dropped_and_another_is_read(tmp_path):
    opaque, clear = gradient().convert("RGBA"), gradient().convert("RGBA")
    clear.putpixel((3, 3), (0, 0, 0, 10))
    opaque.save(tmp_path / "opaque.png")
    clear.save(tmp_path / "clear.png")
    found = images.read_picture(tmp_path / "opaque.png")
    assert found.encoding == Encoding("8") and as_integers(found.pixels).tolist() == np.asarray(gradient()).tolist()
    found = images.read_picture(tmp_path / "clear.png")
    assert found.encoding == Encoding("8", alpha=True)
    np.testing.assert_array_equal(found.encoding.stored(found.pixels), np.asarray(clear))


def written(path: Path, values: np.ndarray, names: list[str] | None = None, **attributes: object) -> Path:
    """A file by OpenImageIO, of the values' own type."""
    kinds = {"uint8": "uint8", "uint16": "uint16", "float16": "half", "float32": "float"}
    spec = oiio.ImageSpec(values.shape[1], values.shape[0], values.shape[2], kinds[values.dtype.name])
    spec.attribute("oiio:UnassociatedAlpha", 1)
    if names:
        spec.channelnames = names
    for name, value in attributes.items():
        spec.attribute(name, value)
    file = oiio.ImageOutput.create(str(path))
    assert file.open(str(path), spec) and file.write_image(np.ascontiguousarray(values)) and file.close()
    return path


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize(
    ("suffix", "dtype"),
    [
        ("png", "uint16"),
        ("tif", "uint16"),
        ("tif", "float32"),
        ("exr", "float16"),
        ("exr", "float32"),
        ("tif", "uint8"),
    ],
)
def test_every_depth_is_read_and_stored_again_as_it_was(tmp_path, suffix, dtype, channels):
    values = np.random.default_rng(0).random((70, 80, channels))
    values = (values * np.iinfo(dtype).max).astype(dtype) if dtype.startswith("u") else (3 * values).astype(dtype)
    if channels == 4:
        values[..., 3] = np.clip(values[..., 3], 0, 1 if not dtype.startswith("u") else None)
        values[:9, :9] = 0
    path = written(tmp_path / f"a.{suffix}", values)
    found = images.read_picture(path)
    assert found.encoding == Encoding.of(dtype, channels) and found.size == (70, 80)
    again = found.encoding.stored(found.pixels)
    assert again.dtype == values.dtype
    if channels == 4:  # where nothing is seen, colours may be any
        again = np.where(values[..., 3:] == 0, values, again)
    if dtype == "float32":
        np.testing.assert_allclose(again, values, rtol=2e-5, atol=2e-6)
    else:
        np.testing.assert_allclose(again.astype(float), values.astype(float), rtol=1e-3 if dtype == "float16" else 0)


def test_floats_are_linear_light(tmp_path):
    light = np.array([0.0, 0.001, 0.2, 1.0, 7.0], np.float32)
    path = written(tmp_path / "a.exr", np.tile(light, (66, 66, 1))[..., :3])
    seen = images.read_picture(path).pixels[0, 0]
    np.testing.assert_allclose(seen, [0, 12.92 * 0.001, 1.055 * 0.2 ** (1 / 2.4) - 0.055], rtol=1e-5)
    np.testing.assert_allclose(linear(display(light)), light, rtol=1e-5)


def test_radiance_files_are_read(tmp_path):
    path = written(tmp_path / "a.hdr", np.full((66, 70, 3), 2.5, np.float32))
    found = images.read_picture(path)
    assert found.encoding.depth == "float" and found.pixels[3, 3] == pytest.approx(display(np.float32(2.5)), rel=0.01)


def test_layers_of_an_exr_and_pages_of_a_tiff_are_read_by_their_names(tmp_path):
    values = np.arange(6, dtype=np.float32) / 6 * np.ones((66, 66, 1), np.float32)
    path = written(tmp_path / "a.exr", values, [f"{layer}.{c}" for layer in ("diffuse", "normal") for c in "RGB"])
    with pytest.raises(InputError, match=r"has the layers diffuse, normal; name the wanted one: .*a.exr#diffuse"):
        images.read_picture(path)
    np.testing.assert_allclose(images.read_raw(f"{path}#normal")[0, 0], [3 / 6, 4 / 6, 5 / 6], rtol=1e-6)
    with pytest.raises(InputError, match="has no layer 'ao'; it has diffuse, normal"):
        images.read_picture(f"{path}#ao")
    pages = tmp_path / "a.tif"
    with tifffile.TiffWriter(pages) as file:
        for value in (1000, 2000):
            file.write(np.full((66, 68, 3), value, np.uint16), photometric="rgb")
    with pytest.raises(InputError, match=r"holds 2 pictures; name the wanted one: .*a.tif#1"):
        images.read_picture(pages)
    assert int(images.read_raw(f"{pages}#2")[0, 0, 0]) == 2000


def test_a_tiff_with_halved_levels_is_one_picture(tmp_path):
    path = tmp_path / "a.tif"
    values = np.random.default_rng(1).integers(0, 65535, (1024, 700, 3)).astype(np.uint16)
    save_image(path, values, pyramid=True)
    np.testing.assert_array_equal(images.read_raw(path), values)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_deep_pictures_are_turned_upright_as_shallow_ones_are(tmp_path, orientation):
    shallow, exif = np.asarray(gradient(70, 66)), Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(shallow).save(tmp_path / "a.png", exif=exif)
    deep = written(tmp_path / "a.tif", shallow.astype(np.uint16) * 257, Orientation=orientation)
    np.testing.assert_allclose(images.read_pixels(deep), images.read_pixels(tmp_path / "a.png"), atol=1e-6)


def profile(primaries: list[list[float]], gamma: float) -> bytes:
    """An ICC profile of three primaries in XYZ under D50, and one curve."""
    tags = {
        name: b"XYZ \0\0\0\0" + struct.pack(">3i", *(round(v * 65536) for v in xyz))
        for name, xyz in zip((b"rXYZ", b"gXYZ", b"bXYZ"), primaries, strict=True)
    }
    tags |= {name: b"curv\0\0\0\0" + struct.pack(">IH", 1, round(gamma * 256)) for name in (b"rTRC", b"gTRC", b"bTRC")}
    body, table, start = b"", struct.pack(">I", len(tags)), 128 + 4 + 12 * len(tags)
    for name, tag in tags.items():
        tag += b"\0" * (-len(tag) % 4)
        table, body = table + struct.pack(">4sII", name, start + len(body), len(tag)), body + tag
    header = struct.pack(">I", start + len(body)) + bytes(12) + b"RGB XYZ ".ljust(20, b"\0") + b"acsp"
    return header.ljust(128, b"\0") + table + body


ADOBE = [[0.60974, 0.31111, 0.01947], [0.20528, 0.62567, 0.06087], [0.14919, 0.06322, 0.74457]]


def test_deep_colours_are_converted_by_their_profile(tmp_path):
    """Against Adobe's own formula: what is neutral stays so, and a green that sRGB holds is greener in it."""
    values = np.zeros((66, 66, 3), np.uint16)
    values[:33], values[33:] = 30000, (30000, 40000, 30000)
    path = tmp_path / "a.tif"
    with tifffile.TiffWriter(path) as file:
        file.write(values, photometric="rgb", iccprofile=profile(ADOBE, 563 / 256))
    seen = images.read_pixels(path)
    assert np.ptp(seen[0, 0]) < 2e-3 and seen[0, 0, 0] == pytest.approx(
        float(display(np.float32((30000 / 65535) ** (563 / 256)))), abs=2e-3
    )
    plain = values[40, 0] / 65535
    assert seen[40, 0, 0] < plain[0] - 0.02 and seen[40, 0, 1] == pytest.approx(plain[1], abs=0.02)
    assert to_srgb(b"no profile at all".ljust(200)) is None


def test_bytes_and_file_objects_are_read_as_files_are(tmp_path):
    gradient().save(tmp_path / "a.png")
    content = (tmp_path / "a.png").read_bytes()
    expected = images.read_picture(tmp_path / "a.png")
    for source in (content, io.BytesIO(content)):
        found = images.read_picture(source)
        assert found.sha256 == expected.sha256 and np.array_equal(found.pixels, expected.pixels)
    with pytest.raises(InputError, match="gives no bytes"):
        images.read_picture(io.StringIO("text"))


def test_dithering_keeps_the_mean_and_leaves_whole_values_alone():
    slope = np.tile(np.linspace(0.2, 0.21, 256, dtype=np.float32)[None, :, None], (256, 1, 3))
    found = Encoding("8", dithered=True).stored(slope)
    assert np.abs(found.mean(0) / 255 - slope[0]).max() < 1e-3, "a slow slope keeps its steps' means"
    assert np.abs(Encoding("8").stored(slope).mean(0) / 255 - slope[0]).max() > 1.5e-3
    parts = [Encoding("8", dithered=True).stored(slope[top : top + 50], top) for top in range(0, 256, 50)]
    np.testing.assert_array_equal(np.concatenate(parts), found)
    whole = np.arange(256, dtype=np.float32).reshape(16, 16, 1).repeat(3, 2) / 255
    np.testing.assert_array_equal(Encoding("8", dithered=True).stored(whole), Encoding("8").stored(whole))


def plain_png(width: int = 80, height: int = 80, claimed: tuple[int, int] | None = None, depth: int = 16) -> bytes:
    """A black RGB PNG, perhaps one whose header claims another size."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", *(claimed or (width, height)), depth, 2, 0, 0, 0)
    rows = b"".join(b"\0" + bytes(width * 3 * depth // 8) for _ in range(height))
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
        "hit end of file": ("deep.png", plain_png()[:-60]),
        "too many pixels": ("bomb.png", plain_png(8, 8, claimed=(60000, 60000), depth=8)),
    }
    found = {}
    for message, (name, data) in content.items():
        (folder / name).write_bytes(data)
        found[message] = folder / name
    found["no such file"] = folder / "absent.png"
    found["holds 2 frames"] = folder / "moving.webp"
    gradient().save(folder / "moving.webp", save_all=True, append_images=[gradient().rotate(90)])
    found["is no regular file"] = folder
    written(folder / "nan.exr", np.full((66, 66, 3), np.nan, np.float32))
    found["holds NaN or infinite values"] = folder / "nan.exr"
    found["4 channels are neither grey nor RGB"] = written(
        folder / "many.exr", np.zeros((66, 66, 4), np.float32), ["X", "Y", "Z", "W"]
    )
    return found


def test_every_unusable_file_has_its_message(tmp_path):
    for message, path in bad_files(tmp_path).items():
        with pytest.raises(InputError, match=message):
            images.read_picture(path)


def test_arrays_of_other_shapes_and_ranges_are_refused():
    with pytest.raises(InputError, match=r"array of shape \(4, 4, 5\)"):
        images.read(np.zeros((4, 4, 5)))
    with pytest.raises(InputError, match=r"tensor of shape \(5, 4, 4\)"):
        images.read(torch.zeros(5, 4, 4))
    with pytest.raises(InputError, match=r"finite and in \[0, 1\]"):
        images.read(torch.full((3, 80, 80), 2.0))


def swapped_profile() -> bytes:
    """Of sRGB, but red is called blue, and blue red."""
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    return srgb.replace(b"rXYZ", b"?XYZ").replace(b"bXYZ", b"rXYZ").replace(b"?XYZ", b"bXYZ")


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P"])
def test_profiles_of_colours_hold_whatever_the_mode(mode, tmp_path):
    picture = gradient().quantize(32).convert("RGB")
    picture.convert(mode).save(tmp_path / "a.png", icc_profile=swapped_profile())
    found = as_integers(images.read_pixels(tmp_path / "a.png")).astype(int)
    assert np.abs(found - np.asarray(picture.convert(mode).convert("RGB"))[..., ::-1]).max() <= 1


def grey_profile(gamma: float) -> bytes:
    """An ICC profile of one curve."""
    white = b"XYZ \0\0\0\0" + struct.pack(">3i", *(round(v * 65536) for v in (0.9642, 1.0, 0.8249)))
    curve = (b"curv\0\0\0\0" + struct.pack(">IH", 1, round(gamma * 256))).ljust(16, b"\0")
    table = struct.pack(">I4sII4sII", 2, b"wtpt", 156, 20, b"kTRC", 176, 14)
    body = table + white + curve
    head = struct.pack(">I4sI4s4s4s", 128 + len(body), bytes(4), 0x02400000, b"mntr", b"GRAY", b"XYZ ")
    return (head + bytes(12) + b"acsp").ljust(128, b"\0") + body


@pytest.mark.parametrize("mode", ["L", "LA"])
def test_profiles_of_greys_hold_with_alpha_and_without(mode, tmp_path):
    """Under gamma 1 a grey of 0.2 is light of 0.2, which sRGB writes as 0.48."""
    picture = Image.new("L", (66, 66), 51).convert(mode)
    if mode == "LA":
        picture.putpixel((0, 0), (51, 0))
    picture.save(tmp_path / "a.png", icc_profile=grey_profile(1.0))
    found = images.read_picture(tmp_path / "a.png")
    assert found.encoding.stored(found.pixels)[9, 9, 0] / 255 == pytest.approx(
        float(display(np.float32(0.2))), abs=0.01
    )


@pytest.mark.parametrize("name", ["a.png", "palette.png", "a.tif"])
def test_a_broken_profile_is_ignored_with_a_warning(name, tmp_path):
    path, broken = tmp_path / name, b"no profile at all".ljust(200)
    if name == "a.tif":
        tifffile.imwrite(path, np.asarray(gradient()).astype(np.uint16) * 257, photometric="rgb", iccprofile=broken)
    else:
        gradient().convert("P" if name == "palette.png" else "RGB").save(path, icc_profile=broken)
    with pytest.warns(UserWarning, match=f"{name}: its colour profile is broken"):
        found = as_integers(images.read_pixels(path))
    if name != "palette.png":
        np.testing.assert_array_equal(found, np.asarray(gradient()))


@pytest.mark.parametrize("suffix", ["gif", "webp", "png"])
def test_a_frame_of_an_animation_is_named(suffix, tmp_path, monkeypatch):
    path, frames = tmp_path / f"a.{suffix}", [Image.new("RGB", (66, 70), colour) for colour in ("red", "blue")]
    frames[0].save(path, save_all=True, append_images=frames[1:], **({"lossless": True} if suffix == "webp" else {}))
    with pytest.raises(InputError, match=rf"a.{suffix}: holds 2 frames; name the wanted one: .*a.{suffix}#1"):
        images.read_picture(path)
    for number, colour in ((1, (255, 0, 0)), (2, (0, 0, 255))):
        assert as_integers(images.read_pixels(f"{path}#{number}"))[5, 5].tolist() == list(colour)
    for wrong in ("0", "3", "x"):
        with pytest.raises(InputError, match=rf"has no frame '{wrong}'; it has 1 to 2"):
            images.read_picture(f"{path}#{wrong}")
    monkeypatch.setattr(decode, "MAX_DECODED", 66 * 70)
    with pytest.raises(InputError, match="too many frames come before it; save the wanted one as a picture of its own"):
        images.read_picture(f"{path}#2")
    frames[0].save(path)
    with pytest.raises(InputError, match="has no layers to choose from; leave #1 out"):
        images.read_picture(f"{path}#1")


def test_pillows_deep_images_are_read_as_what_they_are():
    values = np.arange(66 * 66, dtype=np.int32).reshape(66, 66)
    found = images.read_picture(Image.fromarray(values))
    assert found.encoding == Encoding("16", colours=1)
    np.testing.assert_array_equal(found.encoding.stored(found.pixels)[..., 0], values)
    light = images.read_picture(Image.fromarray(np.full((66, 66), 0.2, np.float32)))
    assert light.encoding == Encoding("float", colours=1)
    assert light.pixels[0, 0, 0] == pytest.approx(float(display(np.float32(0.2))))
    with pytest.raises(InputError, match="values of the kind I from -1 to 4354; give them from 0 to 65535"):
        images.read_picture(Image.fromarray(values - 1))


@pytest.mark.parametrize("dtype", ["int32", "uint32", "int16"])
def test_integers_that_say_nothing_of_their_range_are_refused(dtype, tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", np.ones((66, 66), dtype))
    for read in (images.read_picture, images.read_raw, PictureRows):
        with pytest.raises(InputError, match=r"a.tif: holds u?int\w* values; save it with 8 or 16 bits"):
            read(tmp_path / "a.tif")


def test_an_animation_of_sixteen_bits_and_one_inside_a_jpeg(tmp_path):
    """The first is refused; the other pictures of a JPEG are previews of it."""
    content = plain_png()
    (tmp_path / "a.png").write_bytes(content[:33] + struct.pack(">I", 8) + b"acTL" + bytes(12) + content[33:])
    with pytest.raises(InputError, match="is an animation of 16 bits; save the wanted frame"):
        images.read_picture(tmp_path / "a.png")
    gradient().save(tmp_path / "a.jpg", "MPO", save_all=True, append_images=[gradient(40, 48)], quality=95)
    assert images.read_picture(tmp_path / "a.jpg").size == (96, 80)
