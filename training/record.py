"""The log of a training run, as CSV and as a plot of its curves."""

from __future__ import annotations

import io
from collections import defaultdict
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image

from texgen.errors import OptionError
from training.manifest import save_csv


class Row(NamedTuple):
    """One line of the log."""

    step: int
    seconds: float
    name: str
    value: float


def write_log(path: Path, rows: list[Row]) -> None:
    save_csv(path, Row._fields, ((*row[:3], f"{row.value:.5f}") for row in rows))


def curves(rows: list[Row]) -> Image.Image:
    """Plot every logged value against the step, with one panel per group of names (the part before `/`)."""
    canvas, figure_class = matplotlib_classes()
    series: dict[str, list[tuple[int, float]]] = defaultdict(list)
    for row in rows:
        series[row.name].append((row.step, row.value))
    groups = sorted({name.partition("/")[0] for name in series})
    figure = figure_class(figsize=(8, 3 * max(len(groups), 1)), layout="constrained")
    canvas(figure)
    for panel, group in zip(figure.subplots(max(len(groups), 1), squeeze=False)[:, 0], groups, strict=False):
        for name in sorted(n for n in series if n.partition("/")[0] == group):
            steps, values = zip(*series[name], strict=True)
            panel.plot(steps, values, label=name.partition("/")[2] or name, linewidth=1)
        panel.set_title(group, loc="left")
        panel.set_xlabel("step")
        panel.legend(fontsize="small", ncols=3)
        panel.grid(alpha=0.3)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=100)
    return Image.open(buffer).convert("RGB")


def matplotlib_classes() -> tuple[Any, Any]:
    """matplotlib's FigureCanvasAgg and Figure.

    Raises:
        OptionError: matplotlib is not installed.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise OptionError("training draws its curves with matplotlib; install it.") from error
    return FigureCanvasAgg, Figure
