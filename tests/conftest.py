"""Shared pieces: the bundled model, tiny models in every layout, a swatch.

It imports nothing large by itself: the process that hands the tests to workers reads it, too.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TEXGEN_CACHE"] = ""
os.environ.setdefault("OMP_NUM_THREADS", "1")  # several workers share the cores, and networks are tiny
os.environ.setdefault("NUMBA_NUM_THREADS", "1")
os.environ.setdefault("ONEDNN_MAX_CPU_ISA", "AVX512_CORE_BF16")  # AMX is announced but traps on some virtual machines
sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parent.parent / "benchmarks"))

import pytest

if TYPE_CHECKING:
    import torch

    from texgen.diffusion.models import UNetModel


@pytest.fixture(scope="session")
def mini() -> UNetModel:
    return _loaded("mini")


@pytest.fixture(scope="session")
def sd_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import tiny

    return tiny.save_folder(tmp_path_factory.mktemp("models") / "tiny-sd")


@pytest.fixture(scope="session")
def sd(sd_folder: Path) -> UNetModel:
    """A tiny Stable Diffusion 1.x: native tile 16 latents, factor 8, four channels."""
    return _loaded(sd_folder)


def _loaded(model: str | Path) -> UNetModel:
    from texgen.diffusion import models

    return models.load(model, device="cpu")


@pytest.fixture
def swatch() -> Path:
    return Path(__file__).parent.parent / "examples" / "swatches" / "roof_shingles.jpg"


@pytest.fixture
def stationary() -> Path:
    """A swatch without courses or planks, whose lines are all alike."""
    return Path(__file__).parent.parent / "examples" / "swatches" / "rusty_metal.jpg"


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A 64 px swatch of smooth noise."""
    import numpy as np
    import torch
    from PIL import Image

    random = np.random.default_rng(0)
    coarse = torch.from_numpy(random.random((1, 3, 16, 16)))
    fine = torch.nn.functional.interpolate(coarse, scale_factor=4, mode="bicubic").clamp(0, 1)[0]
    path = tmp_path_factory.mktemp("swatches") / "small.png"
    Image.fromarray((fine.permute(1, 2, 0).numpy() * 255).astype(np.uint8)).save(path)
    return path


def generator(seed: int = 0) -> torch.Generator:
    import torch

    return torch.Generator().manual_seed(seed)
