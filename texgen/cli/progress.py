"""What a command says on stderr: lines and a bar for people, or with `--progress json` one event a line for programs.

begin        output, seed            a picture is begun
stage        name                    a stage of it begins
progress     stage, done, total, unit, and what else the stage knows
warning      message
stopping     message                 an interrupt was heard; the run goes on to its next safe point
interrupted  exit, resumable, message
error        exit, resumable, message
done         output, seconds, memory_mib, made    since the process began; `made` is false where the output was finished before
"""

from __future__ import annotations

import json
import logging
import os
import resource
import sys
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from texgen.runs.interrupt import INTERRUPTED

STOPPING = "stopping at the next safe point; press Ctrl-C again to stop at once"
RESUMABLE = "interrupted; the same command with --resume goes on where it stopped."
LOST = "interrupted before anything was kept; give the same command again."
CHECKING = ("read", "load")
"""Stages in which a run may still be refused."""
COMPILING = "compiling for this machine, once: about half a minute"


class Reporter(logging.Handler):
    """What a process says on stderr; within, it hears the logger `texgen`, and the warnings of others if it writes JSON.

    Args:
        args: The command line: what goes wrong before it is understood is said in the way that it asks for.
    """

    def __init__(self, args: Sequence[str] = ()) -> None:
        super().__init__(logging.INFO)
        words = " ".join(args).replace("=", " ")
        self.kind, self.quiet = "json" if "--progress json" in words else "none", False
        self._started, self._stage, self._ended = time.perf_counter(), "", False
        self._bar: Any = None
        self._folder: Path | None = None
        self._held = ""

    def __enter__(self) -> Reporter:
        log = logging.getLogger("texgen")
        self._level, self._shows = log.level, warnings.showwarning
        log.addHandler(self)
        log.setLevel(logging.INFO)
        warnings.showwarning = lambda message, *_, **__: self.warn(str(message))
        return self

    def __exit__(self, *_: object) -> None:
        log = logging.getLogger("texgen")
        log.removeHandler(self)
        log.setLevel(self._level)
        warnings.showwarning = self._shows
        self._close_bar()

    def begin(self, target: Path, seed: int, folder: Path | None = None) -> None:
        """A picture is begun; its unfinished run is kept in a folder. People are told when all is checked: what is refused is one line."""
        self._folder, self._stage, self._held = folder, "", f"{target.name}: seed {seed}"
        if self.kind == "json":
            self._say(event="begin", output=target.name, seed=seed)

    def _work_begins(self) -> None:
        if self.kind != "json":
            self._say(self._held)
        self._held = ""

    def emit(self, record: logging.LogRecord) -> None:
        """Of the logger `texgen`: where the run stands, see `texgen.runs.log`, or a warning."""
        if record.levelno >= logging.WARNING:
            self.warn(record.getMessage())
        elif isinstance(record.args, dict) and "stage" in record.args:
            self._advance(**record.args)

    def _advance(self, stage: str, done: int, total: int, unit: str, **more: Any) -> None:
        if stage not in CHECKING:
            self._work_begins()
        if stage != self._stage:
            self._stage = stage
            self._close_bar()
            self._say(COMPILING if stage == "compile" else "", event="stage", name=stage)
        if total and self.kind == "json":
            self._say(event="progress", stage=stage, done=done, total=total, unit=unit, **more)
        elif total and self.kind == "bar" and not self.quiet:
            from tqdm import tqdm

            with _unheard():
                if self._bar is None:
                    shown = {"desc": stage, "total": total, "unit": unit, "unit_scale": unit == "px"}
                    self._bar = tqdm(**shown, file=sys.stderr, leave=False, disable=False)
                self._bar.update(done - self._bar.n)

    def end(self, target: Path, made: bool = True) -> None:
        """A picture is written, or was finished before."""
        self._close_bar()
        self._work_begins()
        self._folder, seconds = None, round(time.perf_counter() - self._started, 1)
        text = f"done in {seconds} s" if made else "nothing to do, it is finished"
        facts: dict[str, Any] = {"output": target.name, "made": made, "seconds": seconds, "memory_mib": _peak()}
        self._say(f"{target.name}: {text}", event="done", **facts)

    def warn(self, message: str) -> None:
        """Tell of what the user may not have meant."""
        message = " ".join(message.split())
        self._say(f"texgen: warning: {message}", event="warning", message=message)

    def stopping(self) -> None:
        """An interrupt was heard."""
        self._say(f"texgen: {STOPPING}", event="stopping", message=STOPPING)

    def interrupted(self) -> None:
        """The process ends by an interrupt."""
        self._last(RESUMABLE if self._resumable else LOST, "interrupted", INTERRUPTED)

    def failed(self, message: str, code: int) -> int:
        """The process ends by an error, with an exit code, which is given back."""
        self._last(" ".join(message.split()), "error", code)
        return code

    def _last(self, message: str, event: str, code: int) -> None:
        if not self._ended:  # a process that is ended from a thread may be about to say the same
            self._ended = True
            self._close_bar()
            facts = {"event": event, "exit": code, "resumable": self._resumable, "message": message}
            self._say(f"texgen: error: {message}", always=True, **facts)

    @property
    def _resumable(self) -> bool:
        return self._folder is not None and self._folder.is_dir()

    def _close_bar(self) -> None:
        if self._bar is not None:
            with _unheard():
                self._bar.close()
            self._bar = None

    def _say(self, text: str = "", *, always: bool = False, **event: Any) -> None:
        """One line; a stderr that nobody reads, or that a full disk takes, is written to no more."""
        line = json.dumps(event) if self.kind == "json" else text
        if line and sys.stderr is not None and (always or not self.quiet):
            with _unheard():
                sys.stderr.write(line + "\n")
                sys.stderr.flush()


@contextmanager
def _unheard() -> Iterator[None]:
    """Within, a stderr that nobody reads, or a full disk takes, does no harm; from then on it goes nowhere."""
    try:
        yield
    except (OSError, ValueError):
        with suppress(OSError, ValueError):
            lead_nowhere(sys.stderr.fileno())


def lead_nowhere(number: int) -> None:
    """Have what is written to a file of the process forgotten."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, number)
    os.close(nowhere)


def reporter(kind: str, quiet: bool) -> Reporter:
    """The process' own, telling progress in the way that --progress says; nothing but errors if `quiet`."""
    import click

    context = click.get_current_context(silent=True)
    found = (None if context is None else context.find_object(Reporter)) or Reporter()
    if kind == "auto":
        kind = "bar" if sys.stderr is not None and sys.stderr.isatty() else "none"
    found.kind, found.quiet = kind, quiet
    return found


def _peak() -> int:
    """The most memory that the process had, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // (2**20 if sys.platform == "darwin" else 2**10)
