"""Every verb that a diffusion model runs, with every family of models, on the command line; and what does not go together."""

from __future__ import annotations

import json
import re
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import tiny
import tiny_transformers
from PIL import Image
from test_cli import run
from test_transfer import picture

COMMON = ["--native-size", "128", "--steps", "1", "--seed", "3"]
"""Of all runs, so that the command line keeps a family's model loaded."""
VERBS = {
    "expand": ["swatch.png", "--size", "128", "--start", "noise", "--tileable", "none"],
    "layout": ["swatch.png", "--layout", "content.png", "--start", "layout"],
    "paint": ["swatch.png", "--labels", "labels.png", "--target", "target.png"],
    "fill": ["content.png", "--hole", "hole.png", "--start", "noise"],
    "tile": ["content.png", "--band", "32", "--start", "noise"],
    "transfer": ["swatch.png", "content.png"],
    "synthesize": ["swatch.png", "--size", "128"],
    "text": ["swatch.png", "a b", "--size", "128"],
}
FAMILIES = {
    "sd1": tiny.save_folder,
    "sd2": partial(tiny.save_folder, family="sd2"),
    "sdxl": tiny.save_xl_folder,
    "sd3": partial(tiny_transformers.save_folder, family="sd3"),
    "flux": partial(tiny_transformers.save_folder, family="flux"),
}
PREDICTED = {"sd1": "epsilon", "sd2": "v_prediction", "sdxl": "epsilon", "sd3": "velocity", "flux": "velocity"}


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    labels, hole = np.zeros((128, 128), np.uint8), np.zeros((128, 128), np.uint8)
    labels[:, 64:], hole[32:80, 32:80] = 255, 255
    drawn = {"labels": labels, "target": labels.T, "hole": hole}
    drawn |= {name: np.uint8(picture(seed) * 255) for name, seed in (("swatch", 1), ("content", 2))}
    drawn["transparent"] = np.dstack([drawn["swatch"], labels])
    drawn["foreign"] = np.where(hole, 77, labels).astype(np.uint8)
    for name, pixels in drawn.items():
        Image.fromarray(pixels).save(folder / f"{name}.png")
    return folder


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("families")
    return {family: save(root / f"tiny-{family}") for family, save in FAMILIES.items()}


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_runs_every_verb(verb, family, folders, pictures, tmp_path, capsys):
    words = [_placed(each, pictures) for each in VERBS[verb]]
    out = tmp_path / "o.png"
    code, _, said = run(capsys, verb, *words, "-o", out, "--model", folders[family], *COMMON)
    assert code == 0, said
    recipe = json.loads((tmp_path / "o.png.json").read_text())
    assert (recipe["task"], recipe["model"]) == (verb, f"tiny-{family}") and recipe["ad_iterations"] > 0
    assert recipe["prediction_type"] == PREDICTED[family]
    if verb == "text":
        assert recipe["guidance_scale"] == (3.5 if family == "flux" else 7.0) and recipe["guidance"]["adain"]
    made, given = (np.asarray(Image.open(path)) for path in (out, pictures / "content.png"))
    assert made.shape == (128, 128, 3) and made.std() > 1
    if verb in ("fill", "tile"):
        kept = np.s_[:32] if verb == "fill" else np.s_[32:96, 32:96]
        assert np.array_equal(made[kept], given[kept]) and not np.array_equal(made, given)


EXPAND = VERBS["expand"]
OPTIONS, MODEL, INPUT = 2, 4, 3
"""Exit codes."""
REFUSED = [
    # (family, None for the swatch model; verb and words; exit code; what is said)
    (None, "synthesize", VERBS["synthesize"], MODEL, "the swatch model does not synthesize from noise; give model"),
    (None, "text", VERBS["text"], MODEL, "the swatch model reads no prompt; give model"),
    (None, "transfer", [*VERBS["transfer"], "--mode", "style"], OPTIONS, "mode='style' is for diffusion models"),
    ("sd1", "transfer", [*VERBS["transfer"], "--weight", "2"], OPTIONS, "weight=2.0 is for the swatch model; use content_weight"),
    ("sd1", "transfer", [*VERBS["transfer"], "--labels", "labels.png"], OPTIONS, "go together; give both"),
    ("sd1", "expand", ["swatch.png", "--size", "64"], OPTIONS, "size=64x64 is too small; at least 128 px a side"),
    ("sd1", "expand", ["swatch.png", "--size", "128", "--wang", "2x2"], OPTIONS, "Wang tiles are made by the swatch model"),
    ("sd1", "expand", ["swatch.png", "--size", "128", "--map", "normal=swatch.png"], OPTIONS, "maps is for the swatch model"),
    ("sd1", "expand", [*EXPAND, "--guide", "swatch.png:content.png"], OPTIONS, "guides is for the swatch model"),
    ("sd1", "expand", [*EXPAND, "--orientation", "labels.png"], OPTIONS, "orientation is for the swatch model"),
    ("sd1", "expand", ["transparent.png", "--size", "128"], INPUT, "which a diffusion model does not know; use model='swatch'"),
    ("sd1", "expand", ["swatch.png", "--size", "128", "--start", "layout"], OPTIONS, "start='layout' is not known; choose one of"),
    ("sd1", "layout", ["swatch.png", "--layout", "content.png", "--start", "scatter"], OPTIONS, "start='scatter' is not known; choose one of"),
    ("sd1", "paint", [*VERBS["paint"], "--adain"], OPTIONS, "adain would give each tile the statistics of all materials"),
    ("sd1", "paint", ["swatch.png", "--labels", "labels.png", "--target", "foreign.png"], INPUT, "target: label #4d4d4d (2304 px, the first at x=32, y=32) has no swatch"),
    ("sd1", "synthesize", [*VERBS["synthesize"], "--strength", "0.5"], OPTIONS, "strength=0.5 needs start='swatch'"),
    ("sd1", "synthesize", [*VERBS["synthesize"], "--loop", "sample"], OPTIONS, "loop='sample' is for texgen.expand"),
    ("sd1", "synthesize", [*VERBS["synthesize"], "--inject", "beside"], OPTIONS, "inject does nothing with loop='optimize'"),
    ("sd1", "text", [*VERBS["text"], "--loop", "optimize"], OPTIONS, "the prompt would do nothing with loop='optimize'"),
    ("sd1", "text", ["swatch.png", " ", "--size", "128"], OPTIONS, "the prompt is empty"),
    ("sd1", "text", [*VERBS["text"], "--control", "swatch.png"], OPTIONS, "1 control pictures are given for 0 ControlNets"),
    ("sd2", "expand", [*EXPAND, "--native-size", "100"], OPTIONS, "native_size=100 must be a multiple of"),
    ("sd2", "expand", [*EXPAND, "--dtype", "float16"], OPTIONS, "dtype='float16' is not for a CPU"),
    ("sdxl", "text", ["swatch.png", "a " * 80, "--size", "128"], OPTIONS, "has 80 tokens, the model reads 75"),
    ("sd3", "expand", [*EXPAND, "--inject", "beside"], OPTIONS, "inject='beside' is for models with a UNet"),
    ("sd3", "expand", [*EXPAND, "--prediction-type", "v"], OPTIONS, "prediction_type is for models with a UNet"),
    ("flux", "text", [*VERBS["text"], "--negative-prompt", "b"], OPTIONS, "has distilled guidance"),
    ("flux", "text", [*VERBS["text"], "--controlnet", "x", "--control", "swatch.png"], OPTIONS, "controlnets are for models with a UNet"),
]  # fmt: skip


@pytest.mark.parametrize(("family", "verb", "words", "exit_code", "message"), REFUSED)
def test_what_does_not_go_together_is_refused_before_the_work(
    family, verb, words, exit_code, message, folders, pictures, tmp_path, capsys
):
    words = [_placed(each, pictures) for each in words]
    model = [] if family is None else ["--model", folders[family], *COMMON]
    code, _, said = run(capsys, verb, *model, *words, "-o", tmp_path / "o.png")
    assert (code, message in said) == (exit_code, True), f"{code}: {said}"
    assert not list(tmp_path.iterdir())


def _placed(word: str, folder: Path) -> str:
    """With the folder before every picture's name."""
    return re.sub(r"\w+\.png", lambda name: str(folder / name[0]), word)
