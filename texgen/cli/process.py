"""The process of a command: it handles interrupts from the start, and turns every failure into one line and an exit code."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, NoReturn

from texgen.cli.progress import Reporter, lead_nowhere
from texgen.errors import OptionError, TexgenError, disk_error
from texgen.runs.interrupt import INTERRUPTED, Watch

if TYPE_CHECKING:
    import click

INTERNAL = 1


class Interrupted(BaseException):
    """A `KeyboardInterrupt` on its way through click."""


def begin(load: Callable[[], click.Command], args: list[str] | None = None) -> NoReturn:
    """Import and run a command, and exit. Interrupts are handled during the import, too.

    Args:
        load: Imports and returns the command.
        args: Arguments of the command line; those of the process by default.
    """
    _open_standard_streams()
    os.environ.setdefault("TQDM_DISABLE", "1")  # turns off the bars of libraries; texgen draws its own in any case
    report = Reporter(sys.argv[1:] if args is None else args)
    with _own_stderr(), Watch(report.stopping, report.interrupted), report:
        try:
            code = outcome(load, args, report)
        except KeyboardInterrupt:
            report.interrupted()
            code = INTERRUPTED
    sys.exit(code)


def outcome(load: Callable[[], click.Command], args: list[str] | None, report: Reporter) -> int:
    """Run a command, report its failures, and return its exit code.

    Raises:
        KeyboardInterrupt: The command was interrupted.
    """
    import click

    try:
        load().main(args, standalone_mode=False, obj=report, help_option_names=["-h", "--help"], max_content_width=110)
    except click.exceptions.Exit as stop:
        return stop.exit_code
    except (click.Abort, Interrupted) as interrupt:
        raise KeyboardInterrupt from interrupt
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.ctx.get_help(), err=True)
        return OptionError.exit_code
    except click.ClickException as error:
        return report.failed(error.format_message(), OptionError.exit_code)
    except TexgenError as error:
        return report.failed(str(error), error.exit_code)
    except Exception as error:
        found = disk_error(error)
        if found is not None:
            return report.failed(str(found), found.exit_code)
        return report.failed(f"internal error: {type(error).__name__}: {error}; please report it.", INTERNAL)
    return 0


@contextmanager
def _own_stderr() -> Iterator[None]:
    """Context manager in which only Python can write to stderr. Messages of C libraries are dropped, because texgen reports errors itself."""
    before = sys.stderr
    if before is not sys.__stderr__ or before is None:  # another program has replaced it
        yield
        return
    with open(os.dup(2), "w", 1, before.encoding, before.errors) as sys.stderr:  # noqa: PTH123
        lead_nowhere(2)
        try:
            yield
        finally:
            os.dup2(sys.stderr.fileno(), 2)
            sys.stderr = before


def _open_standard_streams() -> None:
    """Open those of the three standard streams that are closed; otherwise the next file to be opened would take their number."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
