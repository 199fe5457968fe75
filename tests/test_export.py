"""Exports: what each profile writes, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import OpenImageIO as oiio
import pytest
from PIL import Image
from test_cli import run

import texgen
from docs.tables import MARK, profiles
from texgen.errors import InputError, LockedError, OptionError
from texgen.exports.profiles import PROFILES
from texgen.files.folders import published_folder
from texgen.files.row_reader import PictureRows
from texgen.materials.material import Material, read_material

SIDE = 64
COLOR, EMISSION = (10 / 255, 20 / 255, 30 / 255), (5 / 255, 6 / 255, 7 / 255)
GL, DX = (0.74, 0.8, 0.82), (0.74, 0.2, 0.82)
R, AO, M, A, H = 0.2, 0.8, 0.4, 0.6, 0.5
GOLDEN = {
    "standard": {
        "wall_color.png": ("uint16", COLOR), "wall_normal.png": ("uint16", GL), "wall_height.png": ("uint16", H), "wall_roughness.png": ("uint16", R),
        "wall_ao.png": ("uint16", AO), "wall_metalness.png": ("uint16", M), "wall_opacity.png": ("uint16", A), "wall_emission.png": ("uint16", EMISSION),
    },
    "polyhaven": {
        "wall_diff_64x64.png": ("uint8", COLOR), "wall_nor_gl_64x64.png": ("uint16", GL), "wall_disp_64x64.png": ("uint16", H),
        "wall_rough_64x64.png": ("uint8", R), "wall_ao_64x64.png": ("uint8", AO), "wall_metal_64x64.png": ("uint8", M),
        "wall_arm_64x64.png": ("uint8", (AO, R, M)), "wall_opacity_64x64.png": ("uint8", A), "wall_emission_64x64.png": ("uint8", EMISSION),
    },
    "ambientcg": {
        "wall_64x64_Color.png": ("uint8", COLOR), "wall_64x64_NormalGL.png": ("uint16", GL), "wall_64x64_Displacement.png": ("uint16", H),
        "wall_64x64_Roughness.png": ("uint8", R), "wall_64x64_AmbientOcclusion.png": ("uint8", AO), "wall_64x64_Metalness.png": ("uint8", M),
        "wall_64x64_Opacity.png": ("uint8", A), "wall_64x64_Emission.png": ("uint8", EMISSION),
    },
    "unreal": {
        "T_wall_BC.png": ("uint8", COLOR), "T_wall_N.png": ("uint8", DX), "T_wall_ORM.png": ("uint8", (AO, R, M)),
        "T_wall_H.png": ("uint16", H), "T_wall_A.png": ("uint8", A), "T_wall_E.png": ("uint8", EMISSION),
    },
    "unity-urp": {
        "wall_BaseMap.png": ("uint8", (*COLOR, A)), "wall_MetallicSmoothness.png": ("uint8", (M, M, M, 1 - R)), "wall_Normal.png": ("uint8", GL),
        "wall_Height.png": ("uint16", H), "wall_Occlusion.png": ("uint8", AO), "wall_Emission.png": ("uint8", EMISSION),
    },
    "unity-hdrp": {
        "wall_BaseColorMap.png": ("uint8", (*COLOR, A)), "wall_MaskMap.png": ("uint8", (M, AO, 1, 1 - R)), "wall_NormalMap.png": ("uint8", GL),
        "wall_HeightMap.png": ("uint16", H), "wall_EmissiveColorMap.png": ("uint8", EMISSION),
    },
    "godot": {
        "wall_albedo.png": ("uint8", (*COLOR, A)), "wall_normal.png": ("uint8", GL), "wall_orm.png": ("uint8", (AO, R, M)),
        "wall_height.exr": ("float32", H), "wall_emission.png": ("uint8", EMISSION),
    },
    "gltf": {},
    "materialx": {
        "wall_base_color.png": ("uint8", COLOR), "wall_specular_roughness.png": ("uint8", R), "wall_metalness.png": ("uint8", M),
        "wall_normal.png": ("uint16", GL), "wall_opacity.png": ("uint8", A), "wall_emission_color.png": ("uint8", EMISSION), "wall_height.png": ("uint16", H),
    },
    "usd": {
        "wall_diffuseColor.png": ("uint8", COLOR), "wall_roughness.png": ("uint8", R), "wall_metallic.png": ("uint8", M), "wall_normal.png": ("uint8", GL),
        "wall_occlusion.png": ("uint8", AO), "wall_opacity.png": ("uint8", A), "wall_emissiveColor.png": ("uint8", EMISSION), "wall_displacement.png": ("uint16", H),
    },
}  # fmt: skip
"""Of each file its depth, and the means of its channels down the middle of the picture."""


def flat(values, dtype=np.uint8):
    scale = np.iinfo(dtype).max if np.dtype(dtype).kind == "u" else 1
    return np.broadcast_to(
        np.asarray(values, np.float64) * scale + (scale > 1) / 2, (SIDE, SIDE, np.size(values))
    ).astype(dtype)


def material(**maps) -> Material:
    """All maps, each unlike the others; the colour and the height with a gradient."""
    color = (
        flat(COLOR)
        + np.uint8([1, 0, 0])
        * np.arange(-32, 32, dtype=np.int8).astype(np.uint8)[None, :, None]
        * (np.arange(SIDE) > 40)[None, :, None]
    )
    ramp = np.broadcast_to(np.linspace(0, 1, SIDE, dtype=np.float32)[:, None, None], (SIDE, SIDE, 1))
    found = {
        "color": color, "normal": flat(GL, np.uint16), "height": ramp, "roughness": flat(R), "ao": flat(AO), "metalness": flat(M), "opacity": flat(A),
        "emission": flat(EMISSION),
    }  # fmt: skip
    return Material(name="wall", maps={name: value for name, value in {**found, **maps}.items() if value is not None})


def only(**maps) -> Material:
    return Material(name="wall", maps=maps)


def pixels(path: Path) -> np.ndarray:
    rows = PictureRows(path)
    return rows[0 : rows.shape[0]]


def unit(values: np.ndarray) -> np.ndarray:
    return values / np.iinfo(values.dtype).max if values.dtype.kind == "u" else values


def sidecar(folder: Path) -> dict:
    return json.loads((folder / "wall.json").read_text())


@pytest.mark.parametrize("name", PROFILES)
def test_a_profile_writes_its_channels_signs_depths_and_names(name, tmp_path):
    texgen.export(material(), tmp_path / "out", name)
    side = PROFILES[name].side_file
    extra = {"wall.json", *([] if side is None else [f"wall{side}"])}
    assert {path.name for path in (tmp_path / "out").iterdir()} == GOLDEN[name].keys() | extra
    for file, (dtype, expected) in GOLDEN[name].items():
        values = pixels(tmp_path / "out" / file)
        assert (str(values.dtype), values.shape[2]) == (dtype, np.size(expected)), file
        assert unit(values)[:, 32].mean(0) == pytest.approx(np.atleast_1d(expected), abs=0.3 / 255), file


def test_two_exports_to_one_folder_do_not_run_at_once(tmp_path):
    with published_folder(tmp_path / "out") as part, pytest.raises(LockedError, match="another run"):
        texgen.export(material(), tmp_path / "out", "unreal")
    assert not part.exists() and [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize("name", PROFILES)
def test_the_sidecar_lists_the_files_and_what_they_hold(name, tmp_path):
    texgen.export(material(metalness=None, height=None), tmp_path / "out", name)
    said = sidecar(tmp_path / "out")
    assert (said["profile"], said["size_px"], said["size_m"]) == (name, [SIDE, SIDE], None)
    named = {each["file"] for each in said["textures"]} | {said.get("material_file", {}).get("file", "wall.json")}
    assert named | {"wall.json"} == {path.name for path in (tmp_path / "out").iterdir()}
    packed = [each for each in said["textures"] if "metalness" in each["channels"]]
    assert all(each["constants"] == {"metalness": 0.0} for each in packed)
    assert bool(packed) == (name in ("polyhaven", "unreal", "unity-urp", "unity-hdrp", "godot", "gltf"))
    assert len(said["left_out"]) == len(PROFILES[name].outputs) - len(said["textures"])
    assert ("wall.json" in named) == (PROFILES[name].side_file is None)


@pytest.mark.parametrize("name", ["standard", "polyhaven", "ambientcg"])
def test_an_export_in_the_names_of_a_library_is_read_back(name, tmp_path):
    texgen.export(material(), tmp_path / "out", name)
    found = read_material(tmp_path / "out")
    assert (found.name, found.maps.keys()) == ("wall", material().maps.keys())


def test_the_page_holds_the_table_of_profiles():
    page = (Path(__file__).parent.parent / "docs" / "export.md").read_text()
    assert page.split(MARK)[1].strip() == profiles().strip(), "run: python docs/tables.py"


def test_missing_maps_are_constants_in_packed_textures_and_else_left_out(tmp_path):
    exported = texgen.export(only(roughness=flat(R), opacity=flat(A)), tmp_path / "out", "unity-hdrp")
    assert [path.name for path in exported.files] == ["wall_MaskMap.png", "wall.json"]
    assert pixels(exported.files[0])[0, 0].tolist() == [0, 255, 255, 204]
    (line,) = exported.report()
    assert line == (
        "unity-hdrp: 1 texture; no ao: 1 in its place; no metalness: 0 in its place; left out BaseColorMap, NormalMap, "
        "HeightMap, EmissiveColorMap; no place for opacity"
    )  # fmt: skip
    texgen.export(only(ao=flat(AO)), tmp_path / "unreal", "unreal")
    assert pixels(tmp_path / "unreal" / "T_wall_ORM.png")[0, 0].tolist() == [204, 128, 0]
    with pytest.raises(OptionError, match="wall: has no map that gltf takes, only height"):
        texgen.export(only(height=flat(H)), tmp_path / "none", "gltf")


def test_several_profiles_go_to_folders_of_their_names(tmp_path):
    texgen.export(material(), tmp_path / "out", ["unreal, godot", "usd"])
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["godot", "unreal", "usd"]
    for names in ("unreal,amiga", ""):
        with pytest.raises(OptionError, match="choose from standard, polyhaven"):
            texgen.export(material(), tmp_path / "out", names)


@pytest.mark.parametrize(
    ("name", "cap"), [("unreal", 8192), ("unity-urp", 16384), ("unity-hdrp", 16384), ("godot", 16384), ("gltf", 8192)]
)
def test_a_material_over_the_cap_is_refused_and_one_at_the_cap_is_not(name, cap, tmp_path):
    texgen.export(only(color=np.zeros((1, cap, 3), np.uint8)), tmp_path / "at", name)
    over = only(color=np.zeros((1, cap + 1, 3), np.uint8))
    with pytest.raises(OptionError, match=rf"{cap + 1}x1 px; {name} takes at most {cap} px a side .*resize the maps"):
        texgen.export(over, tmp_path / "over", name)
    assert not (tmp_path / "over").exists()


def test_nothing_is_overwritten_and_what_else_is_in_the_folder_stays(tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "T_wall_N.png").write_bytes(b"mine")
    with pytest.raises(OptionError, match=r"T_wall_N.png: exists already"):
        texgen.export(material(), out, "unreal")
    assert [path.name for path in tmp_path.rglob("*")] == ["out", "T_wall_N.png"]
    texgen.export(material(), out, "godot")
    assert len(list(out.iterdir())) == 7 and (out / "T_wall_N.png").read_bytes() == b"mine"
    with pytest.raises(OptionError, match=r"exists already"):
        texgen.export(material(), out, "godot")
    for bad, words in ((out / "T_wall_N.png", "is a file"), (tmp_path / "no" / "out", "no such folder"), ("/", "root")):
        with pytest.raises(OptionError, match=words):
            texgen.export(material(), bad, "unreal")


def test_a_failed_export_leaves_nothing(tmp_path):
    broken = np.full((SIDE, SIDE, 1), np.nan, np.float32)
    with pytest.raises(InputError, match="NaN"):
        texgen.export(material(roughness=broken), tmp_path / "out", "unreal,usd")
    picture = tmp_path / "in.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (SIDE, SIDE, 3), np.uint8)).save(picture)
    picture.write_bytes(picture.read_bytes()[:6000])
    with pytest.raises(InputError, match="broken or truncated"):
        texgen.export(picture, tmp_path / "out", "unreal")
    assert [path.name for path in tmp_path.iterdir()] == ["in.png"]


def test_the_same_material_gives_the_same_bytes_without_paths(tmp_path):
    first, second = (
        texgen.export(material(), tmp_path / name, tuple(PROFILES), size_m=2, height_m=0.1).files for name in ("a", "b")
    )
    for one, other in zip(first, second, strict=True):
        content = one.read_bytes()
        assert content == other.read_bytes(), one.name
        assert str(tmp_path).encode() not in content, one.name


@pytest.mark.parametrize(
    ("template", "words"),
    [
        ("{name}", "two textures one name"),
        ("{map}/{name}", "no file name"),
        ("{nam}_{map}", "fields"),
        ("{map", "fields"),
        ("..{map}", "no file name"),
    ],
)
def test_a_template_that_makes_no_names_is_refused(template, words, tmp_path):
    with pytest.raises(OptionError, match=words):
        texgen.export(material(), tmp_path / "out", "unreal", template=template)


def test_a_template_names_the_textures(tmp_path):
    texgen.export(only(color=flat(COLOR)), tmp_path / "out", "unreal", template="{map}-{name}.{size}.{height:05d}")
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"BC-wall.64x64.00064.png", "wall.json"}


def test_physical_size_is_kept_in_pictures_and_sidecar(tmp_path):
    texgen.export(material(), tmp_path / "a", "godot", size_m=0.5)
    texgen.export(material(), tmp_path / "b", "godot", texel_density=128)
    for folder in (tmp_path / "a", tmp_path / "b"):
        assert (sidecar(folder)["size_m"], sidecar(folder)["texel_density"]) == ([0.5, 0.5], 128)
        with Image.open(folder / "wall_orm.png") as image:
            assert image.info["dpi"] == pytest.approx((128 * 0.0254,) * 2, rel=1e-3)
            assert "srgb" not in image.info
        spec = oiio.ImageInput.open(str(folder / "wall_height.exr")).spec()
        assert spec.getattribute("XResolution") == pytest.approx(128 * 0.0254)
    with pytest.raises(OptionError, match="give one of them"):
        texgen.export(material(), tmp_path / "c", size_m=1, texel_density=1)
    for bad in (0, -1, float("nan")):
        with pytest.raises(OptionError, match=r"height_m=.* must be from"):
            texgen.export(material(), tmp_path / "c", height_m=bad)


def test_the_command_exports_and_refuses_with_its_exit_codes(capsys, tmp_path):
    texgen.export(material(), tmp_path / "in", "standard")
    call = (
        "export",
        tmp_path / "in",
        "-o",
        tmp_path / "out",
        "--profile",
        "unreal",
        "--profile",
        "godot,usd",
        "--size-m",
        2,
    )
    assert run(capsys, *call) == (0, "", "unreal: 6 textures\ngodot: 5 textures\nusd: 8 textures\n")
    code, _, stderr = run(capsys, *call)
    assert code == 2 and "exists already" in stderr
    assert run(capsys, "export", tmp_path / "none", "-o", tmp_path / "new")[0] == 3
    assert run(capsys, "export", tmp_path / "in" / "wall_color.png", "-o", tmp_path / "new", "--profile", "vhs")[0] == 2


def test_a_deep_swatch_with_maps_grows_in_register_and_goes_to_every_profile(tmp_path):
    side = 96
    random = np.random.default_rng(3)
    colour = np.kron(random.random((12, 12, 3)), np.ones((8, 8, 1))) * 0.9 + 0.1 * random.random((side, side, 3))
    place = np.arange(side * side).reshape(side, side, 1)  # its own number, so that each pixel tells where it is from
    maps = {
        "height": (place * 7).astype(np.uint16),
        "normal": flat(GL, np.uint16)[:1, :1].repeat(side, 0).repeat(side, 1),
        "roughness": (place % 251).astype(np.uint8),
    }
    made = texgen.expand((colour * 65535).astype(np.uint16), 128, maps=maps, with_map=True, preset="draft", seed=1)
    _, y, x = made.coordinates
    height, roughness = (made.maps[name][0:128][..., 0] for name in ("height", "roughness"))
    same = height == maps["height"][y, x, 0]
    assert same.mean() > 0.65, "the others are blends"
    assert (roughness == maps["roughness"][y, x, 0])[same].mean() > 0.99, (
        "a blend may come to the height of its pixel, too"
    )
    made.save(tmp_path / "wall.png")
    for name in PROFILES:
        exported = texgen.export(tmp_path / "wall.png", tmp_path / name, name, size_m=1.5)
        found = exported.sidecars[name]
        assert found["size_px"] == [128, 128] and found["size_m"] == [1.5, 1.5] and len(found["textures"]) >= 3, name
        assert set(found["unused"]) <= {"height"}, "all have a place for colour, normals and roughness"


def test_what_is_too_large_is_cut_into_udim_tiles_that_make_the_whole(tmp_path):
    values = np.random.default_rng(0).random((512, 1024, 3), np.float32)
    wide = only(color=values, height=values[..., :1])
    texgen.export(wide, tmp_path / "whole", "unreal")
    exported = texgen.export(wide, tmp_path / "cut", "unreal", split=256)
    assert len(exported.files) == 2 * 8 + 1
    for name in ("T_wall_BC", "T_wall_H"):
        rows = [[pixels(tmp_path / "cut" / f"{name}.{1001 + x + 10 * y}.png") for x in range(4)] for y in (1, 0)]
        joined = np.concatenate([np.concatenate(row, 1) for row in rows])
        assert np.array_equal(joined, pixels(tmp_path / "whole" / f"{name}.png"))
    assert {tuple(each["part"]) for each in sidecar(tmp_path / "cut")["textures"]} >= {
        (256, 0, 256, 256),
        (0, 768, 256, 256),
    }
    for profile, split, said in (
        ("gltf", 256, "material of whole textures"),
        ("unreal", 400, "cannot be cut"),
        ("unreal", 100, "must be from 256"),
    ):
        with pytest.raises(OptionError, match=said):
            texgen.export(wide, tmp_path / "no", profile, split=split)
    big = only(color=np.broadcast_to(np.zeros((1, 1, 3), np.uint8), (1, 8193, 3)))
    with pytest.raises(OptionError, match="or cut them into UDIM tiles with split=8192"):
        texgen.export(big, tmp_path / "no", "unreal")
    assert not (tmp_path / "no").exists()
