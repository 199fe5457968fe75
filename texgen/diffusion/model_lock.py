"""A run's turn at a model: no other thread uses it meanwhile, and torch computes as in a program that has set nothing."""

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
    """Within, this thread alone uses the model's network, whose attention is changed while it is read; undisturbed."""
    with _GUARD:
        lock = _TURNS.setdefault(model.network, threading.RLock())
    with lock, undisturbed(model.device.type):
        yield


@contextmanager
def undisturbed(device: str = "cpu") -> Iterator[None]:
    """Within, gradients are known, nothing is cast, and floats are of 32 bits, whatever the caller has set."""
    with torch.inference_mode(False), torch.enable_grad(), torch.autocast(device, enabled=False), _FLOATS:
        yield


class _Floats:
    """Within, new floats are of 32 bits. That is a setting of the whole process: the first thread to come changes it, the last to go sets it back."""

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
