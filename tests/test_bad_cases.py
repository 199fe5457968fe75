"""Mistakes that users make: each is one line that says what, an exit code, and leaves everything as it was."""

from __future__ import annotations

import io
import os
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from test_cli import run

import texgen
from texgen.errors import InputError, ModelError, OptionError, OptionTypeError, ResourceError, TexgenError

USAGE, INPUT, MODEL, RESOURCE = 2, 3, 4, 5
LONG = "n" * 250
EXPAND = "expand s.png -o o.png --size 64 --preset draft"

LINES: list[tuple[str, int, str]] = [
    # arguments
    ("", USAGE, "Usage"),
    ("expnad s.png -o o.png", USAGE, "No such command 'expnad'"),
    ("expand", USAGE, "Missing argument 'SWATCH'"),
    ("expand s.png", USAGE, "Missing option '-o'"),
    ("expand s.png t.png -o o.png", USAGE, "unexpected extra argument"),
    ("expand s.png -o o.png --sise 64", USAGE, "No such option '--sise'"),
    ("expand s.png -o o.png --seed", USAGE, "requires an argument"),
    ("layout s.png -o o.png", USAGE, "Missing option '--layout'"),
    ("fill s.png -o o.png", USAGE, "Missing option '--hole'"),
    ("transfer s.png -o o.png", USAGE, "Missing argument 'CONTENT'"),
    ("render f.tif -o o.png", USAGE, "Missing option '--map'"),
    ("export s.png", USAGE, "Missing option '-o'"),
    ("preview s.png", USAGE, "Missing option '-o'"),
    ("material s.png", USAGE, "Missing option '-o'"),
    ("inspect", USAGE, "Missing argument 'FILE'"),
    ("completion tcsh", USAGE, "is not one of 'bash', 'zsh', 'fish'"),
    # files that are read
    ("expand none.png -o o.png", INPUT, "none.png: no such file"),
    ("expand no/such/s.png -o o.png", INPUT, "no such file"),
    ("expand folder -o o.png", INPUT, "no regular file"),
    ("expand fifo -o o.png", INPUT, "fifo: is no regular file"),
    ("expand empty.png -o o.png", INPUT, "the file is empty"),
    ("expand text.png -o o.png", INPUT, "not an image of a known format"),
    ("expand cut.png -o o.png", INPUT, "broken or truncated"),
    ("expand tiny.png -o o.png", INPUT, "too small"),
    ("expand s.png#2 -o o.png", INPUT, "no layers to choose from"),
    ("expand moving.gif -o o.png", INPUT, "moving.gif#1"),
    ("layout s.png --layout none.png -o o.png", INPUT, "none.png: no such file"),
    ("layout s.png --layout text.png -o o.png", INPUT, "not an image"),
    ("fill s.png --hole none.png -o o.png", INPUT, "no such file"),
    ("fill s.png --hole half.png -o o.png", INPUT, "give them one size"),
    ("fill s.png --hole black.png -o o.png", INPUT, "there is no hole"),
    ("fill s.png --hole white.png -o o.png", INPUT, "nothing is kept"),
    ("fill s.png --hole fine.png -o o.png", INPUT, "what lies outside of the hole is not to be seen"),
    ("fill s.png --hole mask.png --swatch none.png -o o.png", INPUT, "none.png"),
    ("tile none.png -o o.png", INPUT, "no such file"),
    ("transfer s.png none.png -o o.png", INPUT, "none.png"),
    ("transfer none.png s.png -o o.png", INPUT, "none.png"),
    ("paint s.png --labels none.png --target labels.png -o o.png", INPUT, "none.png"),
    ("paint s.png --labels labels.png --target none.png -o o.png", INPUT, "none.png"),
    ("paint --swatch none.png:red --target labels.png -o o.png", INPUT, "none.png"),
    (f"{EXPAND} --exemplar none.png", INPUT, "none.png"),
    (f"{EXPAND} --map height=none.png", INPUT, "none.png"),
    (f"{EXPAND} --map height=half.png", INPUT, "64x48"),
    (f"{EXPAND} --map normal=mask.png", INPUT, "needs 3"),
    (f"{EXPAND} --guide none.png:mask.png", INPUT, "none.png"),
    (f"{EXPAND} --guide s.png:mask.png", INPUT, "give them as many"),
    (f"{EXPAND} --orientation none.png", INPUT, "none.png"),
    ("render none.tif --map height=mask.png -o o.png", INPUT, "none.tif: no such file"),
    ("render s.png --map height=mask.png -o o.png", INPUT, "is no field"),
    ("render r.json --map height=mask.png -o o.png", INPUT, "names no field"),
    ("material none.png -o o.png", INPUT, "none.png: no such file"),
    ("material wall_normal.png -o o.png", INPUT, "is a map of normal by its name"),
    ("material tiny.png -o o.png", INPUT, "too small"),
    ("export none.png -o out", INPUT, "none.png: no such file"),
    ("export folder -o out", INPUT, "holds 0 materials"),
    ("preview none.png -o o.png", INPUT, "none.png: no such file"),
    ("preview folder -o o.png", INPUT, "holds 0 materials"),
    ("inspect none.png", INPUT, "none.png: no such file"),
    ("inspect text.png", INPUT, "is no picture"),
    ("inspect r.json", INPUT, "no recipe"),
    ("inspect s.png --command", INPUT, "holds no recipe"),
    # files that are written
    ("expand s.png -o o.xyz", USAGE, "the suffix must be one of"),
    ("expand s.png -o o", USAGE, "the suffix must be one of"),
    ("expand s.png -o no/o.png", USAGE, "no: no such folder"),
    ("expand s.png -o s.png", USAGE, "is an input of this run"),
    ("expand s.png -o s.png --overwrite", USAGE, "is an input of this run"),
    ("expand s.png -o old.png", USAGE, "exists already"),
    ("expand s.png -o beside.png", USAGE, "beside.png.json: exists already"),
    ("expand s.png -o beside.png --overwrite", USAGE, "not a recipe of texgen"),
    (f"expand s.png -o {LONG}.png", USAGE, "name is too long"),
    (f"{EXPAND} --save-map o.png", USAGE, "the suffix must be one of .tif"),
    (f"{EXPAND} --save-field o.png", USAGE, "the suffix must be one of .tif"),
    ("expand s.png -o o.tif --save-map o.tif", USAGE, "two outputs of this run"),
    ("expand s.png -o o.jpg --size 70000x64", USAGE, "JPEG holds at most 65500 px"),
    ("expand s.png -o o.webp --size 64x16400", USAGE, "WEBP holds at most 16383 px"),
    ("expand s.png -o o.jpg --bit-depth 16", USAGE, "JPEG holds uint8 channels, not uint16"),
    ("expand s.png -o o.png --bit-depth half", USAGE, "PNG holds uint8 and uint16 channels, not float16"),
    ("expand s.png -o o.exr --bit-depth 8", USAGE, "EXR holds"),
    ("expand alpha.png -o o.jpg", USAGE, "a JPEG holds no transparency"),
    (f"{EXPAND} --pyramid", USAGE, "only a TIFF can be a pyramid"),
    ("expand s.png -o - --preview", USAGE, "-o - writes one picture and nothing beside it"),
    ("expand s.png -o - --wang 2", USAGE, "a set of tiles is several files"),
    ("export wall -o folder/text", USAGE, "is a file; give a folder"),
    ("export wall -o no/out", USAGE, "no: no such folder"),
    ("export wall -o /", USAGE, "is the root of a disk"),
    ("export wall -o out --profile quake", USAGE, "profile='quake' is not known"),
    ("export wall -o out --template {foo}", USAGE, "may hold the fields"),
    ("export wall -o out --template x --profile unreal", USAGE, "gives two textures one name"),
    ("export wall -o out --size-m 1 --texel-density 2", USAGE, "give one of them"),
    ("export wall -o out --size-m 0", USAGE, "must be from"),
    ("export wall -o out --split 10", USAGE, "must be from"),
    ("preview wall -o o.tif", USAGE, "the suffix must be one of"),
    ("preview wall -o old.png", USAGE, "exists already"),
    ("preview wall -o o.png --width 10", USAGE, "must be from"),
    ("preview wall -o o.png --depth 2", USAGE, "must be from"),
    ("preview wall -o o.png --light north", USAGE, "is not a valid float"),
    ("material s.png -o wall_height.png", USAGE, "would be a map of height by its name"),
    ("material s.png -o old.png", USAGE, "exists already"),
    ("material s.png -o o.png --relief -1", USAGE, "must be from"),
    ("material s.png -o o.png --roughness 2", USAGE, "must be from"),
    ("material s.png -o o.png --tileable z", USAGE, "is not known; choose one of"),
    # what lies in the way of a run
    (f"expand s.png -o {LONG}/o.png", USAGE, "no such folder"),
    (f"expand s.png -o {LONG * 2}/o.png", USAGE, "the name is too long"),
    (f"expand s.png -o {LONG * 2}.png", USAGE, "the name is too long"),
    (f"export wall -o {LONG * 2}", USAGE, "the name is too long"),
    (f"preview {LONG * 2}.png -o o.png", USAGE, "the name is too long"),
    (f"material {LONG * 2}.png -o o.png", USAGE, "the name is too long"),
    (f"inspect {LONG * 2}.png", USAGE, "the name is too long"),
    (f"render {LONG * 2}.tif --map height=mask.png -o o.png", USAGE, "the name is too long"),
    (f"expand {LONG * 2}.png -o o.png", INPUT, "cannot be read"),
    ("expand s.png -o s.png/o.png", USAGE, "no such folder"),
    ("expand s.png -o runs/job.png --size 64", USAGE, "holds something else than an unfinished run"),
    ("expand s.png -o runs/broken.png --size 64 --resume", USAGE, "cannot be read; leave --resume out"),
    ("expand s.png -o runs/list.png --size 64 --resume", USAGE, "tells of no run"),
    ("expand s.png -o runs/file.png --size 64", USAGE, "is no folder"),
    ("expand s.png -o runs/side.png --size 64", USAGE, "side.png.json: is a folder"),
    ("expand s.png -o runs --wang 2 --size 64 --save-map m.tif", USAGE, "does not go with --wang"),
    ("export wall -o runs/file.png/out", USAGE, "no such folder"),
    ("preview wall -o runs/side.png/look.png", USAGE, "no such folder"),
    ("material s.png -o runs/none/o.png", USAGE, "no such folder"),
    ("render none.json --map height=mask.png -o o.png", INPUT, "no such file"),
    # sizes and numbers
    ("expand s.png -o o.png --size 0", USAGE, "must be from 1"),
    ("expand s.png -o o.png --size 32", USAGE, "too small; at least 64 px"),
    ("expand s.png -o o.png --size abc", USAGE, "neither a number of pixels nor WIDTHxHEIGHT"),
    ("expand s.png -o o.png --size 64x64x3", USAGE, "neither a number"),
    ("expand s.png -o o.png --size -5", USAGE, "neither a number"),
    ("expand s.png -o o.png --size 6.5", USAGE, "neither a number"),
    ("expand s.png -o o.png --size 100000000000000000000", USAGE, "must be from 1 to 1000000 px"),
    ("expand s.png -o o.tif --size 900000", RESOURCE, "GiB of disk"),
    ("expand s.png -o o.tif --size 300000x300000", RESOURCE, "300000x300000 px take about"),
    ("expand s.png -o o.tif --size 304000x304000 --model mini", RESOURCE, "304000x304000 px take about"),
    (f"{EXPAND} --exemplar-scale nan", USAGE, "exemplar_scale=nan must be from 0.05"),
    (f"{EXPAND} --exemplar-weights nan", USAGE, "above 0"),
    (f"{EXPAND} --guide mask.png:mask.png:nan", USAGE, "weight of guide 1=nan"),
    (f"{EXPAND} --texel-density inf", USAGE, "texel_density=inf must be from"),
    ("expand s.png -o o.png --model mini --strength nan", USAGE, "strength=nan must be from 0"),
    ("expand s.png -o o.png --model mini --checkpoint-minutes nan", USAGE, "checkpoint_minutes=nan"),
    ("expand s.png -o o.png --model mini --start-time -5", USAGE, "start_time=-5 must be from 0"),
    ("expand s.png -o o.png --model mini --start middle", USAGE, "choose one of"),
    ("expand s.png -o o.png --model mini --detail all", USAGE, "choose one of residual"),
    ("expand s.png -o o.png --model mini --layers x --size 128", USAGE, "layer"),
    ("layout s.png --layout s.png -o o.png --layout-weight nan", USAGE, "layout_weight=nan must be from 0"),
    ("transfer s.png s.png -o o.png --weight nan", USAGE, "weight=nan must be from 0"),
    ("tile s.png -o o.png --band 16.5", USAGE, "is not a valid integer"),
    ("preview wall -o o.png --light nan", USAGE, "light=nan must be from"),
    ("material s.png -o o.png --bump-size nan", USAGE, "bump_size=nan must be from 1"),
    ("export wall -o out --height-m nan", USAGE, "height_m=nan must be from"),
    (f"{EXPAND} --seed -1", USAGE, "must be from"),
    (f"{EXPAND} --seed 9223372036854775808", USAGE, "must be from"),
    (f"{EXPAND} --seed one", USAGE, "is not a valid integer"),
    (f"{EXPAND} --seed 9223372036854775807 --variations 2", USAGE, "leaves no seeds"),
    (f"{EXPAND} --variations 0", USAGE, "must be from"),
    (f"{EXPAND} --preset fast", USAGE, "is not known; choose one of"),
    (f"{EXPAND} --preset published", USAGE, "is for diffusion models"),
    (f"{EXPAND} --tileable z", USAGE, "is not known; choose one of"),
    (f"{EXPAND} --rotate 45", USAGE, "must be 0 or 90 or 180 or 270"),
    (f"{EXPAND} --crop 1,2,3", USAGE, "is not LEFT,TOP,WIDTH,HEIGHT"),
    (f"{EXPAND} --crop 0,0,500,500", USAGE, "crop"),
    (f"{EXPAND} --crop 0,0,8,8", INPUT, "too small"),
    (f"{EXPAND} --exemplar-scale 0", USAGE, "must be from"),
    (f"{EXPAND} --exemplar-scale 0.05", INPUT, "too small"),
    (f"{EXPAND} --exemplar-weights 1,2", USAGE, "must be 1 numbers above 0"),
    (f"{EXPAND} --exemplar-weights a,b", USAGE, "is not a list of numbers"),
    (f"{EXPAND} --exemplar s.png --exemplar-weights 1,-1", USAGE, "above 0"),
    (f"{EXPAND} --bit-depth 12", USAGE, "is not known; choose one of"),
    (f"{EXPAND} --keep 900,900", USAGE, "does not fit there"),
    ("expand s.png -o o.png --size 96x80 --keep 0,0", USAGE, "as large as the result"),
    (f"{EXPAND} --keep a,b", USAGE, "is not LEFT,TOP"),
    (f"{EXPAND} --map height", USAGE, "is not NAME=FILE"),
    (f"{EXPAND} --guide s.png", USAGE, "SWATCH_MAP:CANVAS_MAP"),
    (f"{EXPAND} --symmetry turn", USAGE, "is not known; choose one of"),
    (f"{EXPAND} --start middle", USAGE, "is not known; choose one of"),
    (f"{EXPAND} --start swatch", USAGE, "choose one of quilt"),
    (f"{EXPAND} --progress loud", USAGE, "is not known; choose one of"),
    (f"{EXPAND} --size-m -1", USAGE, "must be from"),
    (f"{EXPAND} --profile quake", USAGE, "profile='quake' is not known"),
    ("expand s.png -o o.png --wang 9 --size 64", USAGE, "from 1 to 4"),
    ("expand s.png -o o.png --wang 2 --size 64x128", USAGE, "square tiles"),
    ("expand s.png -o o.png --wang 2 --keep 0,0", USAGE, "makes square tiles and keeps nothing"),
    ("expand s.png -o o.png --wang 2 --preview --size 64", USAGE, "--preview does not go with --wang"),
    ("expand s.png -o o.png --wang 2 --variations 2 --size 64", USAGE, "--variations does not go with --wang"),
    ("expand s.png -o o.png --wang 2 --save-field f.tif --size 64", USAGE, "--save-field does not go with --wang"),
    ("layout s.png --layout s.png -o o.png --layout-weight -1", USAGE, "layout_weight=-1.0 must be from"),
    ("layout s.png --layout s.png -o o.png --content-weight 1", USAGE, "is for diffusion models"),
    ("tile s.png -o o.png --band 2", USAGE, "must be from 16"),
    ("tile s.png -o o.png --band 60", USAGE, "less than half of the shorter side"),
    ("tile s.png -o o.png --tileable none", USAGE, "leaves nothing to do"),
    ("tile s.png -o o.png --rotate 90", USAGE, "unlike the picture"),
    ("transfer s.png s.png -o o.png --weight -1", USAGE, "weight=-1.0 must be from"),
    ("transfer s.png s.png -o o.png --labels labels.png", USAGE, "go together"),
    ("transfer s.png s.png -o o.png --mode style", USAGE, "mode"),
    # labels
    ("paint -o o.png --target labels.png", USAGE, "give either SWATCH with --labels, or --swatch"),
    ("paint s.png --labels labels.png -o o.png", USAGE, "give either --target or --weights"),
    ("paint --swatch s.png --target labels.png -o o.png", USAGE, "is not FILE:LABEL"),
    ("paint --swatch s.png:nocolour --target labels.png -o o.png", USAGE, "is no colour"),
    ("paint --swatch s.png:256 --target labels.png -o o.png", USAGE, "is no grey level; use one from 0 to 255"),
    ("paint --swatch s.png:0 --swatch s.png:1 --target labels.png -o o.png", INPUT, "there are #000000, #010101; 1 more"),
    ("paint --swatch s.png:red --swatch s.png:red --target labels.png -o o.png", USAGE, "given twice"),
    ("paint --swatch s.png:red --target labels.png -o o.png", INPUT, "label #0000ff"),
    ("paint s.png --labels small.png --target labels.png -o o.png", INPUT, "64x48"),
    ("paint --swatch s.png:red --swatch s.png:blue --target labels.png -o o.png --softness -2", USAGE, "softness"),
    ("paint --swatch s.png:red --swatch s.png:blue --target labels.png -o o.png --exemplar-weights 1,2", USAGE, "do not go with labels"),
    # models
    (f"{EXPAND} --steps 20", USAGE, "is for diffusion models"),
    (f"{EXPAND} --loop optimize", USAGE, "is for diffusion models"),
    (f"{EXPAND} --device cpu", USAGE, "is for diffusion models"),
    ("expand s.png -o o.png --model mini --symmetry all", USAGE, "is for the swatch model"),
    ("expand s.png -o o.png --model mini --size 64", USAGE, "at least 128 px"),
    ("expand s.png -o o.png --model mini --save-field f.tif", USAGE, "is for the swatch model"),
    ("expand s.png -o o.png --model mini --steps 0", USAGE, "must be from"),
    ("expand s.png -o o.png --model mini --tile-overlap -1", USAGE, "must be from 0"),
    ("expand s.png -o o.png --model folder --size 128", MODEL, "folder"),
    ("expand s.png -o o.png --model mini --device meta --size 128", USAGE, "device='meta' is not available"),
    ("expand s.png -o o.png --model mini --device gpu9 --size 128", USAGE, "device='gpu9' is not available"),
    ("expand s.png -o o.png --model someone/absent --size 128", MODEL, "someone/absent"),
    ("expand s.png -o o.png --model text.png --size 128", MODEL, "not a .safetensors file"),
    ("expand s.png -o o.png --model weights.ckpt --size 128", MODEL, "weights.ckpt"),
    ("expand s.png -o o.png --model none.safetensors --size 128", MODEL, "none.safetensors"),
    ("expand s.png -o o.png --model broken.safetensors --size 128", MODEL, "broken.safetensors"),
    ('text s.png "a wall" -o o.png', MODEL, "swatch model"),
    ("expand s.png -o o.png --model nonsense --size 128", MODEL, "no such model"),
    ("expand s.png -o o.png --model mini --size 130", USAGE, "the nearest are 128 and 136"),
    ("expand s.png -o o.png --model mini --size 128 --start noise --save-map m.tif", USAGE, "has no map"),
]  # fmt: skip


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    """A folder with good and bad files, as the current one."""
    monkeypatch.chdir(tmp_path)
    values = np.random.default_rng(0).integers(0, 255, (80, 96, 4), np.uint8)
    Image.fromarray(values[..., :3]).save("s.png")
    Image.fromarray(values).save("alpha.png")
    Image.fromarray(values[:48, :64, :3]).save("half.png")
    Image.fromarray(values[:4, :4, :3]).save("tiny.png")
    Image.fromarray(values[..., :3]).save("wall_normal.png")
    for name, value in (("black", 0), ("white", 255)):
        Image.new("L", (96, 80), value).save(f"{name}.png")
    Image.fromarray(np.pad(np.full((20, 20), 255, np.uint8), ((30, 30), (38, 38)))).save("mask.png")
    Image.fromarray(np.tile(np.array([0, 0, 0, 255], np.uint8), (80, 24))).save("fine.png")
    halves = Image.new("RGB", (96, 80), "red")
    halves.paste("blue", (48, 0, 96, 80))
    halves.save("labels.png")
    halves.crop((20, 0, 84, 48)).save("small.png")
    Image.fromarray(values[..., :3]).save("moving.gif", save_all=True, append_images=[halves])
    for name, content in (
        ("empty.png", b""), ("text.png", b"hello"), ("cut.png", Path("s.png").read_bytes()[:2000]), ("old.png", b"mine"), ("beside.png.json", b'{"mine": 1}'),
        ("r.json", b'{"a": 1}'), ("weights.ckpt", b"\x80\x04."), ("broken.safetensors", b"\x10" + bytes(40)),
    ):  # fmt: skip
        Path(name).write_bytes(content)
    for name in ("folder", "wall"):
        Path(name).mkdir()
    Path("folder/text").write_text("hello")
    Image.fromarray(values[..., :3]).save("wall/wall.png")
    Image.new("L", (96, 80), 9).save("wall/wall_roughness.png")
    os.mkfifo("fifo")
    for name, content in (("broken", "{"), ("list", "[]"), ("job", None)):
        folder = Path(f"runs/.{name}.png.texgen")
        folder.mkdir(parents=True)
        (folder / ("other" if content is None else "job.json")).write_text(content or "")
    Path("runs/.file.png.texgen").touch()
    Path("runs/side.png.json").mkdir()
    return tmp_path


def state(folder: Path) -> dict[str, bytes | None]:
    return {str(path): path.read_bytes() if path.is_file() else None for path in sorted(folder.rglob("*"))}


def test_every_mistake_on_the_command_line_is_one_line_and_changes_nothing(capsys, here):
    before, wrong = state(here), []
    for line, wanted, words in LINES:
        code, out, said = run(capsys, *shlex.split(line))
        one_line = line == "" or (said.startswith("texgen: error: ") and said.count("\n") == 1 and said.endswith("\n"))
        if (
            code != wanted
            or words not in said + out
            or not one_line
            or "internal error:" in said
            or state(here) != before
        ):
            wrong.append(f"{line}: {code} instead of {wanted}: {said.strip()} ({words!r})")
            for path in set(state(here)) - set(before):
                if Path(path).is_file():
                    Path(path).unlink()
    assert len(LINES) >= 150
    assert not wrong, "\n".join(wrong)


SWATCH = np.random.default_rng(0).integers(0, 255, (80, 96, 3), np.uint8)

CALLS: list[tuple[dict[str, Any], type[TexgenError], str]] = [
    ({"foo": 1}, OptionTypeError, r"expand\(\) has no option 'foo'"),
    ({"tilable": "x"}, OptionTypeError, "did you mean 'tileable'"),
    ({"preset": "fast"}, OptionError, "choose one of draft"),
    ({"tileable": True}, OptionTypeError, "must be 'both' or 'x'"),
    ({"seed": True}, OptionTypeError, "must be a whole number"),
    ({"seed": 1.5}, OptionTypeError, "must be a whole number"),
    ({"seed": "1"}, OptionTypeError, "must be a whole number"),
    ({"seed": -1}, OptionError, "must be from 0"),
    ({"seed": 2**63}, OptionError, "must be from 0"),
    ({"callback": 5}, OptionTypeError, "must be a function"),
    ({"checkpoint": 5}, OptionTypeError, "must be the path of a folder"),
    ({"resume": 1}, OptionTypeError, "must be True or False"),
    ({"resume": True}, OptionError, "needs checkpoint"),
    ({"team": 3}, OptionTypeError, "team=3"),
    ({"model": 5}, OptionTypeError, "model=5"),
    ({"rotate": 45}, OptionError, "choose one of 0, 90"),
    ({"crop": [1, 2]}, OptionTypeError, "four whole numbers"),
    ({"crop": "0,0,64,64"}, OptionTypeError, "four whole numbers"),
    ({"exemplars": "a.png"}, OptionTypeError, "must be a list"),
    ({"exemplars": 5}, OptionTypeError, "must be a list"),
    ({"exemplar_weights": "a"}, OptionTypeError, "list of numbers"),
    ({"exemplar_weights": [1, 2]}, OptionError, "must be 1 numbers"),
    ({"exemplar_scale": float("nan")}, OptionError, "must be from 0.05"),
    ({"exemplar_scale": "2"}, OptionTypeError, "must be a number"),
    (
        {"exemplar_scale": 2, "exemplar_size": 128},
        OptionError,
        "exemplar_scale=2 and exemplar_size=128 both resize the swatch; give one",
    ),
    ({"flatten_light": "yes"}, OptionTypeError, "True or False"),
    ({"maps": 5}, OptionTypeError, "dictionary of names and maps"),
    ({"rotate": 90.0}, OptionTypeError, "must be 0 or 90"),
    ({"maps": {"height": 3}}, InputError, "is no map"),
    ({"map_guides": "height"}, OptionTypeError, "must be a list"),
    ({"guides": 3}, OptionTypeError, "must be a list"),
    ({"guides": [3]}, OptionTypeError, "a tuple of two maps"),
    ({"orientation": 3}, InputError, "is no map"),
    ({"symmetry": "turn"}, OptionError, "choose one of"),
    ({"start": "middle"}, OptionError, "choose one of quilt"),
    ({"bit_depth": "12"}, OptionError, "choose one of 8"),
    ({"size_m": "a"}, OptionTypeError, "must be a number"),
    ({"size_m": 1.0, "texel_density": 2.0}, OptionError, "give one of them"),
    ({"detail": "none"}, OptionError, "is for diffusion models"),
    ({"model": "mini", "detail": "foo"}, OptionError, "choose one of residual"),
    ({"model": "mini", "schedule": "foo"}, OptionError, "choose one of fixed"),
    ({"model": "mini", "tile_batch": 1.5}, OptionTypeError, "must be a whole number"),
    ({"model": "mini", "start_time": -5}, OptionError, "must be from 0"),
    ({"model": "mini", "layers": "x"}, OptionTypeError, "a list of numbers and names"),
    ({"model": "mini", "lr": float("nan")}, OptionError, "must be from"),
    ({"model": "mini", "symmetry": "all"}, OptionError, "is for the swatch model"),
    ({"size": "64"}, OptionTypeError, "one number of pixels or"),
    ({"size": 64.0}, OptionTypeError, "one number of pixels or"),
    ({"size": (64, 64, 3)}, OptionTypeError, "one number of pixels or"),
    ({"size": True}, OptionTypeError, "one number of pixels or"),
    ({"size": 10**20}, OptionError, "must be from 1 to 1000000"),
    ({"size": 900_000}, ResourceError, "GiB of disk"),
    ({"image": None}, InputError, "is no picture"),
    ({"image": 5}, InputError, "is no picture"),
    ({"image": b"hello"}, InputError, "not an image of a known format"),
    ({"image": b""}, InputError, "empty|not an image"),
    ({"image": io.BytesIO(b"")}, InputError, "gives no bytes"),
    ({"image": np.zeros((8, 8))}, InputError, "too small"),
    ({"image": np.full((80, 80, 3), np.nan)}, InputError, "finite"),
    ({"image": np.full((80, 80, 3), 2.0)}, InputError, r"in \[0, 1\]"),
    ({"image": np.zeros((80, 80, 7), np.uint8)}, InputError, "1 to 4 channels"),
    ({"image": np.zeros((80, 80, 3), np.int64)}, InputError, "uint8, uint16 or float"),
    ({"model": "mini", "start": "middle"}, OptionError, "choose one of swatch, noise"),
    ({"model": "mini", "start": "quilt"}, OptionError, "choose one of swatch, noise"),
    ({"model": "mini", "loop": "foo"}, OptionError, "choose one of sample"),
    ({"model": "mini", "inject": "foo"}, OptionError, "choose one of none"),
    ({"model": "mini", "window": 3}, OptionTypeError, "must be 'ones' or"),
    ({"model": "mini", "dtype": "int8"}, OptionError, "choose one of auto"),
    ({"model": "mini", "tile_overlap": -1}, OptionError, "must be from 0"),
    ({"model": "mini", "memory": float("inf")}, OptionError, "must be from 0.1"),
    ({"model": "mini", "adain": 3}, OptionTypeError, "True or False"),
    ({"model": "mini", "layers": [1.5]}, OptionTypeError, "a list of numbers and names"),
    ({"model": "mini", "device": 5}, OptionTypeError, "must be a text"),
    ({"model": "mini", "device": "meta"}, OptionError, "is not available"),
    ({"tileable": np.zeros(2)}, OptionTypeError, "must be 'both' or"),
    ({"exemplars": SWATCH}, OptionTypeError, "must be a list"),
    ({"exemplars": {"a": SWATCH}}, OptionTypeError, "must be a list"),
    ({"size": np.float32(64)}, OptionTypeError, "one number of pixels or"),
    ({"size": [64, None]}, OptionTypeError, "one number of pixels or"),
    ({"crop": [0, 0, 500, 500]}, OptionError, "lies outside the 96x80 swatch"),
    ({"keep": "x"}, OptionTypeError, "two whole numbers"),
]


LABELS = np.arange(96) // 48 + np.ones((80, 96), int)
VERBS: list[tuple[Callable[[], object], type[Exception], str]] = [
    # what is called
    (lambda: texgen.expand(), OptionTypeError, r"expand\(\): missing a required argument: 'image'"),
    (lambda: texgen.expand(SWATCH, 64, 64), OptionTypeError, "too many positional arguments"),
    (lambda: texgen.expand(SWATCH, sise=64), OptionTypeError, r"expand\(\) has no option 'sise'; did you mean 'size'"),
    (lambda: texgen.layout(SWATCH), OptionTypeError, "missing a required argument: 'plan'"),
    (lambda: texgen.layout(SWATCH, SWATCH, layout_wieght=1), OptionTypeError, "did you mean 'layout_weight'"),
    (lambda: texgen.paint(SWATCH, LABELS, softnes=1), OptionTypeError, r"paint\(\) has no option 'softnes'; did you mean 'softness'"),
    (lambda: texgen.fill(SWATCH, SWATCH, keep=(1, 1)), OptionTypeError, r"fill\(\) has no option 'keep'"),
    (lambda: texgen.tile(SWATCH, size=64), OptionTypeError, r"tile\(\) has no option 'size'"),
    (lambda: texgen.transfer(SWATCH, SWATCH, wieght=2), OptionTypeError, "did you mean 'weight'"),
    (lambda: texgen.text(SWATCH), OptionTypeError, "missing a required argument: 'prompt'"),
    (lambda: texgen.wang(SWATCH, 64, color=2), OptionTypeError, "did you mean 'colours'"),
    (lambda: texgen.render("f.tif", map={}), OptionTypeError, "did you mean 'maps'"),
    (lambda: texgen.material(SWATCH, rougness=1), OptionTypeError, r"material\(\) has no option 'rougness'; did you mean 'roughness'"),
    (lambda: texgen.material(SWATCH, steps=1), OptionTypeError, "no option 'steps'"),
    (lambda: texgen.preview("wall.png", wdith=300), OptionTypeError, "did you mean 'width'"),
    (lambda: texgen.export("wall.png", "out", profil="unity"), OptionTypeError, "did you mean 'profile'"),
    (lambda: texgen.inspect(), OptionTypeError, "missing a required argument: 'path'"),
    # options of one verb
    (lambda: texgen.expand(SWATCH, 128, keep=5), OptionTypeError, "keep=5 must be two whole numbers"),
    (lambda: texgen.expand(SWATCH, 128, keep=(1, 2, 3)), OptionTypeError, "two whole numbers"),
    (lambda: texgen.expand(SWATCH, 128, keep=(0.5, 2)), OptionTypeError, "two whole numbers"),
    (lambda: texgen.expand(SWATCH, 128, keep=(-1, 0)), OptionError, "does not fit there"),
    (lambda: texgen.layout(SWATCH, SWATCH, layout_weight="x"), OptionTypeError, "layout_weight='x' must be a number"),
    (lambda: texgen.layout(SWATCH, SWATCH, layout_weight=float("nan")), OptionError, "layout_weight=nan must be from 0"),
    (lambda: texgen.layout(SWATCH, SWATCH, layout_weight=True), OptionTypeError, "must be a number"),
    (lambda: texgen.layout(SWATCH, SWATCH, content_weight=float("inf"), model="mini"), OptionError, "must be from 0"),
    (lambda: texgen.layout(SWATCH, None), InputError, "is no picture"),
    (lambda: texgen.paint({1: SWATCH}, LABELS, softness=-1), OptionError, "softness=-1 must be from 0"),
    (lambda: texgen.paint({1: SWATCH}, LABELS, softness=[1]), OptionTypeError, "must be a number"),
    (lambda: texgen.paint({1: SWATCH}, LABELS), InputError, "has no swatch"),
    (lambda: texgen.paint({}, LABELS), OptionError, "at least one"),
    (lambda: texgen.paint({"nocolour": SWATCH}, LABELS), OptionError, "is no colour"),
    (lambda: texgen.paint({1: SWATCH}, {}), OptionError, "at least one"),
    (lambda: texgen.paint({1: SWATCH}, LABELS, exemplars=[SWATCH]), OptionError, "do not go with labels"),
    (lambda: texgen.paint(SWATCH, LABELS), OptionError, "is missing"),
    (lambda: texgen.fill(SWATCH, None), InputError, "is no picture"),
    (lambda: texgen.fill(SWATCH, np.zeros((80, 96, 3), np.uint8)), InputError, "there is no hole"),
    (lambda: texgen.tile(SWATCH, 16.5), OptionTypeError, "band=16.5 must be a whole number"),
    (lambda: texgen.tile(SWATCH, "x"), OptionTypeError, "whole number"),
    (lambda: texgen.tile(SWATCH, 8), OptionError, "from 16"),
    (lambda: texgen.tile(SWATCH, exemplar_size=np.int64(128)), OptionError, "unlike the picture"),
    (lambda: texgen.transfer(SWATCH, SWATCH, weight="x"), OptionTypeError, "must be a number"),
    (lambda: texgen.transfer(SWATCH, SWATCH, mode=3, model="mini"), OptionTypeError, "must be 'style' or 'appearance'"),
    (lambda: texgen.transfer(SWATCH, SWATCH, mode="both", model="mini"), OptionError, "choose one of style"),
    (lambda: texgen.transfer(SWATCH, SWATCH, labels=LABELS), OptionError, "go together"),
    (lambda: texgen.text(SWATCH, 5), OptionTypeError, "prompt=5 must be a text"),
    (lambda: texgen.text(SWATCH, "wall"), ModelError, "reads no prompt"),
    (lambda: texgen.text(SWATCH, " ", model="mini"), OptionError, "the prompt is empty"),
    (lambda: texgen.text(SWATCH, "wall", guidance_scale="x"), OptionTypeError, "must be a number"),
    (lambda: texgen.wang(SWATCH, "x"), OptionTypeError, "size='x' must be a whole number"),
    (lambda: texgen.wang(SWATCH, 32), OptionError, "from 64"),
    (lambda: texgen.wang(SWATCH, 64, 5), OptionTypeError, "two whole numbers"),
    (lambda: texgen.wang(SWATCH, 64, (2, 9)), OptionError, "from 1 to 4"),
    (lambda: texgen.wang(SWATCH, 64, model="mini"), OptionError, "leave model and tileable out"),
    (lambda: texgen.wang(SWATCH, 64, tileable="x"), OptionError, "meet on all sides"),
    (lambda: texgen.render(None, {"height": SWATCH}), OptionTypeError, "field=None must be the path of a file"),
    (lambda: texgen.render("none.tif", {"height": SWATCH}), InputError, "no such file"),
    (lambda: texgen.render("f.tif", {}), OptionError, "no map to render"),
    (lambda: texgen.render("f.tif", SWATCH), OptionTypeError, "dictionary of names and maps"),
    (lambda: texgen.material(None), InputError, "is no picture"),
    (lambda: texgen.material(SWATCH, 5), OptionTypeError, "out=5 must be the path of a file"),
    (lambda: texgen.material(SWATCH, ao="x"), OptionTypeError, "must be a number"),
    (lambda: texgen.material(SWATCH, invert=1), OptionTypeError, "True or False"),
    (lambda: texgen.material(SWATCH, tileable="z"), OptionError, "choose one of both"),
    (lambda: texgen.material(SWATCH, relief=float("nan")), OptionError, "from 0"),
    (lambda: texgen.preview(5), InputError, "is no material"),
    (lambda: texgen.preview("none.png"), InputError, "no such file"),
    (lambda: texgen.preview("wall.png", width="x"), OptionTypeError, "whole number"),
    (lambda: texgen.preview("wall.png", light=float("nan")), OptionError, "light=nan"),
    (lambda: texgen.export("wall.png", None), OptionTypeError, "folder=None must be the path of a folder"),
    (lambda: texgen.export(5, "out"), InputError, "is no material"),
    (lambda: texgen.export("wall.png", "out", 5), OptionTypeError, "must be a list"),
    (lambda: texgen.export("wall.png", "out", ["unreal", 5]), OptionTypeError, "must be a text"),
    (lambda: texgen.export("wall.png", "out", "quake"), OptionError, "is not known"),
    (lambda: texgen.export("wall.png", "out", size_m=float("nan")), OptionError, "size_m=nan"),
    (lambda: texgen.export("wall.png", "out", split=3.5), OptionTypeError, "whole number"),
    (lambda: texgen.preview("n" * 500), OptionError, "the name is too long"),
    (lambda: texgen.inspect(5), OptionTypeError, "path=5 must be the path of a file"),
    (lambda: texgen.load(5), ModelError, "no such model"),
    (lambda: texgen.load("mini", device="meta"), OptionError, "device='meta' is not available"),
    (lambda: texgen.load("mini", device="gpu9"), OptionError, "is not available"),
    (lambda: texgen.load("mini", dtype="int8"), OptionError, "is not known"),
]  # fmt: skip


@pytest.mark.parametrize("number", range(len(VERBS)))
def test_every_verb_refuses_mistakes_before_any_work(here, number):
    call, kind, words = VERBS[number]
    before = state(here)
    with pytest.raises(kind, match=words) as found:
        call()
    assert isinstance(found.value, TexgenError) and "\n" not in str(found.value)
    assert isinstance(found.value, TypeError) == (kind is OptionTypeError)
    assert state(here) == before


@pytest.mark.parametrize("number", range(len(CALLS)))
def test_every_mistake_in_python_is_an_error_of_ours_and_of_pythons(number):
    options, kind, words = CALLS[number]
    image, size = options.get("image", SWATCH), options.get("size", 128)
    rest = {name: value for name, value in options.items() if name not in ("image", "size")}
    with pytest.raises(kind, match=words) as found:
        texgen.expand(image, size, **rest)
    assert isinstance(found.value, TexgenError)
    assert isinstance(found.value, TypeError | ValueError) or kind in (ModelError, ResourceError)
    assert isinstance(found.value, TypeError) == (kind is OptionTypeError)


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ({"WORLD_SIZE": "2"}, "WORLD_SIZE=2 without RANK"),
        ({"WORLD_SIZE": "2", "RANK": "0"}, "without MASTER_PORT"),
        ({"WORLD_SIZE": "two"}, "WORLD_SIZE='two' must be a number"),
        ({"TEXGEN_SEED": "-1"}, "TEXGEN_SEED: seed=-1 must be from 0"),
        ({"TEXGEN_SEDE": "1"}, "TEXGEN_SEDE: there is no such option; did you mean 'seed'"),
    ],
)
def test_an_environment_that_makes_no_sense_is_refused(capsys, here, monkeypatch, environment, words):
    for name in ("RANK", "MASTER_PORT", "MASTER_ADDR"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    before = state(here)
    code, _, said = run(capsys, *EXPAND.split())
    assert code == USAGE and words in said and said.count("\n") == 1 and state(here) == before


def test_names_that_are_no_utf8_are_read_and_written(capsys, here):
    name = os.fsdecode(b"\xff.png")
    Path("s.png").rename(name)
    assert run(capsys, "expand", name, "-o", os.fsdecode(b"o\xfe.png"), "--size", "64", "--preset", "draft")[0] == 0
    assert {os.fsencode(path.name) for path in Path().glob("o*.png*")} >= {b"o\xfe.png", b"o\xfe.png.json"}


def test_names_are_kept_in_the_plainest_locale(here):
    """Python then takes all but ASCII for bytes of no known meaning, unless it is let to change the locale."""
    plain = {"LC_ALL": "C", "LANG": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    Path("s.png").rename("\u00e9.png")
    words = [
        "expand",
        "\u00e9.png",
        "-o",
        "\u00f6.png",
        "--map",
        "height=\u00e9.png",
        "--size",
        "64",
        "--preset",
        "draft",
    ]
    done = subprocess.run(
        [sys.executable, "-m", "texgen", *words], env=os.environ | plain, capture_output=True, check=False
    )
    assert done.returncode == 0 and b"error" not in done.stderr, done.stderr
    assert {path.name for path in Path().glob("\u00f6*")} == {"\u00f6.png", "\u00f6.png.json", "\u00f6_height.png"}
    done = subprocess.run(
        [sys.executable, "-m", "texgen", "expand", "\u00fc.png", "-o", "o.png"], env=os.environ | plain, capture_output=True, check=False,
    )  # fmt: skip
    assert done.returncode == INPUT and done.stderr.endswith(b".png: no such file.\n") and done.stderr.count(b"\n") == 1


def test_the_longest_name_is_written_with_all_that_lies_beside_it(capsys, here):
    out = "\u00e9" * 98 + ".png"  # 200 bytes
    line = ["expand", "s.png", "-o", out, "--size", "64", "--preset", "draft"]
    assert run(capsys, *line)[0] == 0
    assert Path(out).is_file() and Path(f"{out}.json").is_file() and not list(Path().glob(".*"))
    code, _, said = run(capsys, "expand", "s.png", "-o", f"x{out}", "--size", "64")
    assert code == USAGE and "the name is too long" in said
