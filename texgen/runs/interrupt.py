"""Interrupts that wait for a good moment."""

from __future__ import annotations

import signal
import threading
from types import FrameType


class StopSignals:
    """Within, the first interrupt or termination only sets `asked`; the second acts at once.

    Where signals cannot be caught (another thread than the main one) it changes nothing.

    Args:
        patient: Let later signals, too, only set `asked`.
    """

    def __init__(self, patient: bool = False) -> None:
        self.asked = False
        self.patient = patient
        self._before: dict[int, object] = {}

    def __enter__(self) -> StopSignals:
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._ask) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]

    def _ask(self, _number: int, _frame: FrameType | None) -> None:
        if self.asked and not self.patient:
            raise KeyboardInterrupt
        self.asked = True
