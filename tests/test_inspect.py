"""What files tell: facts, recipe, the command that makes them again; what stands in the way of writing them."""

from __future__ import annotations

import json
import shlex
import shutil
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from test_cli import run

import texgen
from texgen.errors import InputError, OptionError
from texgen.files.image import read_pixels
from texgen.files.targets import check_free
from texgen.previews import render

SMALL = ("--size", "96", "--preset", "draft")


@pytest.fixture
def here(tmp_path, monkeypatch, swatch) -> Path:
    """An empty folder with a swatch, as the current one."""
    with Image.open(swatch) as image:
        image.crop((0, 0, 128, 128)).save(tmp_path / "brick.png")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def snapshot(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("suffix", "more"),
    [(".png", ["--bit-depth", "16", "--tileable", "x", "--flatten-light"]), (".tif", ["--crop", "0,0,90,80", "--pyramid"]),
     (".exr", []), (".jpg", ["--symmetry", "all"]), (".webp", ["--rotate", "90"])],
)  # fmt: skip
def test_the_command_that_a_file_tells_makes_its_bytes_again(capsys, here, suffix, more):
    out = here / f"wall{suffix}"
    (here / "sub").mkdir()
    shutil.copy("brick.png", "sub/my brick.png")
    assert run(capsys, "expand", here / "sub" / "my brick.png", "-o", out, *SMALL, "--size-m", "1.5", *more)[0] == 0
    code, told, _ = run(capsys, "inspect", out, "--command")
    words = shlex.split(told)
    assert code == 0 and words[:3] == ["texgen", "expand", "my brick.png"] and str(here) not in told
    first = snapshot(here)[out.name]
    assert run(capsys, *[word.replace("my brick.png", "sub/my brick.png") for word in words[1:]], "--overwrite")[0] == 0
    assert snapshot(here)[out.name] == first


def test_the_command_of_a_variation_makes_that_one(capsys, here):
    assert run(capsys, "expand", "brick.png", "-o", "v.png", *SMALL, "--seed", "5", "--variations", "2")[0] == 0
    first = snapshot(here)["v-2.png"]
    words = shlex.split(run(capsys, "inspect", "v-2.png.json", "--command")[1])
    assert run(capsys, *words[1:], "--overwrite")[0] == 0
    assert snapshot(here)["v-2.png"] == first


def test_every_kind_of_value_stands_in_the_command_as_it_was_given(capsys, here):
    Image.fromarray(np.full((96, 96, 3), (0, 128, 0), np.uint8)).save("green.png")
    Image.new("L", (96, 96), 90).save("plain.png")
    height = np.random.default_rng(0).integers(0, 255, (128, 128), np.uint8)
    Image.fromarray(height).save("h.png")
    given = [
        "--swatch", "brick.png:green", "--target", "green.png", "--map", "height=h.png:guide", "--guide", "h.png:plain.png:0.5", "--tileable", "none",
        "--softness", "4",
    ]  # fmt: skip
    code, _, said = run(capsys, "paint", *given, "-o", "p.png", *SMALL, "--seed", "1")
    assert code == 0, said
    first = snapshot(here)
    words = shlex.split(run(capsys, "inspect", "p.png", "--command")[1])
    assert run(capsys, *words[1:], "--overwrite")[0] == 0
    assert {name: first[name] for name in ("p.png", "p_height.png")}.items() <= snapshot(here).items()


def test_facts_are_those_of_the_file(capsys, here):
    assert (
        run(capsys, "expand", "brick.png", "-o", "a.png", *SMALL, "--bit-depth", "16", "--texel-density", "50")[0] == 0
    )
    found = json.loads(run(capsys, "inspect", "a.png", "--json")[1])
    facts = found["facts"]
    assert (facts["format"], facts["width"], facts["height"], facts["dtype"]) == ("png", 96, 96, "uint16")
    assert facts["channels"] == ["R", "G", "B"] and facts["color_space"] == "sRGB"
    assert facts["dpi"] == pytest.approx(50 * 0.0254, rel=1e-3)
    assert found["recipe"]["size_m"] == 96 / 50 and found["recipe"]["task"] == "expand"


@pytest.mark.parametrize("suffix", [".png", ".tif", ".exr", ".jpg", ".webp"])
def test_the_physical_size_is_in_the_file_and_reaches_the_exports(capsys, here, suffix):
    name = f"a{suffix}"
    assert run(capsys, "expand", "brick.png", "-o", name, *SMALL, "--size-m", "0.5", "--profile", "standard")[0] == 0
    assert texgen.inspect(name).facts.dpi == pytest.approx(192 * 0.0254, rel=1e-3)
    assert json.loads((here / "a_standard" / "a.json").read_text())["size_m"] == [0.5, 0.5]
    assert run(capsys, "export", name, "-o", "later")[0] == 0
    assert json.loads((here / "later" / "a.json").read_text())["size_m"] == [0.5, 0.5]


def test_without_metadata_nothing_is_told(capsys, here):
    assert run(capsys, "expand", "brick.png", "-o", "a.png", *SMALL, "--no-metadata")[0] == 0
    assert texgen.inspect("a.png").recipe is None
    code, _, said = run(capsys, "inspect", "a.png", "--command")
    assert code == 3 and "holds no recipe" in said


def test_what_python_made_has_a_recipe_and_no_command(here):
    texgen.expand("brick.png", size=96, preset="draft", seed=3).save("a.png")
    found = texgen.inspect("a.png")
    assert found.recipe["seed"] == 3
    with pytest.raises(InputError, match="made in Python"):
        _ = found.command


@pytest.mark.parametrize("name", ["none.png", "none.json", "text.png", "foreign.json"])
def test_what_is_no_picture_and_no_recipe_is_refused(capsys, here, name):
    Path("text.png").write_text("hello")
    Path("foreign.json").write_text('{"a": 1}')
    code, out, said = run(capsys, "inspect", name)
    assert (code, out) == (3, "") and name in said and said.count("\n") == 1


def test_an_existing_output_is_replaced_only_when_asked(capsys, here):
    Path("a.png").write_text("mine")
    before = snapshot(here)
    code, _, said = run(capsys, "expand", "brick.png", "-o", "a.png", *SMALL)
    assert code == 2 and "a.png: exists already" in said and snapshot(here) == before
    Path("a.png").chmod(0o640)
    assert run(capsys, "expand", "brick.png", "-o", "a.png", *SMALL, "--overwrite")[0] == 0
    assert Path("a.png").stat().st_mode & 0o777 == 0o640, "its rights are kept"
    assert texgen.inspect("a.png").facts.width == 96


def test_so_is_every_file_beside_it(capsys, here, monkeypatch):
    monkeypatch.setattr(render, "SAMPLES", 1)  # a coarse preview will do
    Image.new("L", (128, 128), 9).save("h.png")
    more = ["--map", "height=h.png", "--preview", "--save-field", "f.tif", "--save-map", "m.tif", "--profile", "unreal"]
    files = [
        Path(name) for name in ("a_height.png", "a.png.json", "a_preview.png", "f.tif", "m.tif", "a_unreal/T_a_BC.png")
    ]
    for beside in files:
        beside.parent.mkdir(exist_ok=True)
        beside.write_text('{"texgen": "0"}')
        before = snapshot(here)
        code, _, said = run(capsys, "expand", "brick.png", "-o", "a.png", *SMALL, *more)
        assert code == 2 and beside.name in said and "exists already" in said and snapshot(here) == before
        beside.unlink()
    for beside in files:
        beside.write_text('{"texgen": "0"}')
    assert run(capsys, "expand", "brick.png", "-o", "a.png", *SMALL, *more, "--overwrite")[0] == 0
    assert all(beside.stat().st_size > 100 for beside in files)


def test_a_json_file_of_others_is_kept_even_then(capsys, here):
    Path("a.png.json").write_text('{"mine": 1}')
    before = snapshot(here)
    code, _, said = run(capsys, "expand", "brick.png", "-o", "a.png", *SMALL, "--overwrite")
    assert code == 2 and "not a recipe of texgen" in said and snapshot(here) == before


@pytest.mark.parametrize("name", ["brick.png", "hard.png", "soft.png", "./sub/../brick.png"])
def test_an_input_is_never_replaced_under_any_name(capsys, here, name):
    (here / "sub").mkdir()
    Path("hard.png").hardlink_to("brick.png")
    Path("soft.png").symlink_to("brick.png")
    before = snapshot(here)
    for more in ((), ("--overwrite",), ("--overwrite", "--resume")):
        code, _, said = run(capsys, "expand", "brick.png", "-o", name, *SMALL, *more)
        assert code == 2 and ("input of this run" in said) and snapshot(here) == before


def test_nor_is_a_map_or_a_second_swatch(capsys, here):
    Image.new("L", (128, 128), 9).save("a_height.png")
    shutil.copy("brick.png", "two.png")
    before = snapshot(here)
    for out, more in (("a.png", ["--map", "height=a_height.png"]), ("two.png", ["--exemplar", "two.png"])):
        code, _, said = run(capsys, "expand", "brick.png", "-o", out, *SMALL, *more, "--overwrite")
        assert code == 2 and "input of this run" in said and snapshot(here) == before


def test_two_outputs_in_one_file_are_refused(capsys, here):
    for more in (["--save-map", "a.tif"], ["--save-map", "A.TIF"], ["--save-field", "sub/../a.tif"]):
        (here / "sub").mkdir(exist_ok=True)
        code, _, said = run(capsys, "expand", "brick.png", "-o", "a.tif", *SMALL, *more)
        assert code == 2 and "two outputs" in said
    assert sorted(path.name for path in here.iterdir()) == ["brick.png", "sub"]


def test_a_read_only_file_and_a_folder_are_kept(here):
    Path("r.png").write_text("mine")
    Path("r.png").chmod(0o444)
    Path("d.png").mkdir()
    for name, said in (("r.png", "read-only"), ("d.png", "is a folder")):
        with pytest.raises(OptionError, match=said):
            check_free([Path(name)], overwrite=True)


def test_a_finished_output_is_not_made_again(capsys, here):
    command = ["expand", "brick.png", "-o", "a.png", *SMALL]
    assert run(capsys, *command)[0] == 0
    before = snapshot(here)
    code, _, said = run(capsys, *command, "--resume")
    assert code == 0 and "nothing to do" in said and snapshot(here) == before
    code, _, said = run(capsys, *command, "--resume", "--seed", "12")
    assert code == 2 and "finished, with other seed" in said and snapshot(here) == before
    code, _, said = run(capsys, *command, "--resume", "--tileable", "x")
    assert code == 2 and "finished, with other tileable" in said and snapshot(here) == before
    assert run(capsys, *command, "--resume", "--seed", "12", "--overwrite")[0] == 0
    assert snapshot(here)["a.png"] != before["a.png"]


def test_of_several_variations_only_those_are_made_that_are_missing(capsys, here):
    command = ["expand", "brick.png", "-o", "v.png", *SMALL, "--variations", "3"]
    assert run(capsys, *command)[0] == 0
    before = snapshot(here)
    for name in ("v-2.png", "v-2.png.json"):
        Path(name).unlink()
    stamp = Path("v-1.png").stat().st_mtime_ns
    code, _, said = run(capsys, *command, "--resume")
    assert code == 0 and said.count("nothing to do") == 2
    after = snapshot(here)
    assert after["v-2.png"] == before["v-2.png"] and Path("v-1.png").stat().st_mtime_ns == stamp


def test_a_run_that_was_cut_off_while_it_wrote_goes_on_without_being_told_to_overwrite(capsys, here, monkeypatch):
    command = ["expand", "brick.png", "-o", "a.png", *SMALL, "--seed", "1"]
    from texgen.files import publish

    kept = publish.save_json
    with monkeypatch.context() as patch:
        patch.setattr(
            publish, "save_json", lambda path, content: 1 / 0 if path.name == "a.png.json" else kept(path, content)
        )
        patch.setattr(publish, "all_or_none", lambda _: nullcontext())  # a kill takes nothing back
        assert run(capsys, *command)[0] == 1
    assert Path("a.png").exists() and not Path("a.png.json").exists()
    assert run(capsys, *command)[0] == 2, "it exists, and nothing says that it may be replaced"
    assert run(capsys, *command, "--resume")[0] == 0
    assert Path("a.png.json").exists() and not Path(".a.png.texgen").exists()


def test_a_folder_takes_a_file_of_the_swatch_s_name(capsys, here):
    Path("d").mkdir()
    assert run(capsys, "expand", "brick.png", "-o", "d/", *SMALL)[0] == 0
    assert run(capsys, "expand", "brick.png", "-o", "d", *SMALL, "--bit-depth", "half")[0] == 0
    assert {"brick.png", "brick.exr"} <= {path.name for path in Path("d").iterdir()}
    assert run(capsys, "expand", "brick.png", "-o", ".", *SMALL)[0] == 2, "its own name is taken by the swatch"


def test_a_picture_goes_through_standard_input_and_output(here):
    import subprocess
    import sys

    command = [sys.executable, "-m", "texgen", "expand", "-", "-o", "-", *SMALL, "--seed", "2"]
    done = subprocess.run(command, input=Path("brick.png").read_bytes(), capture_output=True, check=True)
    Path("piped.png").write_bytes(done.stdout)
    made = texgen.expand("brick.png", size=96, preset="draft", seed=2)
    assert np.array_equal(read_pixels("piped.png"), made.pixels[0:96].astype(np.float32) / 255)
    assert sorted(path.name for path in here.iterdir()) == ["brick.png", "piped.png"]


def test_no_sidecar_is_left_that_tells_of_a_picture_which_was_replaced(capsys, here):
    assert run(capsys, "expand", "brick.png", "-o", "a.png", *SMALL)[0] == 0
    assert run(capsys, "expand", "brick.png", "-o", "a.png", *SMALL, "--no-metadata", "--overwrite")[0] == 0
    assert sorted(path.name for path in here.iterdir()) == ["a.png", "brick.png"]


def test_kept_pixels_in_a_jpeg_are_warned_of(capsys, here):
    Image.fromarray(np.pad(np.full((32, 32), 255, np.uint8), 48)).save("hole.png")
    for out, warned in (("a.jpg", True), ("a.png", False)):
        code, _, said = run(capsys, "fill", "brick.png", "--hole", "hole.png", "-o", out, "--preset", "draft")
        assert code == 0 and ("warning: a.jpg: a JPEG changes" in said) == warned


@pytest.mark.parametrize("more", [["--rotate", "90"], ["--exemplar-scale", "2"], ["--exemplar-size", "100"]])
def test_a_border_is_not_made_of_the_picture_turned_or_resized(capsys, here, more):
    code, _, said = run(capsys, "tile", "brick.png", "-o", "a.png", *more)
    assert code == 2 and "unlike the picture" in said


def test_no_folder_of_the_user_s_stands_in_the_command(capsys, here, sd_folder):
    (here / "deep").mkdir()
    words = (
        "expand",
        here / "brick.png",
        "-o",
        here / "deep" / "a.png",
        "--size",
        "128",
        "--preset",
        "draft",
        "--steps",
        "2",
    )
    assert run(capsys, *words, "--model", sd_folder)[0] == 0
    told = Path("deep/a.png").read_bytes() + Path("deep/a.png.json").read_bytes()
    assert str(here).encode() not in told and str(sd_folder.parent).encode() not in told
    assert f"--model {sd_folder.name}" in run(capsys, "inspect", "deep/a.png", "--command")[1]
