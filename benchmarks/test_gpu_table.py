"""Tests of `gpu.py`: it runs on a CPU at toy size, and its figures add up."""

from __future__ import annotations

import gpu
import pytest


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_the_tables_are_printed_at_toy_size(capsys):
    gpu.main(["--toy", "--device", "cpu", "--batches", "1", "2", "--repeats", "1", "--sizes", "256", "--steps", "1"])
    lines = capsys.readouterr().out.splitlines()
    tables = [cells(line) for line in lines if line.startswith("| ") and line[2].isdigit()]
    assert [row[0] for row in tables] == ["1", "2", "256"]
    for row in tables[:2]:
        assert all(float(cell) > 0 for cell in (*row[1:5], row[6])) and row[5] == "-", "memory is a card's"
    _, steps, tiles, batch, speed, share, taken, sampling, decoding, peak, scaled = tables[2]
    assert (steps, tiles, batch) == ("1", "4", "1"), "four tiles of 128 px"
    assert float(speed) == pytest.approx(4 / float(sampling), rel=0.3) and float(share.rstrip("%")) > 0
    assert float(taken) >= float(sampling) + float(decoding) - 0.2 and float(peak) > 0
    assert float(scaled) == pytest.approx(float(taken), abs=1)


def test_a_slow_card_gets_fewer_steps():
    assert [gpu.affordable(50, 64, seconds, 240) for seconds in (0.01, 0.1, 1.0, 100.0)] == [50, 37, 3, 1]
