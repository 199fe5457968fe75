"""Messages of a command on stderr: lines and a bar for people, or with `--progress json` one event per line for programs.

begin        output, seed            work on a picture begins
stage        name                    a stage of it begins
progress     stage, done, total, unit, and further values of the stage
warning      message
stopping     message                 after an interrupt; the run goes on to its next safe point
interrupted  exit, resumable, message
error        exit, resumable, message
done         output, seconds, memory_mib, made    of the process so far; `made` is false if the output was finished before
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
"""Stages in which input and options are still being checked."""
COMPILING = "compiling for this machine, once: about half a minute"


class Reporter(logging.Handler):
    """Writer of messages on stderr. As a context manager it receives the messages of the logger `texgen` and all Python warnings.

    Args:
        args: The command line, to learn whether errors found before it is parsed must be written as JSON.
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
        """Report that work on a picture begins. The line for people comes only after the checks, so that a refused command prints one line.

        Args:
            target: File of the picture.
            seed: Its seed.
            folder: Folder of its unfinished run.
        """
        self._folder, self._stage, self._held = folder, "", f"{target.name}: seed {seed}"
        if self.kind == "json":
            self._say(event="begin", output=target.name, seed=seed)

    def _work_begins(self) -> None:
        if self.kind != "json":
            self._say(self._held)
        self._held = ""

    def emit(self, record: logging.LogRecord) -> None:
        """Handle a message of the logger `texgen`: progress, see `texgen.runs.log`, or a warning."""
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
        """Report that a picture is written or, if not `made`, that it was finished before."""
        self._close_bar()
        self._work_begins()
        self._folder, seconds = None, round(time.perf_counter() - self._started, 1)
        text = f"done in {seconds} s" if made else "nothing to do, it is finished"
        facts: dict[str, Any] = {"output": target.name, "made": made, "seconds": seconds, "memory_mib": _peak()}
        self._say(f"{target.name}: {text}", event="done", **facts)

    def warn(self, message: str) -> None:
        """Report a warning."""
        message = " ".join(message.split())
        self._say(f"texgen: warning: {message}", event="warning", message=message)

    def stopping(self) -> None:
        """Report that an interrupt was received."""
        self._say(f"texgen: {STOPPING}", event="stopping", message=STOPPING)

    def interrupted(self) -> None:
        """Report that the process ends because of an interrupt."""
        self._last(RESUMABLE if self._resumable else LOST, "interrupted", INTERRUPTED)

    def failed(self, message: str, code: int) -> int:
        """Report that the process ends with an error; return its exit code."""
        self._last(" ".join(message.split()), "error", code)
        return code

    def _last(self, message: str, event: str, code: int) -> None:
        if not self._ended:  # a process that a thread kills may be about to report the same
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
        """Write one line. If writing fails (closed pipe, full disk), nothing more is written to stderr."""
        line = json.dumps(event) if self.kind == "json" else text
        if line and sys.stderr is not None and (always or not self.quiet):
            with _unheard():
                sys.stderr.write(line + "\n")
                sys.stderr.flush()


@contextmanager
def _unheard() -> Iterator[None]:
    """Context manager that ignores errors of writing to stderr (closed pipe, full disk), and sends later output to /dev/null."""
    try:
        yield
    except (OSError, ValueError):
        with suppress(OSError, ValueError):
            lead_nowhere(sys.stderr.fileno())


def lead_nowhere(number: int) -> None:
    """Redirect a file descriptor to /dev/null."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, number)
    os.close(nowhere)


def reporter(kind: str, quiet: bool) -> Reporter:
    """The reporter of this process, set to the kind of progress that --progress asks for; only errors if `quiet`."""
    import click

    context = click.get_current_context(silent=True)
    found = (None if context is None else context.find_object(Reporter)) or Reporter()
    if kind == "auto":
        kind = "bar" if sys.stderr is not None and sys.stderr.isatty() else "none"
    found.kind, found.quiet = kind, quiet
    return found


def _peak() -> int:
    """Peak memory of the process, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // (2**20 if sys.platform == "darwin" else 2**10)
