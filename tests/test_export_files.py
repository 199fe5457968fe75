"""Packing, and the files that carry a material as a whole, by their own validators where these are installed."""

from __future__ import annotations

import json
import shutil
import struct
import subprocess
import sys

import numpy as np
import pytest
import tifffile
from PIL import Image
from test_export import DX, GL, SIDE, A, R, flat, material, only, pixels, sidecar

import texgen
from texgen.errors import InputError, OptionError
from texgen.exports import glb
from texgen.exports.pack import BAND, Packed, Source, sources_of
from texgen.exports.profiles import Channel
from texgen.files.encoding import display, thresholds
from texgen.files.row_reader import PictureRows
from texgen.materials.maps import open_map, read_map

RANDOM = np.random.default_rng(3)


def vectors(normals: np.ndarray) -> np.ndarray:
    return normals.astype(np.float64) / np.iinfo(normals.dtype).max * 2 - 1


def rough_normals(dtype) -> np.ndarray:
    """Random vectors that point up, as integers."""
    found = RANDOM.normal(0, 0.4, (SIDE, SIDE, 3))
    found[..., 2] = 1
    found /= np.linalg.norm(found, axis=-1, keepdims=True)
    return np.rint((found + 1) / 2 * np.iinfo(dtype).max).astype(dtype)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_flipped_normals_keep_x_and_z_turn_y_and_have_length_one(dtype, tmp_path):
    normals = rough_normals(dtype)
    texgen.export(only(normal=normals), tmp_path / "out", "unreal")
    flipped = vectors(pixels(tmp_path / "out" / "T_wall_N.png"))
    assert np.abs(flipped - vectors(normals) * [1, -1, 1]).max() < 2.2 / 255
    assert np.abs(np.linalg.norm(flipped, axis=-1) - 1).max() < 2 * 3**0.5 / 255


def test_normals_that_need_no_change_are_copied(tmp_path):
    up, down = rough_normals(np.uint16), rough_normals(np.uint16)
    texgen.export(only(normal=up // 2, normal_dx=down), tmp_path / "a", "standard")
    assert np.array_equal(pixels(tmp_path / "a" / "wall_normal.png"), up // 2)
    assert sidecar(tmp_path / "a")["normal"] == {"y": "up", "flipped": False}
    shallow = rough_normals(np.uint8)
    texgen.export(only(normal=up, normal_dx=shallow), tmp_path / "b", "unreal")
    assert np.array_equal(pixels(tmp_path / "b" / "T_wall_N.png"), shallow)


def test_normals_of_floats_are_taken_in_either_range(tmp_path):
    for name, values in (("half", np.float32(GL)), ("full", np.float32(GL) * 2 - 1)):
        values = np.where(
            np.arange(SIDE)[:, None, None] < 32,
            values,
            np.float32([0.4, 0.5, 0.6] if name == "half" else [-0.2, 0, 0.2]),
        )
        texgen.export(
            only(normal=np.broadcast_to(values, (SIDE, SIDE, 3)).astype(np.float32)), tmp_path / name, "standard"
        )
        assert pixels(tmp_path / name / "wall_normal.png")[0, 0] / 65535 == pytest.approx(GL, abs=1e-4)
    nothing = np.full((SIDE, SIDE, 3), 127, np.uint8)
    texgen.export(only(normal_dx=nothing), tmp_path / "none", "standard")
    assert pixels(tmp_path / "none" / "wall_normal.png")[0, 0].tolist() == [32768, 32768, 65535]
    assert DX[1] == pytest.approx(1 - GL[1])


def test_dithering_keeps_the_mean_and_what_8_bits_hold():
    ramp = np.linspace(0, 65535, 256 * 256).astype(np.uint16).reshape(256, 256, 1)
    packed = Packed([Channel("ao")], {"ao": Source(pixels=ramp)}, np.uint8)
    assert packed.dithered
    shallow = packed[0:256].astype(np.float64)
    assert np.abs(shallow / 255 - ramp / 65535).max() < 1 / 255
    assert shallow.mean() / 255 == pytest.approx(ramp.mean() / 65535, abs=2e-4)
    flat_between = Source(pixels=np.full((64, 64, 1), 100.25 * 257, np.float32).astype(np.uint16))
    between = Packed([Channel("ao")], {"ao": flat_between}, np.uint8)[0:64]
    assert (between == 101).mean() == pytest.approx(0.25, abs=0.01)
    for dtype, exact in ((np.uint16, np.arange(256) * 257), (np.float32, np.arange(256) / 255)):
        row = Source(pixels=np.broadcast_to(exact.astype(dtype)[:, None, None], (256, 300, 1)))
        again = Packed([Channel("ao"), Channel("ao", inverted=True)], {"ao": row}, np.uint8)[0:256]
        assert (again[..., 0] == np.arange(256)[:, None]).all() and (
            again[..., 1] == 255 - np.arange(256)[:, None]
        ).all()


def test_dither_does_not_depend_on_bands_and_neighbours_differ():
    whole = thresholds(0, 200, 90, 1)
    assert np.array_equal(whole[130:], thresholds(130, 200, 90, 1))
    assert whole.min() > 0 and whole.max() < 1 and whole.mean() == pytest.approx(0.5, abs=0.01)
    assert np.abs(np.diff(whole, axis=1)).min() > 0.2
    map = Source(pixels=RANDOM.random((200, 33, 1)).astype(np.float32))
    packed = Packed([Channel("ao")], {"ao": map}, np.uint8)
    assert np.array_equal(packed[0:200][77:150], packed[77:150])


def test_only_bands_of_rows_are_asked_for(tmp_path):
    class Watched:
        shape, dtype = (300, 40, 3), np.dtype(np.uint16)

        def __getitem__(self, rows):
            assert rows.stop - rows.start <= BAND
            return np.full((rows.stop - rows.start, 40, 3), 30000, np.uint16)

    every = {name: Watched() for name in material().maps}
    for name in ("unreal", "unity-hdrp", "standard"):
        texgen.export(only(**every), tmp_path / name, name)


def test_floats_of_colour_are_encoded_as_srgb(tmp_path):
    linear = np.float32([0.0, 0.001, 0.2140])
    assert display(linear) == pytest.approx([0, 0.01292, 0.5], abs=1e-4)
    texgen.export(only(color=np.broadcast_to(linear, (SIDE, SIDE, 3))), tmp_path / "out", "standard")
    assert pixels(tmp_path / "out" / "wall_color.png")[0, 0].tolist() == pytest.approx([0, 847, 32766], abs=3)


def test_the_alpha_of_a_colour_is_its_opacity_unless_it_is_opaque():
    alpha = np.dstack([flat((0.1, 0.2, 0.3)), flat(A)])
    found = sources_of(only(color=alpha), "gl")
    assert Packed([Channel("opacity")], found, np.uint8)[0:1][0, 0].tolist() == [153]
    opaque = np.dstack([alpha[..., :3], flat(1.0)])
    assert set(sources_of(only(color=opaque), "gl")) == {"color"}
    assert sources_of(only(color=alpha, opacity=flat(R)), "gl")["opacity"].channels == (0, 0, 0)


def test_heights_in_metres_are_scaled_and_their_range_is_told(tmp_path):
    heights = np.linspace(-0.02, 0.03, SIDE * SIDE, dtype=np.float32).reshape(SIDE, SIDE, 1)
    for name in ("usd", "godot"):
        texgen.export(only(height=heights), tmp_path / name, name, height_m=1)
    scaled = pixels(tmp_path / "usd" / "wall_displacement.png")
    assert (scaled[0, 0, 0], scaled[-1, -1, 0]) == (0, 65535)
    said = sidecar(tmp_path / "usd")["height"]
    assert said["range"] == pytest.approx([-0.02, 0.03]) and said["height_m"] == pytest.approx(0.05)
    assert np.array_equal(pixels(tmp_path / "godot" / "wall_height.exr"), heights)
    assert sidecar(tmp_path / "godot")["height"] == {"range": [0, 1], "height_m": 1}


def test_rows_of_a_file_are_those_of_the_whole_file(tmp_path):
    texgen.export(material(), tmp_path / "out", "godot")
    for path in (tmp_path / "out" / "wall_height.exr", tmp_path / "out" / "wall_albedo.png"):
        whole, rows = read_map(path, "map"), PictureRows(path)
        assert (rows.shape, rows.dtype) == (whole.shape, whole.dtype)
        for top, bottom in ((20, 64), (0, 7), (5, 5), (0, 200)):
            assert np.array_equal(rows[top:bottom], whole[top:bottom])
    tifffile.imwrite(tmp_path / "tiled.tif", flat(R, np.uint16)[..., 0], tile=(16, 16))
    assert np.array_equal(open_map(tmp_path / "tiled.tif", "map")[20:30], flat(R, np.uint16)[20:30])
    with pytest.raises(InputError, match="no such file"):
        PictureRows(tmp_path / "none.png")
    (tmp_path / "text.png").write_text("text")
    with pytest.raises(InputError, match=r"broken or truncated|cannot be read"):
        PictureRows(tmp_path / "text.png")
    with pytest.raises(InputError, match="a map of normals needs 3"):
        open_map(tmp_path / "out" / "wall_height.exr", "normal")


def parts(content: bytes) -> tuple[dict, bytes]:
    """The document and the buffer of a `.glb`."""
    magic, version, length = struct.unpack_from("<4sII", content)
    assert (magic, version, length) == (b"glTF", 2, len(content))
    size, kind = struct.unpack_from("<I4s", content, 12)
    inner, binary = struct.unpack_from("<I4s", content, 20 + size)
    assert (kind, binary, 28 + size + inner, size % 4, inner % 4) == (b"JSON", b"BIN\0", length, 0, 0)
    return json.loads(content[20 : 20 + size]), content[28 + size :]


def test_a_glb_holds_a_plane_and_its_textures(tmp_path):
    texgen.export(material(), tmp_path / "out", "gltf", size_m=0.5)
    document, buffer = parts((tmp_path / "out" / "wall.glb").read_bytes())
    assert document["buffers"] == [{"byteLength": len(buffer)}]
    surface = document["materials"][0]
    names = ("baseColorTexture", "metallicRoughnessTexture")
    infos = [surface["pbrMetallicRoughness"][name] for name in names] + [
        surface["normalTexture"],
        surface["emissiveTexture"],
    ]
    assert surface["occlusionTexture"] == infos[1] and surface["alphaMode"] == "BLEND"
    for info, channels in zip(infos, (4, 3, 3, 3), strict=True):
        assert info["extensions"]["KHR_texture_transform"] == {"scale": [2, 2]}
        view = document["bufferViews"][document["images"][document["textures"][info["index"]]["source"]]["bufferView"]]
        start, length = view["byteOffset"], view["byteLength"]
        assert (
            start % 4 == 0
            and buffer[start : start + 8] == b"\x89PNG\r\n\x1a\n"
            and buffer[start + length - 8 :][:4] == b"IEND"
        )
        (tmp_path / "t.png").write_bytes(buffer[start : start + length])
        with Image.open(tmp_path / "t.png") as image:
            assert (image.size, len(image.getbands())) == ((SIDE, SIDE), channels)
    plane = glb.plane(0.5, 0.25, metric=True)
    top = plane["POSITION"][:, 1] == 0.5
    assert (plane["TEXCOORD_0"][top, 1] == 0).all() and plane["TEXCOORD_0"].max(0).tolist() == [1, 0.5]
    corners = plane["POSITION"][plane["indices"].reshape(-1, 3)]
    assert (np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])[:, 2] > 0).all()


def test_a_glb_over_4_gib_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(glb, "_padded", lambda length: 2**29)
    with pytest.raises(OptionError, match="4 GiB"):
        texgen.export(material(), tmp_path / "out", "gltf")
    assert not list(tmp_path.iterdir())


VALIDATE = """
const validator = require("gltf-validator"), fs = require("fs");
const check = (path) => validator.validateBytes(new Uint8Array(fs.readFileSync(path))).then((found) => found.issues);
Promise.all(process.argv.slice(1).map(check)).then((issues) => console.log(JSON.stringify(issues)));
"""
FEW = {"color": None, "normal": None, "ao": None, "opacity": None, "emission": None}


def exported(tmp_path, name: str):
    """The side files of a full material, one without size, and one of few maps."""
    cases = {"full": ({}, {"size_m": 0.7, "height_m": 0.02}), "plain": ({}, {}), "few": (FEW, {"size_m": 3})}
    for case, (maps, options) in cases.items():
        texgen.export(material(**maps), tmp_path / case, name, **options)
        yield next(path for path in (tmp_path / case).iterdir() if path.suffix in (".glb", ".mtlx", ".usda"))


def test_khronos_validator_finds_nothing_in_a_glb(tmp_path):
    node = shutil.which("node")
    if node is None or subprocess.run([node, "-e", "require('gltf-validator')"], capture_output=True).returncode:
        pytest.skip("needs node, and gltf-validator from npm in NODE_PATH")
    done = subprocess.run([node, "-e", VALIDATE, *exported(tmp_path, "gltf")], capture_output=True, check=True)
    for issues in json.loads(done.stdout):
        assert issues["messages"] == []


def test_materialx_validates_its_documents(tmp_path):
    materialx = pytest.importorskip("MaterialX")
    library = materialx.createDocument()
    materialx.loadLibraries(materialx.getDefaultDataLibraryFolders(), materialx.getDefaultDataSearchPath(), library)
    for path in exported(tmp_path, "materialx"):
        document = materialx.createDocument()
        document.setDataLibrary(library)
        materialx.readFromXmlFile(document, str(path))
        assert document.validate() == (True, "")
        (surface,) = materialx.getShaderNodes(document.getMaterialNodes()[0])
        assert surface.getNodeDef() is not None
        files = [
            each.getValueString()
            for node in document.getNodeGraph("NG_wall").getNodes()
            for each in node.getInputs()
            if each.getType() == "filename"
        ]
        assert files and all((path.parent / file).is_file() for file in files)
        assert all(node.getNodeDef() is not None for node in document.getNodeGraph("NG_wall").getNodes())


USD = """
import sys
from pxr import Usd, UsdShade, UsdValidation
context = UsdValidation.ValidationContext(UsdValidation.ValidationRegistry().GetOrLoadAllValidators())
for path in sys.argv[1:]:
    stage = Usd.Stage.Open(path)
    assert UsdShade.MaterialBindingAPI(stage.GetPrimAtPath("/wall/Plane")).ComputeBoundMaterial()[0]
    print([(each.GetName(), each.GetMessage()) for each in context.Validate(stage)])
"""


def test_usds_validators_find_nothing_but_what_is_wrong(tmp_path):
    pytest.importorskip("pxr")
    paths = [*exported(tmp_path, "usd")]
    wrong = paths[0].with_name("wrong.usda")
    wrong.write_text(paths[0].read_text().replace("float4 inputs:bias", "float4 inputs:bios"))
    done = subprocess.run([sys.executable, "-c", USD, *paths, wrong], capture_output=True, check=True, text=True)
    *found, last = done.stdout.splitlines()
    assert found == ["[]"] * 3 and "bias" in last.lower()
