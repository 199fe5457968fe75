"""The manifest of a folder of crops, a CSV file with the origin of each."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Sequence
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

from texgen.files.publish import publish


@dataclass(frozen=True)
class Crop:
    """One row of the manifest."""

    file: str
    source: str
    version: str
    licence: str
    path: str
    left: int
    top: int
    side: int
    scale: float
    """Scale of the crop relative to the original image: 1, 0.5 or 0.25."""
    period: int
    """Period in pixels of a crop made by repeating a small image; 0 for others."""


def save_csv(path: Path, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Write a CSV file with a header line."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(columns)
    table.writerows(rows)
    publish(path, text.getvalue().encode())


def write_manifest(path: Path, rows: list[Crop]) -> None:
    """Write rows as CSV, whole or not at all."""
    save_csv(path, list(Crop.__dataclass_fields__), (astuple(row) for row in rows))


def read_manifest(path: Path) -> list[Crop]:
    """Read what `write_manifest` wrote."""
    kinds: dict[str, Callable[[str], Any]] = {"left": int, "top": int, "side": int, "scale": float, "period": int}
    with path.open(newline="") as file:
        return [
            Crop(**{name: kinds.get(name, str)(text) for name, text in row.items()}) for row in csv.DictReader(file)
        ]
