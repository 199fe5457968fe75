"""Several processes, one canvas: the bytes do not depend on their number."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from processes import team

from texgen.runs.torchrun import ALONE, own_device

SAMPLED = ("--steps", "25", "--strength", "0.08", "--iterations", "1")
OPTIMIZED = ("--steps", "2", "--loop", "optimize")
OPTIONS = "--size 136 --tileable none --seed 3 --tile-batch 1 --device cpu --checkpoint-minutes 0 --progress json"


def arguments(swatch: Path, model: Path, out: Path, *more: str) -> list[str]:
    return ["expand", str(swatch), "-o", str(out), "--model", str(model), *OPTIONS.split(), *more]


def made(ranks: int, swatch: Path, model: Path, out: Path, *more: str) -> bytes:
    running = team(ranks, arguments(swatch, model, out, *more), out.parent.with_suffix(".log"))
    assert [each.wait() for each in running] == [0] * ranks, "\n".join(running[0].lines)
    assert sorted(p.name for p in out.parent.iterdir()) == sorted([out.name, f"{out.name}.json"])
    return out.read_bytes()


@pytest.fixture(scope="module")
def whole(small, sd_folder, tmp_path_factory) -> bytes:
    """What one process samples."""
    return made(1, small, sd_folder, tmp_path_factory.mktemp("whole") / "o.png", *SAMPLED)


def test_three_processes_sample_four_tiles_to_the_same_bytes_as_one(small, sd_folder, tmp_path, whole):
    (tmp_path / "run").mkdir()
    assert made(3, small, sd_folder, tmp_path / "run" / "o.png", *SAMPLED) == whole


def test_two_processes_optimise_to_the_same_bytes_as_one(small, sd_folder, tmp_path):
    found = set()
    for ranks in (1, 2):
        (tmp_path / str(ranks)).mkdir()
        found.add(made(ranks, small, sd_folder, tmp_path / str(ranks) / "o.png", *OPTIMIZED))
    assert len(found) == 1


def test_a_killed_process_ends_the_run_which_resumes_to_the_same_bytes(small, sd_folder, tmp_path, whole):
    (tmp_path / "broken").mkdir()
    out = tmp_path / "broken" / "o.png"
    first, second = team(2, arguments(small, sd_folder, out, *SAMPLED), tmp_path / "log")
    first.wait_for('"step"')
    second.kill()
    assert first.wait() != 0 and not out.exists(), "the other process ends by itself"
    assert made(3, small, sd_folder, out, *SAMPLED, "--resume") == whole


@pytest.mark.slow
def test_torchrun_starts_a_team(small, sd_folder, tmp_path, whole):
    (tmp_path / "two").mkdir()
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", "texgen"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    out = tmp_path / "two" / "o.png"
    subprocess.run(
        [*launcher, *arguments(small, sd_folder, out, *SAMPLED)], env=environment, check=True, capture_output=True
    )
    assert out.read_bytes() == whole


def test_a_single_process_is_a_team_of_its_own():
    assert ALONE.divided([lambda: (torch.ones(1), (2.0,))])[0][1] == (2.0,)
    assert ALONE.shared(lambda: 7) == 7 and ALONE.any(True) and not ALONE.any(False)
    ALONE.wait()


def test_the_device_is_left_alone_outside_of_a_team(monkeypatch):
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    assert own_device("auto") == "auto" and own_device("cuda:1") == "cuda:1"


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_every_process_has_its_own_gpu(monkeypatch):
    monkeypatch.setenv("LOCAL_RANK", "0")
    assert own_device("auto") == own_device("cuda") == "cuda:0"
