"""Handling of interrupts: a run stops at its next safe point, or after a few seconds wherever it is."""

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
"""Seconds in which a process that has nothing to save ends silently."""
GRACE = 3.0
"""Seconds after which a run that reaches no safe point is interrupted wherever it is."""
PATIENCE = 1.5
"""Seconds after which a process that does not end by itself is killed."""


class StopSignals:
    """Context manager in which the first signal of `SIGNALS` only sets `asked`, and the second raises KeyboardInterrupt.

    Outside the main thread, where signals cannot be caught, it does nothing.

    Args:
        patient: Whether later signals, too, only set `asked`.
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
    """Context manager in which the process reacts to interrupts, terminations and hang-ups whatever it is doing.

    The first signal raises KeyboardInterrupt at once. Inside a `StopSignals` the run ends at its next safe point instead, or after `GRACE` seconds
    wherever it is. Python cannot interrupt a process that is busy in native code, so a thread kills it, `PATIENCE` seconds later or on the second
    signal, with exit code 130. Only unsaved work is lost by that, because files are replaced whole.

    Args:
        acknowledge: Called in that thread if the process goes on for a while after the first signal.
        give_up: Called in that thread before it kills the process.
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
        """Stop listening. Also called in a forked child, which handles its own signals."""
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
            # the KeyboardInterrupt may have been handled already, and the former handlers restored
            waits = signal.getsignal(first) != self._interrupt and not self._raised
            second = 0 if waits else self._heard(AT_ONCE)
            if not second:
                self.acknowledge()
                second = self._heard(GRACE if waits else GRACE - AT_ONCE)
            if not second:
                signal.pthread_kill(threading.main_thread().ident or 0, first)  # ends a system call that waits
                self._heard(PATIENCE)  # this receives the same signal
            self._heard(PATIENCE)
            self.give_up()
            os._exit(INTERRUPTED)

    def _heard(self, seconds: float | None) -> int:
        """The number of the next signal, or 0 if none comes within `seconds`.

        Raises:
            EOFError: The watch has ended.
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
    """Install a handler for all signals that are not ignored (as by `nohup`); return the former handlers."""
    if threading.current_thread() is not threading.main_thread():
        return {}
    caught = [number for number in SIGNALS if signal.getsignal(number) not in (signal.SIG_IGN, None)]
    return {number: signal.signal(number, handler) for number in caught}


def _restore(handlers: dict[int, Any]) -> None:
    for number, handler in handlers.items():
        signal.signal(number, handler)
