"""Failing disks: whichever call fails, older outputs stay whole, nothing half-written is left, and the run goes on to the same bytes."""

from __future__ import annotations

import errno
import json
import random
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import faults
import numpy as np
import pytest
from PIL import Image

from texgen.files.publish import save_image

pytestmark = pytest.mark.skipif(not faults.available(), reason="needs seccomp's user notification (Linux, x86-64)")
ERRORS = {"open": (errno.EACCES, errno.ENOSPC), "rename": (errno.EACCES, errno.EIO), "chmod": (errno.EPERM,), "mkdir": (errno.EACCES, errno.ENOSPC)}  # fmt: skip
WRITING = (errno.ENOSPC, errno.EIO, errno.EDQUOT)


class Job(NamedTuple):
    """A command.

    Attributes:
        arguments: But for the output; `$` stands for the folder of the inputs.
        out: Name of the output.
        older, newer: Options of the output that is there already, and of that which replaces it.
        resumes: Whether there is --resume.
    """

    arguments: str
    out: str
    older: str = "--seed 1"
    newer: str = "--seed 2"
    resumes: bool = True

    def command(self, inputs: Path, folder: Path, newer: bool = True, resume: bool = False) -> list[str]:
        options = f"{self.newer if newer else self.older} --overwrite {'--resume' if resume and self.resumes else ''}"
        arguments = f"{self.arguments} -o @/{self.out} {options}"
        return arguments.replace("$", str(inputs)).replace("@", str(folder)).split()


JOBS = {
    "expand": Job("expand $/s.png --size 96 --preset draft --map height=$/h.exr --save-field @/field.tif --save-map @/map.tif", "o.png"),
    "layout": Job("layout $/s.png --layout $/more.png --size 96 --preset draft", "o.tif"),
    "paint": Job("paint --swatch $/s.png:white --swatch $/more.png:black --target $/mask.png --preset draft", "o.webp"),
    "fill": Job("fill $/s.png --hole $/mask.png --preset draft", "o.png"),
    "tile": Job("tile $/s.png --preset draft", "o.jpg"),
    "transfer": Job("transfer $/s.png $/more.png --preset draft --bit-depth half", "o.exr"),
    "pyramid": Job("expand $/s.png --size 600x64 --preset draft --pyramid --preview", "o.tif"),
    "set": Job("expand $/s.png --size 64 --wang 1x2 --preset draft", "o.png"),
    "model": Job("expand $/s.png --size 128x144 --model $/sd --steps 25 --strength 0.08 --iterations 1 --tile-batch 1 --tune-decoder 2 --checkpoint-minutes 0", "o.png"),
    "render": Job("render $/field.tif", "o.png", "--map height=$/other.exr", "--map height=$/h.exr", resumes=False),
    "material": Job("material $/s.png", "o.png", "--relief 3", "--relief 6", resumes=False),
    "preview": Job("preview $/s.png --width 192", "o.png", "--light 90", "--light 135", resumes=False),
    "page": Job("preview $/s.png", "o.html", "--light 90", "--light 135", resumes=False),
    "export": Job("export $/s.png --profile unreal,gltf", "o", "--size-m 1", "--size-m 2", resumes=False),
}  # fmt: skip


class Outputs(NamedTuple):
    """What is to be found in a folder."""

    files: dict[str, bytes]
    rest: list[str]

    @classmethod
    def of(cls, folder: Path) -> Outputs:
        """Files by their names, without times; and what no output is."""
        files, rest = {}, []
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            name = str(path.relative_to(folder))
            if name.startswith("cache/") and not name.endswith(".part"):
                continue
            if any(part.startswith(".") for part in path.relative_to(folder).parts) or name.startswith("tmp/"):
                rest += [name]
            else:
                files[name] = _timeless(path.read_bytes()) if path.suffix == ".json" else path.read_bytes()
        return cls(files, rest)


def _timeless(text: bytes) -> bytes:
    content = json.loads(text)
    content.pop("timings", None)
    return json.dumps(content, sort_keys=True).encode()


@pytest.fixture(scope="module")
def laboratory() -> Iterator[faults.Laboratory]:
    found = faults.Laboratory()
    yield found
    found.close()


@pytest.fixture(scope="module")
def inputs(laboratory, sd_folder, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("inputs")
    y, x = np.mgrid[:96, :96]
    rings = np.uint8(127 + 100 * np.sin(np.hypot(y - 40, x - 50) / 5))
    Image.fromarray(np.stack([rings, rings // 2, np.uint8((x * 7 + y * 3) % 256)], -1)).save(folder / "s.png")
    Image.fromarray(np.stack([np.uint8(y * 2), rings, rings // 3], -1)).save(folder / "more.png")
    Image.fromarray(np.uint8(255 * (np.hypot(y - 48, x - 48) < 20))).save(folder / "mask.png")
    for name, values in (("h.exr", y), ("other.exr", x)):
        save_image(folder / name, np.float32(values[..., None] / 96))
    (folder / "sd").symlink_to(sd_folder)
    made = laboratory.run(
        [
            "expand",
            folder / "s.png",
            "-o",
            folder / "made.png",
            "--size",
            "64",
            "--preset",
            "draft",
            "--save-field",
            folder / "field.tif",
        ],
        folder,
    )
    assert made.code == 0, made.lines
    return folder


@pytest.fixture
def folder(tmp_path) -> Iterator[Path]:
    """In memory, where that is possible."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else tmp_path) as found:
        yield Path(found) / "run"


class Trials:
    """Of one job: what stands there before, what an unbroken run makes of it, and what a failing call does."""

    def __init__(self, laboratory: faults.Laboratory, job: Job, inputs: Path, folder: Path) -> None:
        self.laboratory, self.job, self.inputs, self.folder = laboratory, job, inputs, folder
        self._prepare(None)
        laboratory.warm(job.command(inputs, folder))
        self._prepare(None)
        older = self._run(newer=False)
        assert older.code == 0, older.lines
        self.kept = folder.with_name("kept")
        shutil.rmtree(self.kept, ignore_errors=True)
        folder.rename(self.kept)
        self.before = Outputs.of(self.kept)
        self._prepare(self.kept)
        whole = self._run()
        assert whole.code == 0, whole.lines
        self.calls, self.after = whole.calls, Outputs.of(folder)
        assert not self.after.rest and self.after != self.before

    def _prepare(self, content: Path | None) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir() if content is None else shutil.copytree(content, self.folder)
        shutil.rmtree(self.folder / "cache", ignore_errors=True)
        (self.folder / "tmp").mkdir(exist_ok=True)

    def _run(self, fails: int | None = None, error: int = 0, **how: Any) -> faults.Trial:
        return self.laboratory.run(self.job.command(self.inputs, self.folder, **how), self.folder, fails, error)

    def different(self) -> list[int]:
        """Numbers of the calls; of many alike in a row only the first, the second and the last, of the tiles of a set only those of the first and the last."""
        tiles = [found[0] if (found := re.search(r"/tile-\d+", call)) else "" for call in self.calls]
        told = list(filter(None, tiles))
        runs: list[list[int]] = []
        for number, call in enumerate(self.calls):
            if tiles[number] not in ("", *told[:1], *told[-1:]):
                continue
            if runs and self.calls[runs[-1][0]] == call:
                runs[-1].append(number)
            else:
                runs.append([number])
        return sorted({number for run in runs for number in (*run[:2], run[-1])})

    def fail(self, number: int, error: int) -> None:
        """The law: an error of one line that names a file, whole outputs, nothing left over, and the run goes on to the same bytes."""
        self._prepare(self.kept)
        trial = self._run(number, error)
        told = f"{trial.calls[number] if number < len(trial.calls) else '?'} fails by {errno.errorcode[error]}: {trial}"
        last = trial.lines[-1] if trial.lines else ""
        found = Outputs.of(self.folder)
        if trial.code == 0:  # what can be done without: a cache, of which it warns; a folder that is there
            assert ("/cache" in trial.calls[number]) == any("warning" in line for line in trial.lines), told
            assert found == self.after, told
            return
        assert trial.code == 5 and last.startswith("texgen: error: ") and str(self.folder) in last, told
        assert sum("error" in line for line in trial.lines) == 1 and "Traceback" not in last, told
        for name, content in found.files.items():
            assert content in (self.before.files.get(name), self.after.files.get(name)), f"{name}: {told}"
        assert self.before.files.keys() <= found.files.keys(), told
        rest = [name for name in found.rest if ".texgen/" not in name or Path(name).name.startswith(".")]
        assert not rest, f"{rest}: {told}"  # the folder of the run stays, but for what was to be renamed
        again = self._run(resume=True)
        assert again.code == 0, f"{again.lines}, after {told}"
        assert Outputs.of(self.folder) == self.after, f"other bytes after {told}"


def errors_of(call: str) -> tuple[int, ...]:
    return ERRORS.get(call.split()[0], WRITING)


@pytest.mark.parametrize(
    ("name", "count"), [("expand", 5), ("export", 2), pytest.param("model", 1, marks=pytest.mark.slow)]
)
def test_a_failing_call_costs_nothing(name, count, laboratory, inputs, folder):
    trials, pick = Trials(laboratory, JOBS[name], inputs, folder), random.Random(3)
    for number in pick.sample(trials.different(), count):
        trials.fail(number, pick.choice(errors_of(trials.calls[number])))


@pytest.mark.slow
@pytest.mark.parametrize("name", JOBS)
def test_every_failing_call_costs_nothing(name, laboratory, inputs, folder):
    trials = Trials(laboratory, JOBS[name], inputs, folder)
    broken: list[str] = []
    for turn, number in enumerate(trials.different()):
        errors = errors_of(trials.calls[number])
        _collect(broken, lambda: trials.fail(number, errors[turn % len(errors)]))  # noqa: B023
    print(f"{name}: {len(trials.different())} of {len(trials.calls)} calls failed, {len(broken)} broke a promise")
    assert not broken, "\n\n".join(broken)


def _collect(broken: list[str], trial: Callable[[], None]) -> None:
    try:
        trial()
    except AssertionError as error:
        broken.append(str(error))
