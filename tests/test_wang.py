"""Wang tiles: edges of one colour are the same, planes match, sets are whole or not there."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from test_cli import run

import texgen

QUICK = {"preset": "draft", "seed": 1}


@pytest.fixture(scope="module")
def made() -> texgen.WangSet:
    """Sixteen tiles, with a map."""
    swatch = Path(__file__).parent.parent / "examples" / "swatches" / "stone_wall.jpg"
    height = np.asarray(Image.open(swatch).convert("L"))
    return texgen.wang(swatch, 64, (2, 2), maps={"height": height}, **QUICK)


def test_edges_of_one_colour_are_the_same_and_all_tiles_differ(made):
    assert len(made.tiles) == 16 == len(set(made.edges))
    pictures = [tile.pixels[0:64] for tile in made.tiles]
    assert len({picture.tobytes() for picture in pictures}) == 16
    inside = slice(0, 64)
    strips = {
        "north": (slice(0, 8), inside),
        "south": (slice(56, 64), inside),
        "west": (inside, slice(0, 8)),
        "east": (inside, slice(56, 64)),
    }
    for side, where in strips.items():
        for colour in (0, 1):
            mine = [n for n, edges in enumerate(made.edges) if getattr(edges, side) == colour]
            assert all(np.array_equal(pictures[n][where], pictures[mine[0]][where]) for n in mine)
            maps = [made.tiles[n].maps["height"][0:64][where] for n in mine]
            assert all(np.array_equal(each, maps[0]) for each in maps)
    numbers = made.plane(6, 5, seed=3)
    for y, x in np.ndindex(6, 5):
        here, right, below = (made.edges[n] for n in (numbers[y, x], numbers[y, (x + 1) % 5], numbers[(y + 1) % 6, x]))
        assert here.east == right.west and here.south == below.north


def seam_over_lines(plane: np.ndarray, side: int) -> float:
    """Gradient across the tiles' borders over that of the other columns."""
    change = np.abs(np.diff(plane.astype(float), axis=1)).mean((0, 2))
    border = np.arange(len(change)) % side == side - 1
    return float(change[border].mean() / change[~border].mean())


def test_no_seam_is_to_be_seen_in_a_plane(made):
    shown = [tile.pixels[0:64] for tile in made.tiles]
    anyhow = np.random.default_rng(0).integers(0, 16, (8, 8))
    matched, mixed = (
        seam_over_lines(np.concatenate([np.concatenate([shown[n] for n in row], 1) for row in plane]), 64)
        for plane in (made.plane(8, 8), anyhow)
    )
    assert 0.8 < matched < 1.25 < 1.5 < mixed, f"{matched:.2f}, of tiles that do not fit {mixed:.2f}"


def test_the_command_line_writes_the_set_its_index_and_a_plane(stationary, tmp_path, capsys):
    line = ["--wang", "1x2", "--size", "64", "--preset", "draft", "--seed", "1"]
    command = ["expand", stationary, "-o", tmp_path / "t.png", *line]
    assert run(capsys, *command)[0] == 0
    index = json.loads((tmp_path / "t_wang.json").read_text())
    assert [tile["file"] for tile in index["tiles"]] == [f"t_{n:02d}.png" for n in range(4)]
    assert {(tile["west"], tile["east"]) for tile in index["tiles"]} == {(0, 0)}
    assert [(tile["north"], tile["south"]) for tile in index["tiles"]] == [(0, 0), (0, 1), (1, 0), (1, 1)]
    plane = np.asarray(Image.open(tmp_path / "t_plane.png"))
    assert plane.shape == (1024, 1024, 3)
    first = np.asarray(Image.open(tmp_path / index["tiles"][index["plane"][0][0]]["file"]))
    assert np.array_equal(plane[:64, :64], first)
    assert not (tmp_path / ".t.png.texgen").exists()
    for more, code, said in (
        (["--resume"], 0, "nothing to do"),
        (["--resume", "--tileable", "both", "--wang", "1"], 2, "is finished, with other colours"),
        ([], 2, "exists already"),
    ):
        found, _, told = run(capsys, *command, *more)
        assert found == code and said in told


def test_an_interrupted_set_goes_on_to_the_same_bytes(stationary, tmp_path):
    whole = texgen.wang(stationary, 64, (1, 1), **QUICK)

    def interrupt(_) -> None:
        if (tmp_path / "run" / "tile-0").exists():
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        texgen.wang(stationary, 64, (1, 1), checkpoint=tmp_path / "run", callback=interrupt, **QUICK)
    assert len(list((tmp_path / "run").iterdir())) == 2
    again = texgen.wang(stationary, 64, (1, 1), checkpoint=tmp_path / "run", resume=True, **QUICK)
    for one, other in zip(whole.tiles, again.tiles, strict=True):
        assert np.array_equal(one.pixels[0:64], other.pixels[0:64])
    again.discard()
    assert not (tmp_path / "run").exists()


def test_a_set_that_was_cut_off_while_it_was_written_goes_on(stationary, tmp_path, capsys, monkeypatch):
    line = ["--wang", "1x1", "--size", "64", "--preset", "draft", "--seed", "1"]
    command = ["expand", stationary, "-o", tmp_path / "t.png", *line]
    with monkeypatch.context() as patch:
        patch.setattr("texgen.tasks.wang.WangSet.plane", lambda *_: 1 / 0)
        assert run(capsys, *command)[0] == 1
    assert (tmp_path / "t_00.png").exists() and not (tmp_path / "t_wang.json").exists()
    code, _, told = run(capsys, *command)
    assert code == 2 and "exists already" in told
    assert run(capsys, *command, "--resume")[0] == 0
    assert (tmp_path / "t_wang.json").exists() and not (tmp_path / ".t.png.texgen").exists()
