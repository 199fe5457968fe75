"""Failing system calls: the command line in a process whose writes the kernel asks another process about, which lets one of them fail.

Native writers are held to the same as Python: the filter stands between them and the kernel (seccomp's user notification; no rights are needed).
"""

from __future__ import annotations

import atexit
import ctypes
import errno
import fcntl
import os
import platform
import select
import socket
import struct
import sys
import tempfile
from collections.abc import Sequence
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any, NamedTuple

from processes import CONTEXT

OPEN, MMAP = 257, 9
BY_FILE = {1: "write", 18: "pwrite", 20: "writev", 296: "pwritev", 26: "msync", 74: "fsync", 75: "fdatasync", 77: "ftruncate", 285: "fallocate", 91: "fchmod", 40: "sendfile", 326: "copy_file_range"}  # fmt: skip
BY_PATH = {82: ("rename", 0), 264: ("renameat", 1), 316: ("renameat2", 1), 83: ("mkdir", 0), 258: ("mkdirat", 1), 76: ("truncate", 0), 90: ("chmod", 0), 268: ("fchmodat", 1)}  # fmt: skip
SECCOMP, NO_NEW_PRIVILEGES = 317, 38
RECEIVE, SEND = 0xC0502100, 0xC0182101
ALLOW, ASK = 0x7FFF0000, 0x7FC00000


class Trial(NamedTuple):
    """What came of a command.

    Attributes:
        code: Its exit code, minus the signal that ended it.
        lines: What it said.
        calls: That write to the folder, by name and file, in their order.
    """

    code: int
    lines: list[str]
    calls: list[str]


def available() -> bool:
    """Whether this system can do it."""
    return sys.platform == "linux" and platform.machine() == "x86_64" and _can_filter()


class Laboratory:
    """A process from which trials are forked."""

    def __init__(self) -> None:
        self.here, there = CONTEXT.Pipe()
        self.process = CONTEXT.Process(target=_serve, args=(there,), daemon=True)
        self.process.start()

    def run(self, arguments: Sequence[Any], folder: Path, fails: int | None = None, error: int = errno.EIO) -> Trial:
        """Run a command; of its calls that write to a folder, the one of number `fails` ends with an error."""
        self.here.send(([str(each) for each in arguments], str(folder), fails, error))
        return Trial(*self.here.recv())

    def warm(self, arguments: Sequence[Any]) -> None:
        """Run a command in the process itself: what it imports and compiles is there for all trials."""
        self.here.send([str(each) for each in arguments])
        assert self.here.recv() == 0

    def close(self) -> None:
        """End it."""
        self.here.send(None)
        self.process.join(10)


def _serve(there: Any) -> None:
    from OpenImageIO import OpenImageIO  # noqa: I001
    import tifffile  # noqa: F401
    import texgen.tasks.export, texgen.tasks.material, texgen.tasks.preview, texgen.tasks.render, texgen.tasks.wang  # noqa: E401, F401

    OpenImageIO.attribute("threads", 1)  # a pool of threads would not be there in a fork
    OpenImageIO.attribute("exr_threads", -1)
    while (asked := there.recv()) is not None:
        there.send(_trial(*asked) if isinstance(asked, tuple) else _silent(asked))


def _silent(arguments: list[str]) -> int:
    with Path(os.devnull).open("w") as nowhere, redirect_stderr(nowhere), redirect_stdout(nowhere):
        return _code(arguments)


def _trial(arguments: list[str], folder: str, fails: int | None, error: int) -> tuple[int, list[str], list[str]]:
    log = Path(folder).with_suffix(".log")
    ours, theirs = socket.socketpair()
    child = os.fork()
    if child == 0:
        _run(arguments, log, theirs)
    theirs.close()
    _, (listener, *_), _, _ = socket.recv_fds(ours, 1, 1)
    calls: list[str] = []
    poll = select.poll()
    poll.register(listener, select.POLLIN)
    while not poll.poll()[0][1] & select.POLLHUP:
        asked = bytearray(80)
        try:
            fcntl.ioctl(listener, RECEIVE, asked)
        except OSError:  # the thread that asked is gone
            continue
        number, thread, _ = struct.unpack_from("QII", asked)
        call = _described(struct.unpack_from("i", asked, 16)[0], struct.unpack_from("6Q", asked, 32), thread, folder)
        calls += [] if call is None else [call]
        failed = call is not None and len(calls) - 1 == fails
        answer = struct.pack("QqiI", number, 0, -error if failed else 0, 0 if failed else 1)
        try:
            fcntl.ioctl(listener, SEND, bytearray(answer))
        except OSError:
            continue
    os.close(listener)
    ours.close()
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return code, log.read_text().splitlines(), calls


def _described(number: int, values: tuple[int, ...], thread: int, folder: str) -> str | None:
    """A call that writes to the folder as text."""
    if number in BY_PATH:
        name, place = BY_PATH[number]
        path = _text(thread, values[place])
    elif number == OPEN:
        name, path = "open", _text(thread, values[1])
        if not values[2] & (os.O_WRONLY | os.O_RDWR):
            return None
    else:
        name = BY_FILE.get(number, "mmap")
        path = _opened(thread, values[4 if number == MMAP else 0])
    return f"{name} {path.removeprefix(folder)}" if f"{path}/".startswith(f"{folder}/") else None


def _text(thread: int, address: int) -> str:
    try:
        with open(f"/proc/{thread}/mem", "rb", buffering=0) as memory:  # noqa: PTH123
            memory.seek(address)
            return memory.read(512).split(b"\0")[0].decode()
    except (OSError, ValueError):
        return ""


def _opened(thread: int, file: int) -> str:
    try:
        return str(Path(f"/proc/{thread}/fd/{file & 0xFFFFFFFF}").readlink())
    except OSError:
        return ""


def _run(arguments: list[str], log: Path, supervisor: socket.socket) -> None:
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(output, 1)
    os.dup2(output, 2)
    folder = log.with_suffix("")
    tempfile.tempdir = str(folder / "tmp")
    os.environ["TEXGEN_CACHE"] = str(folder / "cache")
    listener = _filtered()
    socket.send_fds(supervisor, [b"x"], [listener])
    os.close(listener)
    supervisor.close()
    code = _code(arguments)
    atexit._run_exitfuncs()
    sys.stdout.flush()
    os._exit(code)


def _code(arguments: list[str]) -> int:
    from texgen.cli.main import main

    try:
        main(arguments)
    except SystemExit as end:
        return int(end.code or 0)
    except BaseException as error:
        print(f"escaped: {error!r}", file=sys.stderr, flush=True)
    return 99


class _Instruction(ctypes.Structure):
    _fields_ = (("code", ctypes.c_ushort), ("jt", ctypes.c_ubyte), ("jf", ctypes.c_ubyte), ("k", ctypes.c_uint))


class _Program(ctypes.Structure):
    _fields_ = (("len", ctypes.c_ushort), ("filter", ctypes.POINTER(_Instruction)))


def _filtered() -> int:
    """Have the kernel ask about this thread's calls, and those of threads that it begins; gives the file to hear it from."""
    load, equal, answer = 0x20, 0x15, 0x06
    numbers = [*BY_FILE, *BY_PATH, OPEN]
    steps = [(load, 0, 0, 0), (equal, 0, 2, MMAP), (load, 0, 0, 48)]
    steps += [(equal, len(numbers), len(numbers) + 1, 0xFFFFFFFF)]  # a mapping of memory alone, or of a file
    steps += [(equal, len(numbers) - index, 0, number) for index, number in enumerate(numbers)]
    steps += [(answer, 0, 0, ALLOW), (answer, 0, 0, ASK)]
    program = (_Instruction * len(steps))(*(_Instruction(*step) for step in steps))
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(NO_NEW_PRIVILEGES, 1, 0, 0, 0)
    listener = libc.syscall(SECCOMP, 1, 8, ctypes.byref(_Program(len(steps), program)))
    if listener < 0:
        raise OSError(ctypes.get_errno(), "seccomp")
    return int(listener)


def _can_filter() -> bool:
    child = os.fork()
    if child == 0:
        try:
            _filtered()
        except BaseException:
            os._exit(1)
        os._exit(0)
    return os.waitpid(child, 0)[1] == 0
