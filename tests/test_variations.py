"""Variations of one command: what they have in common is loaded and encoded once, and each has the bytes of a run alone."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest
from PIL import Image
from test_cli import run
from test_transfer import picture
from torch.nn.modules.module import register_module_forward_hook

import texgen
from texgen.cli import run_verb

ENCODERS = {"Encoder", "CLIPTextModel", "CLIPTextModelWithProjection", "T5EncoderModel"}
"""Classes of diffusers and transformers that encode a picture or a prompt."""


@contextmanager
def counted() -> Iterator[Counter[str]]:
    """Within, how often each kind of encoder is run, and how many networks denoise."""
    found: Counter[str] = Counter()
    networks = []  # held, so that no other takes its place

    def note(module, _inputs, _output):
        kind = type(module).__name__
        if kind in ENCODERS:
            found[kind] += 1
        elif kind == "TimestepEmbedding" and module not in networks:
            networks.append(module)
            found["network"] += 1

    hook = register_module_forward_hook(note)
    try:
        yield found
    finally:
        hook.remove()


@pytest.mark.parametrize(
    ("verb", "more", "options"),
    [
        ("synthesize", (), {}),
        ("transfer", ("content.png",), {}),
        ("text", ("a b",), {"negative_prompt": "c"}),
    ],
)  # fmt: skip
def test_variations_encode_what_they_share_once_and_are_each_that_of_a_run_alone(
    verb, more, options, sd_folder, tmp_path, capsys
):
    for name, seed in (("swatch.png", 1), ("content.png", 2)):
        Image.fromarray(np.uint8(picture(seed) * 255)).save(tmp_path / name)
    given = [str(tmp_path / each) if each.endswith(".png") else each for each in ("swatch.png", *more)]
    with counted() as alone:
        made = getattr(texgen, verb)(*given, model=sd_folder, steps=1, seed=5, **options)
    flags = [f"--{name.replace('_', '-')}={value}" for name, value in options.items()]
    words = [verb, *given, "--model", str(sd_folder), "--steps", "1", "--seed", "4", *flags]
    run_verb._loaded.cache_clear()  # of a test before
    with counted() as together:
        code, _, said = run(capsys, *words, "--variations", "2", "-o", str(tmp_path / "o.png"))
    assert code == 0, said
    recipes = [json.loads(path.read_text()) for path in sorted(tmp_path.glob("o*.json"))]
    assert [each["seed"] for each in recipes] == [4, 5] and {each["task"] for each in recipes} == {verb}
    last = Image.open(sorted(tmp_path.glob("o*.png"))[1])
    assert np.array_equal(np.asarray(made.image), np.asarray(last)), "the second, of seed 5"
    assert together == alone and alone["Encoder"] >= 1, f"{together} of two, {alone} of one"
