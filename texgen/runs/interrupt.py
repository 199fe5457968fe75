"""Interrupts: at the next safe point, or a few seconds later wherever the process stands."""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from types import FrameType
from typing import Any

INTERRUPTED = 130
"""Exit code of a process that was interrupted."""
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
AT_ONCE = 1.0
"""Seconds in which a process that has nothing to save ends without a further word."""
GRACE = 3.0
"""Seconds after which a run that comes to no safe point is interrupted where it stands."""
PATIENCE = 1.5
"""Seconds after which a process that does not end by itself is ended."""


class StopSignals:
    """Within, the first interrupt or termination only sets `asked`; the second acts at once.

    Where signals cannot be caught (another thread than the main one) it changes nothing.

    Args:
        patient: Let later signals, too, only set `asked`.
    """

    def __init__(self, patient: bool = False) -> None:
        self.asked = False
        self.patient = patient
        self._before: dict[int, Any] = {}

    def __enter__(self) -> StopSignals:
        self._before = _caught(self._ask)
        return self

    def __exit__(self, *_: object) -> None:
        _restore(self._before)

    def _ask(self, _number: int, _frame: FrameType | None) -> None:
        if self.asked and not self.patient:
            raise KeyboardInterrupt
        self.asked = True


class Watch:
    """Within, a process answers interrupts, terminations and hang-ups whatever it does.

    The first raises `KeyboardInterrupt` at once; within a `StopSignals` the run ends at its next safe point, after `GRACE` seconds wherever it stands. A
    process that is busy in native code cannot be interrupted from inside: `PATIENCE` seconds later, and on the second signal, it is
    ended from a thread, with the exit code 130. Nothing is lost by that but what was not saved yet: files are replaced whole.

    Args:
        acknowledge: Called in that thread, when the process goes on for a while after the first signal.
        give_up: Called in that thread, before the process is ended.
    """

    def __init__(self, acknowledge: Callable[[], None], give_up: Callable[[], None]) -> None:
        self.acknowledge, self.give_up = acknowledge, give_up
        self._watching = self._raised = False

    def __enter__(self) -> Watch:
        if threading.current_thread() is threading.main_thread():
            self._signalled, self._heard_by = socket.socketpair()
            self._signalled.setblocking(False)
            self._wakeup = signal.set_wakeup_fd(self._signalled.fileno(), warn_on_full_buffer=False)
            self._before, self._watching = _caught(self._interrupt), True
            os.register_at_fork(after_in_child=self._leave)
            threading.Thread(target=self._listen, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._watching:
            _restore(self._before)
            self._leave()

    def _leave(self) -> None:
        """Hear no more; a forked process, whose signals are its own, never did."""
        if self._watching:
            self._watching = False
            signal.set_wakeup_fd(self._wakeup)
            self._signalled.close()

    def _interrupt(self, _number: int, _frame: FrameType | None) -> None:
        self._raised = True
        raise KeyboardInterrupt

    def _listen(self) -> None:
        with self._heard_by, suppress(EOFError, OSError):
            first = self._heard(None)
            # what was raised may be dealt with already, and the handlers be the former ones again
            waits = signal.getsignal(first) != self._interrupt and not self._raised
            second = 0 if waits else self._heard(AT_ONCE)
            if not second:
                self.acknowledge()
                second = self._heard(GRACE if waits else GRACE - AT_ONCE)
            if not second:
                signal.pthread_kill(threading.main_thread().ident or 0, first)  # which ends what it waits for
                self._heard(PATIENCE)  # the same signal
            self._heard(PATIENCE)
            self.give_up()
            os._exit(INTERRUPTED)

    def _heard(self, seconds: float | None) -> int:
        """The next signal's number, 0 after so many seconds.

        Raises:
            EOFError: The watch is over.
        """
        self._heard_by.settimeout(seconds)
        while True:
            try:
                heard = self._heard_by.recv(1)
            except TimeoutError:
                return 0
            if not heard:
                raise EOFError
            if heard[0] in SIGNALS:
                return heard[0]


def _caught(handler: Callable[[int, FrameType | None], None]) -> dict[int, Any]:
    """Have a handler called for all signals but those that the user has ignored (`nohup`); gives what was there before."""
    if threading.current_thread() is not threading.main_thread():
        return {}
    caught = [number for number in SIGNALS if signal.getsignal(number) not in (signal.SIG_IGN, None)]
    return {number: signal.signal(number, handler) for number in caught}


def _restore(handlers: dict[int, Any]) -> None:
    for number, handler in handlers.items():
        signal.signal(number, handler)
