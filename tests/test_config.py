"""Defaults set once and for all, and completion in shells."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image
from test_cli import run


@pytest.fixture
def here(tmp_path, monkeypatch, swatch) -> Path:
    """A folder with a swatch, as the current one; the user's own settings are elsewhere."""
    with Image.open(swatch) as image:
        image.crop((0, 0, 128, 128)).save(tmp_path / "s.png")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    return tmp_path


def recipe(capsys, *words: str) -> dict:
    code, _, said = run(capsys, "expand", "s.png", "-o", "o.png", "--overwrite", *words)
    assert code == 0, said
    return json.loads(Path("o.png.json").read_text())


def test_the_command_line_comes_before_the_environment_that_before_the_file_that_before_the_default(
    capsys, here, monkeypatch
):
    Path("texgen.toml").write_text('preset = "best"\nseed = 1\nsize = 80\n[expand]\nseed = 2\nsize = "96x64"\n')
    monkeypatch.setenv("TEXGEN_PRESET", "draft")
    found = recipe(capsys)
    assert (found["preset"], found["seed"], found["size"], found["tileable"]) == (
        "draft",
        2,
        {"width": 96, "height": 64},
        "both",
    )
    monkeypatch.setenv("TEXGEN_SEED", "3")
    assert recipe(capsys)["seed"] == 3 and recipe(capsys, "--seed", "4")["seed"] == 4
    monkeypatch.delenv("TEXGEN_PRESET")
    Path("texgen.toml").write_text(
        '[paint]\npreset = "best"\n[expand]\nexemplar = ["s.png"]\npreset = "draft"\nflatten-light = true\n'
    )
    found = recipe(capsys, "--size", "64")
    assert len(found["exemplars"]) == 2 and found["preparation"]["flatten_light"]


def test_the_user_s_own_file_holds_where_the_folder_has_none(capsys, here):
    own = here / "config" / "texgen" / "texgen.toml"
    own.parent.mkdir(parents=True)
    own.write_text('preset = "draft"\nsize = 64\nsteps = 3\n')
    found = recipe(capsys)
    assert found["preset"] == "draft" and found["size"]["width"] == 64, (
        "and what only diffusion models have is left to them"
    )


@pytest.mark.parametrize(
    ("text", "code", "said"),
    [
        ("sede = 1", 2, "texgen.toml: sede: there is no such option; did you mean 'seed'?"),
        ("[expnd]\nseed = 1", 2, "texgen.toml: [expnd] is no verb; did you mean 'expand'?"),
        ("[fill]\nlayout = 1", 2, "texgen.toml: [fill] layout: there is no such option"),
        ("seed = -4", 2, "texgen.toml: seed: seed=-4 must be from 0"),
        ('preset = "fast"', 2, "texgen.toml: preset: preset='fast' is not known"),
        ("size = [1, 2]", 2, "texgen.toml: size:"),
        ("seed = ", 3, "texgen.toml: cannot be read"),
    ],
)
def test_what_cannot_be_a_default_is_said_with_its_place(capsys, here, text, code, said):
    Path("texgen.toml").write_text(text)
    found, _, stderr = run(capsys, "expand", "s.png", "-o", "o.png", "--size", "64")
    assert found == code and said in stderr and stderr.count("\n") == 1 and not Path("o.png").exists()


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_is_told_how_to_complete(capsys, shell):
    code, out, _ = run(capsys, "completion", shell)
    assert code == 0 and f"_TEXGEN_COMPLETE={shell}_complete" in out


def test_verbs_options_and_choices_are_completed():
    def completed(words: str, number: int) -> list[str]:
        told = {**os.environ, "_TEXGEN_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": str(number)}
        call = "import sys; sys.argv[0] = 'texgen'; from texgen.cli.main import main; main()"
        done = subprocess.run([sys.executable, "-c", call], env=told, capture_output=True, text=True, check=False)
        return [line.partition(",")[2] for line in done.stdout.splitlines()]

    assert completed("texgen exp", 1) == ["expand", "export"]
    assert completed("texgen expand s.png --tile-ov", 3) == ["--tile-overlap"]
    assert completed("texgen expand s.png --preset ", 4) == ["draft", "standard", "best", "published"]
