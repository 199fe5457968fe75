"""Where a run stands, told to the logger `texgen`: the command line listens to it, and so can any program."""

from __future__ import annotations

import logging
from typing import Any

LOG = logging.getLogger("texgen")


def tell(stage: str, done: int = 0, total: int = 0, unit: str = "px", **more: Any) -> None:
    """Say which stage is in work and how far it is, as a message of level INFO.

    Args:
        stage: Its name.
        done, total: Units of work done, and in all; no total where only the beginning is told.
        unit: What is counted.
        more: Of the stage's own.

    Example:
        >>> LOG.addHandler(handler := logging.NullHandler())
        >>> tell("search", 64, 256)
        >>> LOG.removeHandler(handler)
    """
    LOG.info(
        "%(stage)s %(done)d/%(total)d %(unit)s", {"stage": stage, "done": done, "total": total, "unit": unit, **more}
    )


def warn(message: str) -> None:
    """Say what went wrong without harm to the result."""
    LOG.warning("%s", message)
