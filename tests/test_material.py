"""Materials: which file holds which map."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from texgen.errors import InputError
from texgen.files.pixels import as_float
from texgen.materials.material import map_name, read_material


def picture(path, side=8, value=100):
    Image.fromarray(np.full((side, side, 3), value, np.uint8)).save(path)


@pytest.mark.parametrize(
    ("stem", "expected"),
    [
        ("wall", ("wall", None)),
        ("wall_normal", ("wall", "normal")),
        ("brick_wall_nor_gl_4k", ("brick_wall", "normal")),
        ("Rock_4K_NormalDX", ("Rock", "normal_dx")),
        ("T_Rock_BC", ("T_Rock", "color")),
        ("normal", ("normal", None)),
        ("Rock-AmbientOcclusion", ("Rock", "ao")),
    ],
)
def test_a_files_name_says_which_map_it_holds(stem, expected):
    assert map_name(stem) == expected


def test_a_material_is_read_from_any_of_its_pictures_or_its_folder(tmp_path):
    for name in ("wall", "wall_normal", "wall_rough", "wall_preview"):
        picture(tmp_path / f"{name}.png")
    for path in (tmp_path, tmp_path / "wall.png", tmp_path / "wall_rough.png"):
        material = read_material(path)
        assert (material.name, sorted(material.maps), material.size) == (
            "wall",
            ["color", "normal", "roughness"],
            (8, 8),
        )
    assert as_float(material.maps["color"]).max() == pytest.approx(100 / 255)


def test_what_is_no_single_material_is_refused(tmp_path):
    with pytest.raises(InputError, match="no such file or folder"):
        read_material(tmp_path / "none.png")
    picture(tmp_path / "wall_color.png")
    picture(tmp_path / "wall.png")
    with pytest.raises(InputError, match="a second file for the map color of wall"):
        read_material(tmp_path)
    (tmp_path / "wall_color.png").unlink()
    picture(tmp_path / "wall_height.png", side=16)
    with pytest.raises(InputError, match=r"of several sizes \(color 8x8, height 16x16\)"):
        read_material(tmp_path)
    picture(tmp_path / "rock_normal.png")
    with pytest.raises(InputError, match="holds 2 materials"):
        read_material(tmp_path)
