"""A cache of compiled functions that is full, closed or broken: every function runs all the same."""

from __future__ import annotations

import importlib.util
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numba
import numpy as np
import pytest
from PIL import Image

from texgen.swatch.jit import compiled, is_compiled

OPTIONS = ["--size", "64", "--preset", "draft", "--seed", "1", "--progress", "json"]
DOUBLE = "def double(number):\n    return 2 * number\n"


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Path:
    """Numba's folder; there is no other place that could be written."""
    (tmp_path / "file").write_text("")
    (tmp_path / "__pycache__").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file" / "none"))
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache"


def double(tmp_path: Path) -> numba.core.dispatcher.Dispatcher:
    """The function as a new process finds it."""
    (tmp_path / "double.py").write_text(DOUBLE)
    spec = importlib.util.spec_from_file_location("double", tmp_path / "double.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return compiled(module.double)


@contextmanager
def full(size: int) -> Iterator[None]:
    """Within, no file can grow beyond a size, as if the disk were full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


def files(cache: Path) -> list[Path]:
    return [path for path in cache.rglob("*") if path.is_file()]


def test_what_was_compiled_is_kept(cache, tmp_path, caplog):
    first = double(tmp_path)
    assert not is_compiled(first) and first(4) == 8 and files(cache)
    second = double(tmp_path)
    assert is_compiled(second) and second(4) == 8 and sum(second.stats.cache_hits.values()) == 1
    assert not caplog.records


def test_functions_are_compiled_where_no_cache_can_be_written(cache, tmp_path):
    cache.write_text("a file in place of the folder")
    function = double(tmp_path)
    assert function(4) == 8 and is_compiled(function) and function.stats.cache_path is None


@pytest.mark.parametrize("size", [0, 600])
def test_a_disk_that_is_full_is_one_warning(size, cache, tmp_path, caplog):
    first, second = double(tmp_path), double(tmp_path)
    with full(size):
        assert first(4) == 8 and second(4) == 8
    (warning,) = (record.getMessage() for record in caplog.records)
    assert str(cache) in warning and "File too large" in warning
    assert not [path for path in files(cache) if ".tmp." in path.name]
    assert double(tmp_path)(4) == 8


def test_a_cache_folder_that_goes_away_is_one_warning(cache, tmp_path, caplog):
    function = double(tmp_path)
    (folder,) = cache.iterdir()
    folder.rmdir()
    folder.write_text("")
    assert function(4) == 8
    assert ["Not a directory" in record.getMessage() for record in caplog.records] == [True]


@pytest.mark.parametrize(
    "broken", [lambda content: b"", lambda content: content[:-20], lambda content: b"x" * len(content)]
)
def test_a_broken_cache_is_made_anew(broken, cache, tmp_path):
    assert double(tmp_path)(4) == 8
    for path in files(cache):
        path.write_bytes(broken(path.read_bytes()))
    assert double(tmp_path)(4) == 8
    again = double(tmp_path)
    assert again(4) == 8 and sum(again.stats.cache_hits.values()) == 1


@pytest.mark.slow
@pytest.mark.parametrize("most", [100_000, None])
def test_a_cold_run_ends_in_its_texture_whatever_becomes_of_the_cache(most, tmp_path):
    """Minutes: everything is compiled. A limit that few functions' code is below; and a cache folder that cannot be made."""
    y, x = np.mgrid[:64, :64]
    Image.fromarray(np.uint8((x * y) % 251)).save(tmp_path / "s.png")
    (tmp_path / "file").write_text("")
    cache = tmp_path / ("file/cache" if most is None else "cache")
    limit = None if most is None else lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
    done = subprocess.run(
        [sys.executable, "-m", "texgen", "expand", tmp_path / "s.png", "-o", tmp_path / "o.png", *OPTIONS],
        env=os.environ | {"NUMBA_CACHE_DIR": str(cache)}, capture_output=True, text=True, preexec_fn=limit, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    with Image.open(tmp_path / "o.png") as made:
        assert made.size == (64, 64)
    assert done.stderr.count('"warning"') == (most is not None), done.stderr
