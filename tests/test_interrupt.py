"""Interrupts and what programs are told: heard at any moment, answered in seconds, in the form that was asked for."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import zlib
from contextlib import suppress
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from processes import CONTEXT, Command

from texgen.cli.main import main
from texgen.files.publish import save_image
from texgen.runs.interrupt import Watch

DEFAULT = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"


@pytest.fixture(scope="module")
def grain() -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (512, 512, 3), np.uint8))


def texgen(*arguments, **streams):
    """A process of the command line, begun cold."""
    code = f"{DEFAULT}; import sys, runpy; runpy.run_module('texgen', run_name='__main__')"
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.Popen(command, text=True, **{"stderr": subprocess.PIPE, **streams})


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_a_signal_while_modules_are_imported_is_one_line_and_130(name, stationary, tmp_path):
    running = texgen("expand", stationary, "-o", tmp_path / "o.png", "--progress", "json")
    while "numpy" not in Path(f"/proc/{running.pid}/maps").read_text():
        assert running.poll() is None
        time.sleep(0.005)
    running.send_signal(getattr(signal, name))
    (line,) = running.communicate()[1].splitlines()
    event = json.loads(line)
    assert running.returncode == event["exit"] == 130
    assert event["event"] == "interrupted" and event["resumable"] is False


def test_what_the_user_has_ignored_stays_ignored(stationary, tmp_path):
    ignoring = lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN)  # noqa: E731
    running = texgen("expand", stationary, "-o", tmp_path / "o.png", "--size", "0", preexec_fn=ignoring)
    time.sleep(0.1)
    running.send_signal(signal.SIGHUP)
    assert "size=0x0" in running.communicate()[1] and running.returncode == 2


def long_run(stationary, tmp_path, preset="best"):
    options = ["--size", "2048", "--preset", preset, "--progress", "json"]
    return Command(["expand", stationary, "-o", tmp_path / "o.png", *options], tmp_path / "log")


def obeyed(running: Command, what: str) -> list[str]:
    """A command hears a signal at once and ends in five seconds; what it said. A busy machine has three seconds more."""
    os.kill(running.process.pid, signal.SIGTERM)
    sent = time.monotonic()
    while not any("stopping" in line or "interrupted" in line for line in running.lines):
        assert time.monotonic() - sent < 4, running.lines
        time.sleep(0.01)
    heard = time.monotonic() - sent
    assert running.wait() == 130
    taken = time.monotonic() - sent
    print(f"{what}: heard after {heard:.1f} s (allowed 1), obeyed after {taken:.1f} s (allowed 5)")
    assert taken < 8
    return running.lines


def check_events(lines: list[str], folder: Path) -> None:
    events = [json.loads(line) for line in lines]
    assert events[-1]["event"] == "interrupted" and events[-1]["resumable"] is (folder / ".o.png.texgen").is_dir()
    assert not (folder / "o.png").exists()


@pytest.mark.parametrize("stage", ["read", "load", "start", "search"])
def test_the_first_signal_is_answered_at_once_and_obeyed_in_five_seconds(stage, stationary, tmp_path):
    running = long_run(stationary, tmp_path, "draft" if stage == "search" else "best")
    running.wait_for(f'"name": "{stage}"')
    check_events(obeyed(running, stage), tmp_path)


@pytest.mark.parametrize("stage", ["encode", "tune", "sample", "decode"])
def test_so_it_is_at_every_stage_of_a_diffusion_model(stage, sd_folder, grain, tmp_path):
    steps = "--steps 1 --iterations 0 --tile-batch 16" if stage == "decode" else "--steps 500"
    options = f"--size 320 --start noise {steps} --progress json {'--tune-decoder 500' if stage == 'tune' else ''}"
    grain.crop((0, 0, *[512 if stage == "encode" else 160] * 2)).save(tmp_path / "s.bmp")
    running = Command(
        ["expand", tmp_path / "s.bmp", "-o", tmp_path / "o.png", "--model", sd_folder, *options.split()],
        tmp_path / "log",
    )
    running.wait_for(f'"name": "{stage}"')
    time.sleep(0.1)
    lines = obeyed(running, stage)
    check_events(lines, tmp_path)
    begun = [event["name"] for event in map(json.loads, lines) if event["event"] == "stage"]
    assert begun[-1] == stage or stage == "encode", "it did not wait for the end of the stage"


@pytest.mark.parametrize("verb", ["preview", "material"])
def test_so_it_is_where_a_material_is_shown_or_made(verb, grain, tmp_path):
    grain.resize((2048, 2048), Image.Resampling.NEAREST).save(tmp_path / "s.png", compress_level=1)
    size = ["--width", "4096"] if verb == "preview" else []
    running = Command([verb, tmp_path / "s.png", "-o", tmp_path / "o.png", *size], tmp_path / "log")
    while _cpu_seconds(running) < 0.7:
        assert running.process.is_alive(), running.lines
        time.sleep(0.01)
    lines = obeyed(running, verb)
    assert lines[-1].startswith("texgen: error: interrupted") and not list(tmp_path.glob("*o*.png*"))


def _cpu_seconds(running: Command) -> float:
    return sum(map(int, Path(f"/proc/{running.process.pid}/stat").read_text().rsplit(")")[-1].split()[11:13])) / os.sysconf("SC_CLK_TCK")  # fmt: skip


def test_the_second_signal_stops_at_once(stationary, tmp_path):
    running = long_run(stationary, tmp_path)
    running.wait_for('"name": "start"')
    os.kill(running.process.pid, signal.SIGHUP)
    running.wait_for('"stopping"')
    os.kill(running.process.pid, signal.SIGINT)
    sent = time.monotonic()
    assert running.wait() == 130 and time.monotonic() - sent < 4
    assert [json.loads(line)["event"] for line in running.lines][-2:] == ["stopping", "interrupted"]


@pytest.mark.parametrize(
    ("arguments", "code"),
    [(["--size", "abc"], 2), (["--rotate", "45"], 2), (["--size", "9x9"], 2), (["--map", "a=absent.png"], 3)],
)
def test_every_line_of_a_failed_run_is_an_event(arguments, code, stationary, tmp_path, capsys):
    with pytest.raises(SystemExit) as end:
        main(["expand", str(stationary), "-o", str(tmp_path / "o.png"), "--progress=json", *arguments])
    events = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert end.value.code == events[-1]["exit"] == code
    assert events[-1]["event"] == "error" and events[-1]["resumable"] is False and events[-1]["message"]


@pytest.mark.parametrize("progress", ["json", "none"])
def test_what_libraries_say_on_stderr_is_not_heard(progress, tmp_path):
    """The library behind OpenImageIO tells of a broken PNG by itself, too."""
    save_image(tmp_path / "s.png", np.random.default_rng(0).integers(0, 65536, (96, 96, 3), np.uint16))
    content = bytearray((tmp_path / "s.png").read_bytes())
    chunk = content.index(b"IDAT")
    end = chunk + 4 + int.from_bytes(content[chunk - 4 : chunk], "big")
    content[end - 1] ^= 255
    content[end : end + 4] = zlib.crc32(content[chunk:end]).to_bytes(4, "big")
    (tmp_path / "s.png").write_bytes(content)
    running = Command(
        ["expand", tmp_path / "s.png", "-o", tmp_path / "o.png", "--progress", progress], tmp_path / "log"
    )
    assert running.wait() == 3
    (line,) = running.lines
    told = json.loads(line)["message"] if progress == "json" else line.removeprefix("texgen: error: ")
    assert told.startswith(str(tmp_path / "s.png")) and "incorrect data check" in told


def test_a_run_tells_its_stages_and_what_it_took(stationary, tmp_path, capsys):
    started = time.perf_counter()
    with pytest.raises(SystemExit):
        main(
            [
                "expand",
                str(stationary),
                "-o",
                str(tmp_path / "o.png"),
                *["--size", "128", "--preset", "draft", "--seed", "3", "--progress", "json"],
            ]
        )
    taken = time.perf_counter() - started
    events = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert events[0] == {"event": "begin", "output": "o.png", "seed": 3}
    assert [e["name"] for e in events if e["event"] == "stage" and e["name"] != "compile"] == [
        "read",
        "load",
        "start",
        "search",
        "render",
        "save",
    ]
    progress = [e for e in events if e["event"] == "progress"]
    assert {e["stage"] for e in progress} == {"search", "render"} and all(
        0 <= e["done"] <= e["total"] for e in progress
    )
    done = events[-1]
    assert (
        done.keys() == {"event", "output", "made", "seconds", "memory_mib"} and done["made"] and done["memory_mib"] > 50
    )
    assert done["seconds"] == pytest.approx(taken, abs=0.3), "with reading and saving"


def test_a_quiet_run_says_nothing_but_errors(stationary, tmp_path, capsys):
    line = ["expand", str(stationary), "-o", str(tmp_path / "o.png"), "--quiet", "--preset", "draft", "--size"]
    for size, code, said in (("64", 0, ""), ("9", 2, "texgen: error: ")):
        with pytest.raises(SystemExit) as end:
            main([*line, size, "--overwrite"])
        found = capsys.readouterr()
        assert end.value.code == code and found.out == "" and found.err[:15] == said, found.err


@pytest.mark.parametrize(("progress", "closed"), [("json", False), ("bar", False), ("json", True), ("auto", True)])
def test_a_stderr_that_nobody_reads_does_no_harm(progress, closed, stationary, tmp_path):
    arguments = [
        "expand",
        str(stationary),
        "-o",
        str(tmp_path / "o.png"),
        *f"--size 64 --preset draft --progress {progress}".split(),
    ]
    running = CONTEXT.Process(target=unheard, args=(arguments, closed))
    running.start()
    running.join(60)
    assert running.exitcode == 0
    assert np.asarray(Image.open(tmp_path / "o.png")).shape == (64, 64, 3)


def unheard(arguments, closed):
    if closed:
        os.close(2)
        sys.stderr = None
    else:
        reading, writing = os.pipe()
        os.close(reading)
        os.dup2(writing, 2)
    main(arguments)


def test_what_was_interrupted_at_once_is_not_said_to_go_on():
    class Late(Watch):
        def _heard(self, seconds):
            found = super()._heard(seconds)
            time.sleep(0.2)  # on a busy machine
            return found

    said = []
    with Late(partial(said.append, "stopping"), partial(said.append, "ended")), suppress(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(5)
    time.sleep(0.4)
    assert not said
