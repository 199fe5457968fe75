"""The command line: files in, files out, exit codes, one-line errors."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
import tifffile
from PIL import Image

from texgen.cli import main as cli
from texgen.errors import LockedError, OptionError
from texgen.files import lock
from texgen.files.lock import locked


def run(capsys, *args, main=cli.main) -> tuple[int, str, str]:
    """Exit code, stdout, stderr of a call in this process."""
    with pytest.raises(SystemExit) as stop:
        main([str(a) for a in args])
    captured = capsys.readouterr()
    return int(stop.value.code or 0), captured.out, captured.err


def test_a_run_writes_a_picture_a_sidecar_and_prints_the_seed(capsys, swatch, tmp_path):
    out = tmp_path / "out.png"
    code, stdout, stderr = run(
        capsys,
        "expand",
        swatch,
        "-o",
        out,
        "--size",
        "160x128",
        "--preset",
        "draft",
        "--save-map",
        tmp_path / "map.tif",
    )
    assert (code, stdout) == (0, "")
    with Image.open(out) as image:
        assert image.size == (160, 128)
    recipe = json.loads((tmp_path / "out.png.json").read_text())
    assert f"seed {recipe['seed']}" in stderr
    assert sorted(p.name for p in tmp_path.iterdir()) == ["map.tif", "out.png", "out.png.json"]


def test_the_same_seed_writes_the_same_bytes_in_two_processes(capsys, swatch, tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    options = ["--size", "128", "--seed", "7"]
    command = [sys.executable, "-m", "texgen", "expand", swatch, "-o", tmp_path / "a" / "o.png", *options]
    subprocess.run(command, check=True, capture_output=True)
    assert run(capsys, "expand", swatch, "-o", tmp_path / "b" / "o.png", *options)[0] == 0
    assert (tmp_path / "a" / "o.png").read_bytes() == (tmp_path / "b" / "o.png").read_bytes()


def test_variations_are_numbered_and_their_seeds_count_up(capsys, swatch, tmp_path):
    code, _, stderr = run(
        capsys,
        "expand",
        swatch,
        "-o",
        tmp_path / "v.png",
        "--size",
        "128",
        "--preset",
        "draft",
        "--seed",
        "4",
        "--variations",
        "2",
        "--no-metadata",
    )
    assert code == 0 and "v-1.png: seed 4" in stderr and "v-2.png: seed 5" in stderr
    assert sorted(p.name for p in tmp_path.iterdir()) == ["v-1.png", "v-2.png"]
    assert (tmp_path / "v-1.png").read_bytes() != (tmp_path / "v-2.png").read_bytes()


def test_progress_as_json_is_one_event_a_line(capsys, swatch, tmp_path):
    _, _, stderr = run(
        capsys,
        "expand",
        swatch,
        "-o",
        tmp_path / "o.png",
        "--size",
        "128",
        "--model",
        "mini",
        "--strength",
        "0.04",
        "--steps",
        "75",
        "--seed",
        "1",
        "--iterations",
        "0",
        "--progress",
        "json",
    )
    events = [json.loads(line) for line in stderr.splitlines()]
    assert [e["event"] for e in events if e["event"] not in ("stage", "progress")] == ["begin", "done"]
    assert [e["name"] for e in events if e["event"] == "stage"] == [
        "read",
        "load",
        "encode",
        "start",
        "load",
        "start",
        "search",
        "render",
        "tune",
        "sample",
        "detail",
        "decode",
        "save",
    ]
    steps = [e for e in events if e["event"] == "progress" and e["stage"] == "sample"]
    assert [(e["done"], e["total"], e["unit"]) for e in steps] == [(n, 3, "step") for n in (1, 2, 3)]
    assert events[-1]["seconds"] > 0 and events[-1]["memory_mib"] > 50 and events[-1]["made"] is True


def test_a_model_folder_runs_from_the_command_line(capsys, swatch, sd_folder, tmp_path):
    code, _, _ = run(
        capsys,
        "expand",
        swatch,
        "-o",
        tmp_path / "o.tif",
        "--size",
        "128",
        "--model",
        sd_folder,
        "--steps",
        "4",
        "--crop",
        "0,0,128,128",
    )
    assert code == 0 and (tmp_path / "o.tif").exists()


def test_help_imports_no_torch_and_the_package_no_diffusers():
    probe = "import sys; from texgen.cli import main as cli\ntry: cli.main(['expand', '--help'])\nexcept SystemExit: print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True).stdout.endswith(
        "False\n"
    )
    probe = "import sys, texgen; print('diffusers' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True).stdout == "False\n"


def test_models_and_doctor_answer(capsys):
    code, stdout, _ = run(capsys, "models")
    assert code == 0 and stdout.startswith("swatch\t") and "\nmini\tbundled" in stdout
    code, stdout, _ = run(capsys, "doctor")
    assert code == 0 and "mini ok" in stdout


def test_an_unexpected_failure_is_one_line_and_exit_code_1(capsys, swatch, tmp_path, monkeypatch):
    from texgen.cli import run_verb

    run_verb._loaded.cache_clear()
    monkeypatch.setattr("texgen.diffusion.models.load", lambda *_: 1 / 0)
    code, _, stderr = run(capsys, "expand", swatch, "-o", tmp_path / "o.png", "--size", "128", "--model", "mini")
    assert code == 1 and "internal error: ZeroDivisionError" in stderr.splitlines()[-1]


def test_a_second_run_on_the_same_output_is_refused(tmp_path):
    out = tmp_path / "o.png"
    with (
        locked(out),
        pytest.raises(LockedError, match="another run is writing this output"),
        locked(out),
    ):
        pass
    with locked(out):
        pass
    assert not list(tmp_path.iterdir())


def test_a_lock_that_its_run_removes_while_another_takes_it_holds_nobody_off_and_is_taken_anew(tmp_path, monkeypatch):
    opened, calls = lock._opened, []

    def removed_once(path):
        handle = opened(path)
        calls.append(path)
        if len(calls) == 1:
            path.unlink()
        return handle

    monkeypatch.setattr(lock, "_opened", removed_once)
    with locked(tmp_path / "o.png"), pytest.raises(LockedError), locked(tmp_path / "o.png"):
        pass
    assert len(calls) == 3


def test_what_the_user_has_under_the_name_of_a_lock_stays_as_it_is(tmp_path):
    (tmp_path / "mine").write_bytes(b"mine")
    linked, kept = tmp_path / ".a.png.lock", tmp_path / ".b.png.lock"
    linked.symlink_to(tmp_path / "mine")
    kept.write_bytes(b"mine")
    with pytest.raises(OptionError, match="is a link, where a lock goes"), locked(tmp_path / "a.png"):
        pass
    with locked(tmp_path / "b.png"):
        pass
    assert linked.is_symlink() and linked.read_bytes() == kept.read_bytes() == b"mine"


def test_a_deep_pyramid_of_a_flattened_swatch_is_written(capsys, swatch, tmp_path):
    out = tmp_path / "o.tif"
    options = [
        "--size",
        "640x128",
        "--preset",
        "draft",
        "--seed",
        "1",
        "--bit-depth",
        "16",
        "--pyramid",
        "--flatten-light",
    ]
    assert run(capsys, "expand", swatch, "-o", out, *options)[0] == 0
    with tifffile.TiffFile(out) as file:
        assert [level.shape for level in file.series[0].levels] == [(128, 640, 3), (64, 320, 3)]
        assert file.pages[0].dtype == np.uint16
        assert json.loads(file.pages[0].description)["preparation"]["flatten_light"] is True
    assert sorted(p.name for p in tmp_path.iterdir()) == ["o.tif", "o.tif.json"]
    assert run(capsys, "expand", swatch, "-o", tmp_path / "o.jpg", "--bit-depth", "16")[0] == 2
