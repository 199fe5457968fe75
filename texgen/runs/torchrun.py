"""Processes that make one canvas together (torchrun): each does a part of the work, all hold the same result."""

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
    """This process among `size`; every process must call the same methods in the same order.

    Attributes:
        rank: From 0.
        size: Number of processes.
    """

    rank: int = 0
    size: int = 1

    def divided(self, work: Sequence[Callable[[], Work]]) -> list[Work]:
        """The results of all of `work`, at most `size` pieces, piece i done by process i; equal in every process."""
        if self.size == 1:
            return [piece() for piece in work]
        mine = work[self.rank]() if self.rank < len(work) else None
        return self._all(mine)[: len(work)]  # type: ignore[return-value]

    def shared(self, make: Callable[[], Shared]) -> Shared:
        """What `make` gives in process 0, in every process."""
        made = [make() if self.rank == 0 else None]
        if self.size > 1:
            from torch import distributed

            distributed.broadcast_object_list(made, 0)
        return made[0]  # type: ignore[return-value]

    def first(self, make: Callable[..., Shared], *, resume: bool) -> Shared:
        """`make(resume, owner)`: process 0 as the owner, the others when it is done, going on with what it made."""
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
        """Until all are here."""
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
"""What torchrun sets in the environment."""


def join() -> Team:
    """The team that torchrun's environment tells of; alone without one. Speaks gloo: canvases live on the CPU.

    Raises:
        OptionError: The environment tells of a team, but not all about it.
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
    """`auto` or `cuda` to this process' own GPU under torchrun."""
    local = os.environ.get("LOCAL_RANK")
    if local is None or device not in ("auto", "cuda"):
        return device
    import torch

    if not torch.cuda.is_available():
        return device
    return f"cuda:{int(local) % torch.cuda.device_count()}"
