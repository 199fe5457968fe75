"""Several processes, one canvas: the bytes do not depend on their number."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from texgen.team import ALONE, own_device

ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}


def command(ranks: int, swatch: Path, model: Path, out: Path, *more: str) -> list[str]:
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={ranks}"]
    options = "--size 208x144 --seed 3 --steps 25 --strength 0.12 --iterations 1 --device cpu --checkpoint-minutes 0"
    task = ["-m", "texgen", "expand", str(swatch), "-o", str(out), "--model", str(model), *options.split(), *more]
    return [*(launcher if ranks > 1 else [sys.executable]), *task]


def made(ranks: int, swatch: Path, model: Path, out: Path, *more: str) -> bytes:
    run = subprocess.run(
        command(ranks, swatch, model, out, *more), env=ENVIRONMENT, capture_output=True, text=True, timeout=120
    )
    assert run.returncode == 0, run.stderr
    assert sorted(p.name for p in out.parent.iterdir()) == sorted([out.name, f"{out.name}.json"])
    return out.read_bytes()


def test_one_two_and_three_processes_give_the_same_bytes(small, sd_folder, tmp_path):
    found = []
    for ranks in (1, 2, 3):
        (tmp_path / str(ranks)).mkdir()
        found.append(made(ranks, small, sd_folder, tmp_path / str(ranks) / "o.png"))
    assert found[0] == found[1] == found[2]


def test_a_killed_process_ends_the_run_which_resumes_to_the_same_bytes(small, sd_folder, tmp_path):
    for name in ("whole", "broken"):
        (tmp_path / name).mkdir()
    whole = made(1, small, sd_folder, tmp_path / "whole" / "o.png")
    out = tmp_path / "broken" / "o.png"
    process = subprocess.Popen(
        command(2, small, sd_folder, out, "--progress", "json"), env=ENVIRONMENT, stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    while '"step"' not in process.stderr.readline():
        assert process.poll() is None
    os.kill(worker_of(process.pid), signal.SIGKILL)
    process.communicate(timeout=60)
    assert process.returncode != 0 and not out.exists()
    assert made(3, small, sd_folder, out, "--resume") == whole


def worker_of(launcher: int) -> int:
    """The second process that a launcher started."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        children = Path(f"/proc/{launcher}/task/{launcher}/children").read_text().split()
        if len(children) >= 2:
            return int(children[-1])
    raise AssertionError("no second process")


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
