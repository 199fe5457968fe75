"""Processes started by torchrun that make one canvas together: each does a part of the work, all get the same result."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from texgen.errors import OptionError

if TYPE_CHECKING:
    from torch import Tensor

Work = tuple["Tensor", tuple[float, ...]]
"""A tensor on the CPU, float32, and a few numbers."""
Shared = TypeVar("Shared")


@dataclass(frozen=True)
class Team:
    """A team of processes, and the rank of this one. Every process must call the same methods in the same order.

    Attributes:
        rank: Number of this process, from 0.
        size: Number of processes.
    """

    rank: int = 0
    size: int = 1

    def divided(self, work: Sequence[Callable[[], Work]]) -> list[Work]:
        """Do at most `size` pieces of work, piece i in process i, and return all results in every process."""
        if self.size == 1:
            return [piece() for piece in work]
        mine = work[self.rank]() if self.rank < len(work) else None
        return self._all(mine)[: len(work)]  # type: ignore[return-value]

    def shared(self, make: Callable[[], Shared]) -> Shared:
        """Call `make` in process 0 and return its result in every process."""
        made = [make() if self.rank == 0 else None]
        if self.size > 1:
            from torch import distributed

            distributed.broadcast_object_list(made, 0)
        return made[0]  # type: ignore[return-value]

    def first(self, make: Callable[..., Shared], *, resume: bool) -> Shared:
        """Call `make(resume=..., owner=...)`: process 0 first, as the owner, then the others, which resume from what it made."""
        if self.rank == 0:
            made = make(resume=resume, owner=True)
            self.wait()
            return made
        self.wait()
        return make(resume=True, owner=False)

    def any(self, flag: bool) -> bool:
        """Whether the flag is set in any process."""
        return flag if self.size == 1 else any(self._all(flag))

    def wait(self) -> None:
        """Wait until all processes have called this."""
        if self.size > 1:
            from torch import distributed

            distributed.barrier()

    def _all(self, mine: object) -> list[object]:
        from torch import distributed

        found: list[object] = [None] * self.size
        distributed.all_gather_object(found, mine)
        return found


ALONE = Team()
NUMBERS = ("WORLD_SIZE", "RANK", "MASTER_PORT")
TOLD = (*NUMBERS, "MASTER_ADDR")
"""Environment variables that torchrun sets."""


def join() -> Team:
    """Join the team that torchrun describes in the environment, or `ALONE` without one. The backend is gloo, because canvases are in CPU memory.

    Raises:
        OptionError: The environment describes a team incompletely.
    """
    if os.environ.get("WORLD_SIZE", "1") == "1":
        return ALONE
    told = {name: os.environ.get(name, "") for name in TOLD}
    if lacking := [name for name, value in told.items() if not value or (name in NUMBERS and not value.isdecimal())]:
        raise OptionError(
            f"WORLD_SIZE={told['WORLD_SIZE']} without {lacking[0]} as torchrun sets it: start texgen by torchrun, or unset WORLD_SIZE."
            if lacking[0] != "WORLD_SIZE"
            else f"WORLD_SIZE={told['WORLD_SIZE']!r} must be a number of processes; torchrun sets it."
        )
    from torch import distributed

    if not distributed.is_initialized():
        distributed.init_process_group("gloo")
    return Team(distributed.get_rank(), int(told["WORLD_SIZE"]))


def own_device(device: str) -> str:
    """Under torchrun, replace `auto` and `cuda` by this process's own GPU; otherwise return the device unchanged."""
    local = os.environ.get("LOCAL_RANK")
    if local is None or device not in ("auto", "cuda"):
        return device
    import torch

    if not torch.cuda.is_available():
        return device
    return f"cuda:{int(local) % torch.cuda.device_count()}"
