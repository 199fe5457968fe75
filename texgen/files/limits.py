"""Limits on what is read: one budget for every format, checked before anything is decoded."""

from __future__ import annotations

import contextlib
import resource
import stat
from pathlib import Path

from texgen.errors import InputError, ResourceError

GIB = 2**30
MAX_PIXELS, MAX_SIDE, MAX_BYTES = 16384 * 16384, 2**20, 5 * GIB
"""`MAX_BYTES` limits a file, and the values in it: `MAX_PIXELS` of four floats take 4 GiB, and a file may be larger than its values."""
ALLOWED = f"at most {MAX_PIXELS} px, {MAX_SIDE} a side, and {MAX_BYTES} bytes are read"


def check_size(height: int, width: int, pixel_bytes: int, name: str) -> None:
    """Refuse a picture that is over the budget, in pixels or in bytes, with `pixel_bytes` per pixel."""
    area = width * height
    if not (0 < area <= MAX_PIXELS and max(height, width) <= MAX_SIDE and area * pixel_bytes <= MAX_BYTES):
        raise InputError(
            f"{name}: {width}x{height} px of {pixel_bytes} bytes are too many; {ALLOWED}: crop or shrink the picture."
        )


def check_memory(needed: int, name: str) -> None:
    """Check that `needed` bytes of memory are free, where the system tells.

    Raises:
        ResourceError: They are not.
    """
    free = free_memory()
    if free is not None and needed > free:
        raise ResourceError(
            f"{name}: reading it takes about {needed / GIB:.1f} GiB of memory, {free / GIB:.1f} are free; crop or shrink the picture."
        )


def free_memory() -> int | None:
    """Bytes that this process may still allocate by Linux, its control group and `ulimit -v`; None if none of them tells."""
    found = []
    with contextlib.suppress(OSError, ValueError, IndexError):
        lines = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
        found.append(int(lines["MemAvailable"].split()[0]) * 1024)
    with contextlib.suppress(OSError, ValueError):  # "max" is not a number
        group = Path("/sys/fs/cgroup")
        used = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
        reclaimable = int(used.get("inactive_file", 0))
        found.append(
            int((group / "memory.max").read_text()) - int((group / "memory.current").read_text()) + reclaimable
        )
    with contextlib.suppress(OSError, ValueError):
        most, taken = resource.getrlimit(resource.RLIMIT_AS)[0], Path("/proc/self/statm").read_text().split()[0]
        if most != resource.RLIM_INFINITY:
            found.append(most - int(taken) * resource.getpagesize())
    return min(found, default=None)


def check_file(path: Path) -> None:
    """Refuse what is not a regular file, such as a pipe, before opening it.

    Raises:
        InputError: The file is missing, not a regular file, empty, too large, or not accessible.
    """
    try:
        about = path.stat()
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file.") from error
    except (OSError, ValueError) as error:  # a ValueError for a name with a null character
        raise InputError(f"{path}: cannot be read ({getattr(error, 'strerror', error)}).") from error
    if not stat.S_ISREG(about.st_mode):
        raise InputError(f"{path}: is no regular file.")
    if about.st_size > MAX_BYTES:
        raise InputError(f"{path}: {about.st_size} bytes are too many; {ALLOWED}.")
    if not about.st_size:
        raise InputError(f"{path}: the file is empty.")
