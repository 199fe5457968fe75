"""Unfinished runs: whatever moment they stop at, they go on to the same bytes."""

from __future__ import annotations

import json
import os
import random
import shutil
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from processes import Command, succeeded

import texgen
from texgen.diffusion.sampling.checkpoint import GENERATIONS, Unfinished
from texgen.diffusion.sampling.progress import Progress
from texgen.errors import OptionError
from texgen.runs.resume import RunFolder, unfinished_seed
from tiling import Accumulator, Size, Tile

TWO_TILES = {"size": (128, 144), "seed": 3, "steps": 25, "strength": 0.08, "iterations": 1, "tile_batch": 1}
"""On the tiny model: 2 steps of 2 tiles."""


class Killed(BaseException):
    """Ends a run at once, like a power cut."""


@pytest.fixture(scope="module")
def unbroken(sd, small):
    return texgen.expand(small, model=sd, **TWO_TILES)


def broken_at(moment, sd, small, folder, monkeypatch):
    """A run that dies when it offers its canvas for the `moment`th time."""
    seen = 0
    offer = Unfinished.offer

    def dying(self, progress, now=False):
        nonlocal seen
        offer(self, progress, now)
        seen += 1
        if seen == moment:
            raise Killed

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(Unfinished, "offer", dying)
        texgen.expand(small, model=sd, checkpoint=folder, checkpoint_minutes=0, **TWO_TILES)


@pytest.mark.parametrize("moment", [1, 2, 5])
def test_a_run_that_dies_after_any_batch_resumes_to_the_same_pixels(sd, small, unbroken, tmp_path, monkeypatch, moment):
    folder = tmp_path / "run"
    broken_at(moment, sd, small, folder, monkeypatch)
    steps = []
    result = texgen.expand(small, model=sd, checkpoint=folder, resume=True, callback=steps.append, **TWO_TILES)
    np.testing.assert_array_equal(result.pixels[:], unbroken.pixels[:])
    assert torch.equal(result.latents, unbroken.latents)
    assert result.recipe == unbroken.recipe
    assert len(steps) == 2 - (moment - 1) // 2, "finished steps are not run again"
    result.discard()
    assert not list(tmp_path.glob("run*"))


def test_decoding_resumes_at_its_band(mini, swatch, tmp_path, monkeypatch):
    from texgen.diffusion.decoding.decode import CanvasDecoder

    options = {"size": (1088, 128), "seed": 1, "preset": "draft", "model": mini}
    whole = texgen.expand(swatch, **options)
    write, decoded = CanvasDecoder.write, []

    def dying(self, band, pixels, encoding):
        decoded.append(band[0].top)
        if len(decoded) == 2:
            raise Killed
        write(self, band, pixels, encoding)

    monkeypatch.setattr(CanvasDecoder, "write", dying)
    with pytest.raises(Killed):
        texgen.expand(swatch, checkpoint=tmp_path / "run", **options)
    result = texgen.expand(swatch, checkpoint=tmp_path / "run", resume=True, **options)
    assert decoded == [0, 64, 64, 128], "the first band is not decoded again"
    np.testing.assert_array_equal(result.pixels[:], whole.pixels[:])


def test_a_broken_newest_canvas_falls_back_to_the_one_before(sd, small, unbroken, tmp_path, monkeypatch):
    folder = tmp_path / "run"
    broken_at(4, sd, small, folder, monkeypatch)
    newest = max((folder / f"{name}.safetensors" for name in GENERATIONS), key=os.path.getmtime)
    newest.write_bytes(newest.read_bytes()[:100])
    steps = []
    result = texgen.expand(small, model=sd, checkpoint=folder, resume=True, callback=steps.append, **TWO_TILES)
    np.testing.assert_array_equal(result.pixels[:], unbroken.pixels[:])
    assert len(steps) == 1, "the canvas before it is that of the first step"


def test_progress_is_saved_and_loaded_whole(tmp_path):
    progress = Progress(latents=torch.randn(1, 2, 4, 4), index=3)
    progress.adam = {"step": torch.tensor(3.0), "exp_avg": torch.randn(1, 2, 4, 4)}
    progress.add([Tile(0, 0, 2, 4)], torch.randn(1, 2, 2, 4), (0.5, 0.25), torch.ones(2, 4))
    run = Unfinished(RunFolder(tmp_path / "run", {"seed": 5}, resume=False))
    assert run.progress() is None
    run.offer(progress)
    assert run.progress() is None, "not yet time"
    run.offer(progress, now=True)
    found = Unfinished(RunFolder(tmp_path / "run", {"seed": 5}, resume=True)).progress()
    assert (found.index, found.batches, found.losses) == (3, 1, (0.5, 0.25))
    assert torch.equal(found.latents, progress.latents) and torch.equal(found.fused.values, progress.fused.values)
    assert found.adam.keys() == progress.adam.keys()
    assert all(torch.equal(found.adam[name], each) for name, each in progress.adam.items())
    assert isinstance(found.fused, Accumulator) and found.fused.canvas == Size(4, 4)
    assert unfinished_seed(tmp_path / "run") == 5 and unfinished_seed(tmp_path) is None


def test_another_job_is_not_resumed_and_a_new_one_begins_anew(tmp_path):
    folder = tmp_path / "run"
    Unfinished(RunFolder(folder, {"seed": 5, "size": [8, 8]}, resume=False)).stage("a", lambda: {"x": torch.ones(1)})
    with pytest.raises(OptionError, match="the unfinished run has other seed; give the same options"):
        Unfinished(RunFolder(folder, {"seed": 6, "size": [8, 8]}, resume=True))
    again = Unfinished(RunFolder(folder, {"seed": 5, "size": [8, 8]}, resume=True))
    assert again.stage("a", lambda: {"x": torch.zeros(1)})["x"].item() == 1
    anew = Unfinished(RunFolder(folder, {"seed": 5, "size": [8, 8]}, resume=False))
    assert anew.stage("a", lambda: {"x": torch.zeros(1)})["x"].item() == 0


def test_folders_that_cannot_hold_a_run_are_refused(small, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "photo.png").write_bytes(b"x")
    with pytest.raises(OptionError, match="holds something else"):
        texgen.expand(small, model=never, checkpoint=tmp_path / "mine")
    with pytest.raises(OptionError, match="no such folder"):
        texgen.expand(small, model=never, checkpoint=tmp_path / "absent" / "run")
    with pytest.raises(OptionError, match="resume needs checkpoint"):
        texgen.expand(small, model=never, resume=True)
    assert (tmp_path / "mine" / "photo.png").exists()


@pytest.mark.parametrize("resume", [True, False])
def test_no_link_in_the_folder_of_a_run_is_written_through(resume, small, tmp_path):
    folder, mine = tmp_path / "run", tmp_path / "mine"
    mine.write_bytes(b"mine")
    RunFolder(folder, {"seed": 5}, resume=False)
    (folder / "pixels").symlink_to(mine)
    if resume:
        with pytest.raises(OptionError, match="pixels: is a link in the folder of an unfinished run"):
            RunFolder(folder, {"seed": 5}, resume=True)
    else:
        RunFolder(folder, {"seed": 5}, resume=False).pixels((2, 2, 3), np.uint8).write(0, np.ones((2, 2, 3), np.uint8))
    assert mine.read_bytes() == b"mine"
    (tmp_path / "link").symlink_to(folder)
    with pytest.raises(OptionError, match="link: is no folder"):
        texgen.expand(small, model=never, checkpoint=tmp_path / "link")


def never(*_):
    raise AssertionError("the model was called")


def command(swatch: Path, out: Path, *more: str, model: Path | str = "mini") -> list[str]:
    size = "576x512" if model == "mini" else "144x128"
    options = f"--model {model} --size {size} --steps 25 --strength 0.08 --iterations 1 --tile-batch 1 --seed 5"
    return [
        "expand",
        str(swatch),
        "-o",
        str(out),
        *options.split(),
        "--checkpoint-minutes",
        "0",
        "--progress",
        "json",
        *more,
    ]


def same_bytes_after_kill(
    whole: Path, folder: Path, arguments: Callable[..., list[str]], kill: Callable[[Command], None]
) -> None:
    """A killed run leaves nothing half-written, and resumes to the bytes of an unbroken one."""
    out = folder / "o.png"
    folder.mkdir()
    kill(Command(arguments(out), folder.with_suffix(".log")))
    assert {path.name for path in folder.glob("[!.]*")} <= {"o.png", "o.png.json"}
    assert not out.exists() or out.read_bytes() == whole.read_bytes(), "nothing half-written stands there"
    for sidecar in folder.glob("*.json"):
        assert json.loads(sidecar.read_text())["seed"] == 5
    succeeded(arguments(out, "--resume"), folder.with_suffix(".log"))
    assert out.read_bytes() == whole.read_bytes()
    assert sorted(p.name for p in folder.iterdir()) == ["o.png", "o.png.json"]


def test_a_kill_at_a_random_moment_resumes_to_the_same_bytes(small, sd_folder, tmp_path):
    arguments = partial(command, small, model=sd_folder)
    events = len(succeeded(arguments(tmp_path / "o.png"), tmp_path / "log").lines)
    kill = partial(killed_after, events=random.Random(0).randrange(1, events))
    same_bytes_after_kill(tmp_path / "o.png", tmp_path / "killed", arguments, kill)


def killed_after(running: Command, events: int) -> None:
    running.wait_for("", events)
    running.kill()


def test_killed_runs_of_the_swatch_model_go_on_to_the_same_bytes(stationary, tmp_path):
    arguments = ["expand", stationary, *["--size", "256", "--seed", "5", "--no-metadata", "--progress", "json"]]
    whole = succeeded([*arguments, "-o", tmp_path / "whole.png"], tmp_path / "whole.log")
    out = tmp_path / "killed.png"
    for events in (7, 3, 2):
        running = Command([*arguments, "-o", out, "--resume"], tmp_path / "log")
        running.wait_for('"progress", "stage": "search"', events)
        running.kill()
    last = succeeded([*arguments, "-o", out, "--resume"], tmp_path / "log")
    assert len(searched(last)) < len(searched(whole)), "what was done is not done again"
    assert out.read_bytes() == (tmp_path / "whole.png").read_bytes()


def swatch_command(swatch: Path, out: Path, *more: str) -> list[str]:
    return ["expand", str(swatch), "-o", str(out), *["--size", "192", "--seed", "5"], *more]


def searched(command: Command) -> list[str]:
    return [line for line in command.lines if '"progress", "stage": "search"' in line]


@pytest.mark.slow
@pytest.mark.parametrize("model", ["swatch", "diffusion"])
def test_a_hundred_kills_at_random_moments_resume_to_the_same_bytes(model, small, sd_folder):
    arguments = partial(swatch_command, small) if model == "swatch" else partial(command, small, model=sd_folder)
    pick, hits = random.Random(1), []
    with tempfile.TemporaryDirectory(dir=Path("/dev/shm") if Path("/dev/shm").is_dir() else None) as made:
        folder = Path(made)
        succeeded(arguments(folder / "o.png"), folder / "log")
        started = time.perf_counter()
        succeeded(arguments(folder / "o.png", "--overwrite"), folder / "log")
        taken = time.perf_counter() - started

        def kill(running: Command) -> None:
            time.sleep(pick.random() * taken)
            hits.append(running.process.is_alive())
            running.process.kill()
            running.wait()

        for number in range(100):
            same_bytes_after_kill(folder / "o.png", folder / str(number), arguments, kill)
            shutil.rmtree(folder / str(number))
    print(f"{model}: {sum(hits)} of {len(hits)} kills hit a run of {taken:.1f} s, none lost")
    assert sum(hits) > 50, "the kills came in time"


def test_an_interrupt_saves_the_run_and_exits_130(small, sd_folder, tmp_path):
    out = tmp_path / "run" / "o.png"
    out.parent.mkdir()
    running = Command(command(small, out, model=sd_folder), tmp_path / "log")
    running.wait_for('"step"')
    running.interrupt()
    assert running.wait() == 130
    last = json.loads(running.lines[-1])
    assert last["event"] == "interrupted" and last["exit"] == 130 and last["resumable"] is True
    assert last["message"] == "interrupted; the same command with --resume goes on where it stopped."
    assert [p.name for p in out.parent.iterdir()] == [".o.png.texgen"]
    job = json.loads((out.parent / ".o.png.texgen" / "job.json").read_text())
    assert job["seed"] == 5 and str(tmp_path) not in json.dumps(job)


STEERED = {
    "paint": lambda swatch, more, **o: texgen.paint({1: swatch, 2: more}, np.arange(160)[:, None] // 80 % 2 + np.ones((160, 160), int), **o),
    "paint by labels": lambda swatch, more, **o: texgen.paint(
        swatch, np.kron([[1, 2], [2, 1]], np.ones((80, 80), int)), np.arange(160) // 80 + np.ones((160, 160), int), **o
    ),
    "layout": lambda swatch, more, **o: texgen.layout(swatch, more, 160, **o),
    "guide": lambda swatch, more, **o: texgen.expand(swatch, 160, guides=[(swatch, more)], **o),
    "orientation": lambda swatch, more, **o: texgen.expand(swatch, 160, orientation=more[..., :1], **o),
    "fill": lambda swatch, more, **o: texgen.fill(swatch, np.pad(np.full((60, 60, 3), 255, np.uint8), ((50, 50), (50, 50), (0, 0))), **o),
    "tile": lambda swatch, more, **o: texgen.tile(swatch, **o),
    "keep": lambda swatch, more, **o: texgen.expand(swatch, 224, keep=(30, 20), **o),
    "transfer": lambda swatch, more, **o: texgen.transfer(swatch, more, **o),
}  # fmt: skip


@pytest.mark.parametrize("verb", STEERED)
def test_every_verb_resumes_to_the_same_bytes(verb, tmp_path):
    y, x = np.mgrid[:160, :160]
    rings = np.uint8(127 + 100 * np.sin(np.hypot(y - 70, x - 90) / 5))
    swatch = np.stack([rings, rings // 2, np.uint8((x * 7 + y * 3) % 256)], -1)
    more = np.repeat(np.uint8(255 * (y > x))[..., None], 3, 2)
    options, states, resumed = {"preset": "draft", "seed": 5}, [], []
    whole = STEERED[verb](swatch, more, callback=states.append, **options)
    left = iter(range(2 * len(states) // 3))

    def dying(_):
        if next(left, None) is None:
            raise Killed

    with pytest.raises(Killed):
        STEERED[verb](swatch, more, callback=dying, checkpoint=tmp_path / "run", **options)
    again = STEERED[verb](swatch, more, callback=resumed.append, checkpoint=tmp_path / "run", resume=True, **options)
    assert len(resumed) < len(states), "what was done is not done again"
    assert np.array_equal(again.pixels[0 : again.pixels.shape[0]], whole.pixels[0 : whole.pixels.shape[0]])
