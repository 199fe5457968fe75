"""Nothing that a run reads is written over: whatever verb, input, name of it and option, on the command line and in Python."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from test_cli import run

import texgen
from texgen.errors import OptionError
from texgen.materials.material import read_material

SMALL = {"preset": "draft", "seed": 1}
DRAFT = "--size 64 --preset draft --seed 1"


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    """Pictures, maps, masks and label maps of 64 px, one material, and a field, as the current folder."""
    monkeypatch.chdir(tmp_path)
    y, x = np.mgrid[:64, :64]
    waves = np.stack([127 + 100 * np.sin(x * k + y * (4 - k)) for k in (1, 2, 3)], -1).astype(np.uint8)
    for name in ("s.png", "t.png", "s.tif", "wall/wall.png"):
        Path(name).parent.mkdir(exist_ok=True)
        Image.fromarray(waves).save(name)
    for name in ("h.png", "a_height.png", "wall/wall_height.png", "d.tif"):
        Image.fromarray(waves[..., 0]).save(name)
    Image.fromarray(np.where((x > 20) & (x < 44), 255, 0).astype(np.uint8)).save("m.png")
    halves = Image.new("RGB", (64, 64), "red")
    halves.paste("blue", (32, 0, 64, 64))
    halves.save("l.png")
    Path("hard.png").hardlink_to("s.png")
    Path("soft.png").symlink_to("s.png")
    Path("deep").symlink_to(".")
    return tmp_path


def state(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


LINES = [
    *(f"expand s.png -o {name}" for name in ("s.png", "hard.png", "soft.png", "deep/s.png", "wall/../s.png")),
    *(f"expand {name} -o s.png" for name in ("hard.png", "soft.png", "deep/deep/s.png")),
    "expand s.png --exemplar t.png -o t.png",
    "expand s.png --map height=h.png -o h.png",
    "expand s.png --map height=h.png:guide -o h.png",
    "expand s.png --map height=a_height.png:guide -o a.png",
    "expand s.png --guide h.png:m.png -o m.png",
    "expand s.png --guide h.png:m.png:0.5 -o h.png",
    "expand s.png --orientation h.png -o h.png",
    "expand s.png --keep 0,0 -o s.png",
    "expand s.tif -o o.png --save-map s.tif",
    "expand s.tif -o o.png --save-field s.tif",
    "expand s.png --map height=d.tif -o o.png --save-map d.tif",
    "expand look_preview.png -o look.png --preview",
    "expand o-2.png -o o.png --variations 2",
    "expand o_unreal/T_o_BC.png -o o.png --profile unreal",
    "expand s.png --map height=o_unreal/T_o_BC.png -o o.png --profile unreal",
    "expand o_03.png -o o.png --wang 2",
    "expand o_plane.png -o o.png --wang 2",
    "layout s.png --layout t.png -o t.png",
    "layout t.png --layout s.png -o t.png",
    "paint s.png --labels l.png --target m.png -o l.png",
    "paint s.png --labels l.png --target m.png -o m.png",
    "paint --swatch s.png:red --swatch t.png:blue --target l.png -o t.png",
    "paint --swatch s.png:red --swatch t.png:blue --weights h.png:red --weights m.png:blue -o m.png",
    "fill s.png --hole m.png -o m.png",
    "fill s.png --hole m.png -o s.png",
    "fill s.png --hole m.png --swatch t.png -o t.png",
    "tile s.png -o s.png",
    "transfer s.png t.png -o t.png",
    "transfer s.png t.png --labels l.png --target m.png -o l.png",
    "transfer s.png t.png --labels l.png --target m.png -o m.png",
    "synthesize s.png --model mini -o s.png --size 128",
    "expand s.png --model mini --control m.png --controlnet none -o m.png --size 128",
]
"""Each with a --size, if it has none, a --preset and a --seed."""
OTHERS = [
    "render x_f.tif --map height=x_height.png -o x.png",
    "render x_f.tif --map f=h.png -o x.tif",
    "render f.json --map height=x_height.png -o x.png",
    "render f.json --map f=h.png -o x.tif",
    "material wall/wall.png -o wall/wall_color.png",
    "preview wall -o wall/wall.png",
    "preview wall/wall.png -o wall/wall_height.png",
    "preview t.png -o t.png",
    "export wall -o wall --template {name}_{map}",
]


def test_no_command_writes_over_what_it_reads(capsys, here):
    for name in ("look_preview.png", "o-2.png", "o_03.png", "o_plane.png", "o_unreal/T_o_BC.png"):
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).write_bytes(Path("t.png").read_bytes())
    before = state(here)
    for line in LINES:
        for more in ("", "--overwrite", "--overwrite --resume"):
            words = [*shlex.split(line), *shlex.split(DRAFT if "--size" not in line else DRAFT[10:]), *more.split()]
            if words[0] in ("fill", "tile"):
                words = [word for word in words if word not in ("--size", "64")]
            code, _, said = run(capsys, *words)
            assert code == 2 and ("is an input of this run" if more else "") in said, f"{line} {more}: {said}"
            assert state(here) == before, f"{line} {more}"


def test_nor_what_comes_through_standard_input(capsys, here, monkeypatch):
    before = state(here)
    with Path("s.png").open() as file:
        monkeypatch.setattr(sys, "stdin", file)
        code, _, said = run(capsys, *shlex.split(f"expand - -o s.png {DRAFT} --overwrite"))
    assert code == 2 and "is an input of this run" in said and state(here) == before


def test_nor_sweeps_it_away_as_what_a_broken_run_has_left(capsys, here):
    Path(".o.png.abcdefgh.part").write_bytes(Path("s.png").read_bytes())
    before = state(here)
    code, _, said = run(capsys, *shlex.split(f"expand .o.png.abcdefgh.part -o o.png {DRAFT}"))
    assert code == 2 and "rename it" in said and state(here) == before


def test_nor_does_what_shows_or_writes_a_material(capsys, here):
    made = texgen.expand("s.png", 64, **SMALL)
    made.save("x.png")
    made.save_field("x_f.tif")
    Path("x_height.png").write_bytes(Path("h.png").read_bytes())
    Path("f.json").write_text('{"texgen": "0", "field": "x_f.tif"}')
    before = state(here)
    for line in OTHERS:
        code, _, said = run(capsys, *shlex.split(line), "--overwrite")
        assert code == 2 and "is an input of this run" in said, f"{line}: {said}"
        assert state(here) == before, line


def opened(way: Callable[[str], Any], make: Callable[[Any], Any]) -> Any:
    with way("s.png") as file:
        return make(file)


CALLS: list[tuple[str, Callable[[], Any]]] = [
    ("s.png", lambda: texgen.expand("s.png", 64, **SMALL)),
    ("s.png", lambda: texgen.expand(Path("deep/s.png"), 64, **SMALL)),
    ("s.png", lambda: opened(Image.open, lambda file: texgen.expand(file, 64, **SMALL))),
    ("s.png", lambda: opened(partial(open, mode="rb"), lambda file: texgen.expand(file, 64, **SMALL))),
    ("t.png", lambda: texgen.expand("s.png", 64, exemplars=["t.png"], **SMALL)),
    ("a.png", lambda: texgen.expand("s.png", 64, maps={"height": "a_height.png"}, map_guides=["height"], **SMALL)),
    ("m.png", lambda: texgen.expand("s.png", 64, guides=[("h.png", "m.png")], **SMALL)),
    ("t.png", lambda: texgen.layout("s.png", "t.png", **SMALL)),
    ("l.png", lambda: texgen.paint("s.png", "l.png", "l.png", **SMALL)),
    ("m.png", lambda: texgen.fill("s.png", "m.png", **SMALL)),
    ("s.png", lambda: texgen.tile("s.png", **SMALL)),
    ("t.png", lambda: texgen.transfer("s.png", "t.png", **SMALL)),
    ("o.png", lambda: texgen.wang("o_00.png", 64, (1, 1), **SMALL)),
    ("x.png", lambda: texgen.render("x_f.tif", {"height": "x_height.png"})),
    ("wall/wall_color.png", lambda: texgen.material("wall/wall.png")),
    ("s.png", lambda: opened(Image.open, texgen.material)),
    ("wall/wall.png", lambda: texgen.preview("wall")),
    ("wall/wall_height.png", lambda: texgen.preview(read_material("wall"))),
]
"""What makes something, and where it would be written over one of its inputs."""


def test_nor_is_anything_in_python(here):
    field = texgen.expand("s.png", 64, **SMALL)
    field.save_field("x_f.tif")
    for name in ("x_height.png", "o_00.png"):
        Path(name).write_bytes(Path("h.png").read_bytes())
    before = state(here)
    for number, (name, make) in enumerate(CALLS):
        made = make()
        os.chdir("wall")  # a name means what it meant when it was read
        with pytest.raises(OptionError, match="is an input of this run, which is never overwritten"):
            made.save(here / name, overwrite=True)
        os.chdir(here)
        assert state(here) == before, number
    with pytest.raises(OptionError, match="is an input"):
        texgen.export(read_material("wall"), "wall", template="{name}_{map}", overwrite=True)
    with pytest.raises(OptionError, match="is an input"):
        texgen.material("wall/wall.png", "wall/wall_color.png", overwrite=True)
    made = texgen.expand("s.tif", 64, with_map=True, **SMALL)
    for save in (made.save, made.save_map, made.save_field, texgen.preview(field).save):
        with pytest.raises(OptionError, match="is an input"):
            save("s.tif" if save.__self__ is made else "hard.png", overwrite=True)
    assert state(here) == before
