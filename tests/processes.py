"""texgen's command line in processes of their own, forked from one that has imported everything: a cold interpreter takes ten seconds."""

from __future__ import annotations

import multiprocessing
import os
import signal
import socket
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

HERE = str(Path(__file__).parent)
os.environ["PYTHONPATH"] = os.pathsep.join([HERE, *filter(None, [os.environ.get("PYTHONPATH")])])
"""The process that others are forked from finds what it should import there."""
os.environ["TQDM_DISABLE"] = "1"
CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["processes_preloaded"])


class Command:
    """A running `texgen ...`.

    Args:
        arguments: Of the command.
        log: Where its outputs go.
        environment: Set beside its own.
    """

    def __init__(self, arguments: Sequence[Any], log: Path, environment: Mapping[str, str] | None = None) -> None:
        self.log = log
        log.write_bytes(b"")
        self.process = CONTEXT.Process(
            target=_run, args=([str(a) for a in arguments], str(log), dict(environment or {}))
        )
        self.process.start()

    @property
    def lines(self) -> list[str]:
        """What it said so far."""
        return self.log.read_text().splitlines()

    def wait_for(self, text: str, count: int = 1) -> None:
        """Until `count` lines hold a text."""
        deadline = time.monotonic() + 60
        while sum(text in line for line in self.lines) < count:
            assert self.process.is_alive(), "\n".join(self.lines)
            assert time.monotonic() < deadline
            time.sleep(0.002)

    def kill(self) -> None:
        """Without a warning; it must be running."""
        assert self.process.is_alive(), "it was done before it was killed"
        self.process.kill()
        assert self.wait() == -signal.SIGKILL

    def interrupt(self) -> None:
        """As Ctrl-C does."""
        os.kill(self.process.pid or 0, signal.SIGINT)

    def wait(self) -> int | None:
        """Its exit code; minus the signal that ended it."""
        self.process.join(120)
        return self.process.exitcode


def succeeded(arguments: Sequence[Any], log: Path) -> Command:
    """Run a command to its end."""
    command = Command(arguments, log)
    assert command.wait() == 0, "\n".join(command.lines)
    return command


def team(ranks: int, arguments: Sequence[Any], log: Path) -> list[Command]:
    """The processes that torchrun would start."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    return [
        Command(
            arguments,
            log.with_name(f"{log.name}.{rank}"),
            {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(ranks), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port},
        )
        for rank in range(ranks)
    ]  # fmt: skip


def _run(arguments: list[str], log: str, environment: dict[str, str]) -> None:
    import torch

    from texgen.cli.main import main

    os.environ.update(environment)
    output = os.open(log, os.O_WRONLY)
    os.dup2(output, 1)
    os.dup2(output, 2)
    torch.set_num_threads(1)
    main(arguments)
