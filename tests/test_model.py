"""What every model has in common, whatever it is: a job in, states out, a texture at the end."""

from __future__ import annotations

import ast
from pathlib import Path

import numpy as np
import pytest

import texgen
from texgen.diffusion import knobs as diffusion
from texgen.diffusion.model import DiffusionModel
from texgen.errors import OptionError
from texgen.files.encoding import Encoding
from texgen.job import Canvas, Constraints, Job
from texgen.materials.exemplar import Exemplar
from texgen.model import Clock, Workplace
from texgen.runs.interrupt import StopSignals
from texgen.runs.resume import RunFolder
from texgen.runs.torchrun import ALONE
from texgen.swatch.model import Knobs, SwatchModel
from tiling import Size, Wrap

TEXGEN = Path(texgen.__file__).parent


def swatch_pixels(side=96):
    random = np.random.default_rng(0)
    return np.kron(random.random((side // 8, side // 8, 3)), np.ones((8, 8, 1))).astype(np.float32)


def finished(states):
    """The states of a run, and its texture."""
    seen = []
    while True:
        try:
            seen.append(next(states))
        except StopIteration as end:
            return seen, end.value


@pytest.fixture(params=["swatch", "diffusion"])
def model(request, sd):
    if request.param == "swatch":
        return SwatchModel("draft", Knobs())
    return DiffusionModel(sd, "standard", diffusion.Knobs(start="swatch", steps=4, iterations=1, tile_batch=1))


@pytest.fixture
def job():
    return Job(
        canvas=Canvas(Size(128, 144), Wrap(True, True)),
        exemplars=[Exemplar(swatch_pixels())],
        seed=3,
        encoding=Encoding("16"),
    )


def test_states_count_up_to_the_texture(model, job):
    run, clock = model.begin(job, ALONE), Clock()
    states, texture = finished(run.states(Workplace(RunFolder(None, {}, resume=False), StopSignals(), clock)))
    done = [state.done for state in states]
    assert done == sorted(done) and done[-1] == states[-1].total
    assert len({state.unit for state in states}) == 1 and all(isinstance(s.event(), dict) for s in states)
    assert texture.pixels.shape == (128, 144, 3) and texture.pixels.dtype == np.uint16
    assert texture.history and run.entry and clock.laps.keys() & {"search", "sample"}


def test_a_run_that_is_asked_to_stop_goes_on_to_the_same_texture(model, job, tmp_path):
    def states(folder, stop):
        return model.begin(job, ALONE).states(Workplace(folder, stop, Clock()))

    seen, whole = finished(states(RunFolder(tmp_path / "whole", {"seed": 3}, resume=False), StopSignals()))
    stop, folder = StopSignals(), tmp_path / "run"
    stopped = states(RunFolder(folder, {"seed": 3}, resume=False), stop)
    for _ in range(3):
        next(stopped)
    stop.asked = True
    with pytest.raises(KeyboardInterrupt):
        finished(stopped)
    rest, resumed = finished(states(RunFolder(folder, {"seed": 3}, resume=True), StopSignals()))
    assert len(rest) < len(seen), "what was done is not done again"
    assert np.array_equal(whole.pixels[:], resumed.pixels[:])


def test_a_size_is_refused_before_anything_is_read():
    for knobs, side in ((Knobs(), 63), (diffusion.Knobs(), 127)):
        with pytest.raises(OptionError, match="is too small"):
            knobs.check(Size(256, side), Constraints())


def test_a_knob_of_the_other_kind_of_model_is_refused(small, sd):
    with pytest.raises(OptionError, match=r"strength=0\.5 is for diffusion models"):
        texgen.expand(small, 128, strength=0.5)
    with pytest.raises(OptionError, match="symmetry='mirror' is for the swatch model"):
        texgen.expand(small, 128, model=sd, symmetry="mirror")
    with pytest.raises(TypeError, match="has no option 'size_px'"):
        texgen.expand(small, 128, model=sd, size_px=3)


def test_tasks_see_models_through_the_protocol_alone():
    """What makes a texture is named in `make.py` only, and there only to be made."""
    inside = {}
    for path in (TEXGEN / "tasks").glob("*.py"):
        names = [
            node.module or "" for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.ImportFrom)
        ]
        inside[path.name] = {name for name in names if name.startswith(("texgen.diffusion", "texgen.swatch"))}
    assert inside.pop("make.py") == {
        "texgen.diffusion",
        "texgen.diffusion.denoising",
        "texgen.diffusion.knobs",
        "texgen.diffusion.model",
        "texgen.swatch.knobs",
        "texgen.swatch.model",
    }
    del inside["options.py"], inside["knobs.py"]  # name their types only
    del inside["text.py"]  # is of diffusion models alone
    assert set().union(*inside.values()) <= {
        "texgen.swatch.field",
        "texgen.swatch.model",
        "texgen.swatch.bank.repeat",  # whether a picture repeats
        "texgen.swatch.presets",
    }
