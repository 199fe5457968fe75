"""Progress of a run, as messages to the logger `texgen`. The command line listens to it, and so can any program."""

from __future__ import annotations

import logging
from typing import Any

LOG = logging.getLogger("texgen")


def tell(stage: str, done: int = 0, total: int = 0, unit: str = "px", **more: Any) -> None:
    """Log the current stage and its progress, at level INFO.

    Args:
        stage: Name of the stage.
        done, total: Units of work done, and in all; `total` is 0 if only the beginning of a stage is reported.
        unit: Unit of both.
        more: Further values of the stage.

    Example:
        >>> LOG.addHandler(handler := logging.NullHandler())
        >>> tell("search", 64, 256)
        >>> LOG.removeHandler(handler)
    """
    LOG.info(
        "%(stage)s %(done)d/%(total)d %(unit)s", {"stage": stage, "done": done, "total": total, "unit": unit, **more}
    )


def warn(message: str) -> None:
    """Log a problem that does not harm the result, at level WARNING."""
    LOG.warning("%s", message)
