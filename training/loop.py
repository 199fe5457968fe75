"""The training loop of autoencoder and UNet: resumable, logged as CSV and PNG, with a moving average of the weights."""

from __future__ import annotations

import io
import math
import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from diffusers.training_utils import EMAModel
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from texgen.errors import InputError, OptionError
from texgen.files.publish import publish, save_image
from texgen.runs.interrupt import StopSignals
from training.record import Row, curves, matplotlib_classes, write_log

STATE = "state.pt"
LOG_EVERY = 25
GRADIENT_NORM = 1.0


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Settings of a training run.

    Attributes:
        steps: Steps of the whole training, over which the learning rate falls to a hundredth.
        minutes: Stop after this time, to be resumed later; None runs to the end.
        lr: Peak learning rate of AdamW.
        warmup: Steps over which the rate rises.
        look_every: Steps between checkpoints, validation and contact sheets.
        device: Device to train on.
        dtype: float32, or bfloat16 for autocast (weights stay float32).
        workers: Processes that prepare batches; 0 prepares them in the main process.
        seed: Seed of the training.
    """

    steps: int
    minutes: float | None = None
    lr: float = 4e-4
    warmup: int = 100
    look_every: int = 250
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    dtype: torch.dtype = torch.float32
    workers: int = 0
    seed: int = 0

    def rate(self, step: int) -> float:
        """Learning rate of a step: a linear rise over `warmup` steps, times a cosine from 1 to a hundredth."""
        done = min(step / max(self.steps, 1), 1.0)
        return (
            self.lr * min(1.0, (step + 1) / max(self.warmup, 1)) * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * done)))
        )


class Objective(Protocol):
    """Interface between the loop and what it trains."""

    module: nn.Module

    def batch(self, step: int) -> Any:
        """Tensors of a step, which depend on its number only; may be called in another process."""

    def loss(self, batch: Any, step: int) -> tuple[Tensor, dict[str, float]]:
        """The loss, and values to log."""

    def validate(self) -> dict[str, float]:
        """Measures on held-out textures, the same ones at every call."""

    def sheet(self) -> Image.Image:
        """A contact sheet of held-out textures, the same ones at every call."""

    def save(self, folder: Path) -> None:
        """Save the model, for texgen to load."""


def train(
    objective: Objective, out: Path, settings: Settings, *, resume: bool, log: Callable[[str], None] = print
) -> list[Row]:
    """Train to `settings.steps` or for `settings.minutes`.

    `out` receives `state.pt` (weights, moving average, optimiser, log; a resumed run reaches the same state as an
    uninterrupted one), `log.csv`, `log.png`, `sheet.png`, and `model/` with the averaged weights. State, log and pictures are
    written whole or not at all.

    Raises:
        OptionError: `out` already holds a run and `resume` is false.
        InputError: The state in `out` belongs to another network.
        KeyboardInterrupt: The run was interrupted or terminated; its state is saved.
    """
    matplotlib_classes()
    out.mkdir(parents=True, exist_ok=True)
    if (out / STATE).exists() and not resume:
        raise OptionError(f"{out}: holds a training already; add --resume to go on with it, or choose another folder.")
    state = _State(objective.module, settings)
    if (out / STATE).exists():
        state.load(out / STATE)
        log(f"resumed at step {state.step}")
    started, deadline = time.perf_counter(), math.inf if settings.minutes is None else settings.minutes * 60
    earlier = state.seconds
    recent: dict[str, list[float]] = defaultdict(list)
    objective.module.train()
    with StopSignals(patient=True) as stop:
        for batch in _batches(objective, state.step, settings):
            for group in state.optimizer.param_groups:
                group["lr"] = settings.rate(state.step)
            with torch.autocast(settings.device.type, settings.dtype, enabled=settings.dtype != torch.float32):
                loss, values = objective.loss(batch, state.step)
            state.advance(loss)
            state.seconds = earlier + time.perf_counter() - started
            for name, value in values.items():
                recent[name].append(value)
            if state.step % LOG_EVERY == 0:
                state.record({name: statistics.fmean(v) for name, v in recent.items()})
                recent.clear()
            if state.step % settings.look_every == 0:
                _look(objective, out, state, log)
            if stop.asked or time.perf_counter() - started > deadline:
                break
    if stop.asked:
        state.save(out / STATE)
        raise KeyboardInterrupt
    if state.looked != state.step:
        _look(objective, out, state, log)
    return state.rows


def _look(objective: Objective, out: Path, state: _State, log: Callable[[str], None]) -> None:
    """Validate, and save model, state, log and contact sheet."""
    with state.averaged():
        measures = objective.validate()
        sheet = objective.sheet()
        objective.save(out / "model")
    state.record(measures)
    state.looked = state.step
    state.save(out / STATE)
    save_image(out / "sheet.png", np.asarray(sheet))
    write_log(out / "log.csv", state.rows)
    save_image(out / "log.png", np.asarray(curves(state.rows)))
    log(f"step {state.step}, {state.seconds / 60:.1f} min: " + ", ".join(f"{n} {v:.4f}" for n, v in measures.items()))


class _State:
    """State of a training run, from which it can be resumed."""

    def __init__(self, module: nn.Module, settings: Settings) -> None:
        self.module = module
        self.parameters = [p for p in module.parameters() if p.requires_grad]
        self.optimizer = torch.optim.AdamW(self.parameters, settings.lr, betas=(0.9, 0.98), weight_decay=0.01)
        self.average = EMAModel(self.parameters, decay=0.999, use_ema_warmup=True, power=0.75)
        self.step = 0
        self.looked = 0
        self.seconds = 0.0
        self.rows: list[Row] = []

    def advance(self, loss: Tensor) -> None:
        """One step of the optimiser."""
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.parameters, GRADIENT_NORM)
        self.optimizer.step()
        self.average.step(self.parameters)
        self.step += 1

    def record(self, values: dict[str, float]) -> None:
        self.rows += [Row(self.step, round(self.seconds, 1), name, value) for name, value in values.items()]

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Context in which the module has the moving average of its weights, and is in evaluation mode."""
        self.average.store(self.parameters)
        self.average.copy_to(self.parameters)
        self.module.eval()
        try:
            yield
        finally:
            self.average.restore(self.parameters)
            self.module.train()

    def save(self, path: Path) -> None:
        buffer = io.BytesIO()
        torch.save(
            {
                "module": self.module.state_dict(),
                "average": self.average.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "step": self.step,
                "seconds": self.seconds,
                "rows": [tuple(row) for row in self.rows],
            },
            buffer,
        )
        publish(path, buffer.getvalue())

    def load(self, path: Path) -> None:
        state = torch.load(path, map_location="cpu", weights_only=True)
        try:
            self.module.load_state_dict(state["module"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.average.load_state_dict(state["average"])
        except (RuntimeError, ValueError, KeyError) as error:
            raise InputError(f"{path}: is the state of another network; choose another folder.") from error
        self.average.to(self.parameters[0].device)
        self.step, self.seconds = state["step"], state["seconds"]
        self.rows = [Row(*row) for row in state["rows"]]


class _Steps(Dataset[Any]):
    def __init__(self, objective: Objective) -> None:
        self.objective = objective

    def __getitem__(self, step: int) -> Any:
        return self.objective.batch(step)


def _batches(objective: Objective, first: int, settings: Settings) -> Iterator[Any]:
    steps = range(first, settings.steps)
    return iter(DataLoader(_Steps(objective), sampler=steps, batch_size=None, num_workers=settings.workers))
