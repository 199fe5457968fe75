"""Tests of the number of tiles in a step of each schedule, on which all claims about speed rest."""

from __future__ import annotations

from pathlib import Path

import pytest
from speed import PLANE, TORUS, plan_of

from tiling import Size

ROOT = Path(__file__).parent.parent
TILE = Size(64, 64)
"""Of Stable Diffusion 1.5, 512 px, in latent pixels."""


@pytest.mark.parametrize(
    ("side_px", "published", "rolled"), [(512, 1, 1), (768, 25, 4), (1024, 81, 4), (2048, 625, 16), (4096, 3249, 64)]
)
def test_the_tiles_of_a_step_are_those_of_the_tables(side_px, published, rolled):
    canvas = Size(side_px // 8, side_px // 8)
    found = [
        len(plan_of(*kind, 1)[0]) for kind in (("published", canvas, TILE, PLANE), ("rolled", canvas, TILE, TORUS))
    ]
    assert found == [published, rolled]
    row = f"| {side_px} | {published:,} | {rolled} | {published / rolled:.1f} |"
    assert row in (ROOT / "benchmarks" / "RESULTS.md").read_text()


def test_the_page_of_the_models_says_the_same():
    said = " ".join((ROOT / "docs" / "models.md").read_text().split())
    assert (
        "both need one tile at 512 px; the rolled grid needs 4 instead of 25 at 768 px, and 64 instead of 3,249 at 4096 px"
        in said
    )
