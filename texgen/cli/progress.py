"""Progress on stderr: a bar, JSON lines, or none."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import click


class Reporter:
    """Progress on stderr: a bar, JSON lines, or none; the seed always, but where `silent`."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._bar: Any = None

    def begin(self, target: Path, seed: int) -> None:
        if self.kind == "json":
            self._event(event="begin", output=target.name, seed=seed)
        elif self.kind != "silent":
            click.echo(f"{target.name}: seed {seed}", err=True)

    def step(self, state: Any) -> None:
        """A `texgen.model.State`."""
        if self.kind == "json":
            self._event(event="step", **state.event())
        elif getattr(state, "stage", None) == "compile" and self.kind != "silent":
            click.echo("compiling for this machine, once: about half a minute", err=True)
        else:
            self._advance(state.done, state.total, state.unit)

    def _advance(self, done: int, total: int, unit: str) -> None:
        if self.kind == "bar":
            from tqdm import tqdm

            if self._bar is None:
                self._bar = tqdm(total=total, unit=unit, unit_scale=unit == "px", file=sys.stderr, leave=False)
            self._bar.update(done - self._bar.n)

    def end(self, target: Path, timings: dict[str, float]) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None
        seconds = round(sum(timings.values()), 1)
        if self.kind == "json":
            self._event(event="done", output=target.name, seconds=seconds)
        elif self.kind != "silent":
            click.echo(f"{target.name}: done in {seconds} s", err=True)

    def warn(self, message: str) -> None:
        """Tell of what the user may not have meant."""
        if self.kind == "json":
            self._event(event="warning", message=message)
        elif self.kind != "silent":
            click.echo(f"texgen: warning: {message}", err=True)

    def nothing(self, target: Path) -> None:
        """Instead of `end`, where the output is finished already."""
        if self.kind == "json":
            self._event(event="done", output=target.name, seconds=0.0, made=False)
        elif self.kind != "silent":
            click.echo(f"{target.name}: nothing to do, it is finished", err=True)

    def _event(self, **content: Any) -> None:
        click.echo(json.dumps(content), err=True)


def reporter(kind: str) -> Reporter:
    """What tells progress in the way that --progress says."""
    if kind == "auto":
        kind = "bar" if sys.stderr.isatty() else "none"
    return Reporter(kind)
