"""Exclusive use of a model by one thread, with torch's default settings."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from weakref import WeakKeyDictionary

import torch

from texgen.diffusion.denoising import DenoisingModel

_GUARD = threading.Lock()
_TURNS: WeakKeyDictionary[Any, threading.RLock] = WeakKeyDictionary()  # type: ignore[valid-type]


@contextmanager
def turn(model: DenoisingModel) -> Iterator[None]:
    """Context in which only this thread uses the model's network, with torch's defaults (`undisturbed`).

    A lock is needed since reading attention modifies the network.
    """
    with _GUARD:
        lock = _TURNS.setdefault(model.network, threading.RLock())
    with lock, undisturbed(model.device.type):
        yield


@contextmanager
def undisturbed(device: str = "cpu") -> Iterator[None]:
    """Context with gradients on, autocast off and float32 as the default dtype, whatever the caller has set."""
    with torch.inference_mode(False), torch.enable_grad(), torch.autocast(device, enabled=False), _FLOATS:
        yield


class _Floats:
    """Context with float32 as the default dtype. The setting is global: the first thread to enter changes it, the last to leave restores it."""

    def __init__(self) -> None:
        self.inside, self.before = 0, torch.float32

    def __enter__(self) -> None:
        with _GUARD:
            if not self.inside:
                self.before = torch.get_default_dtype()
                torch.set_default_dtype(torch.float32)
            self.inside += 1

    def __exit__(self, *_: object) -> None:
        with _GUARD:
            self.inside -= 1
            if not self.inside:
                torch.set_default_dtype(self.before)


_FLOATS = _Floats()
