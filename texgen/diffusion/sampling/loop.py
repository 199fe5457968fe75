"""What both loops are given, and what both do around the tiles."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from texgen.diffusion.attention import ExemplarKeyValues
from texgen.diffusion.denoising import Denoiser, DenoisingModel, Schedule
from texgen.diffusion.guidance.exemplar_keys import Exemplars, exemplar_key_values
from texgen.diffusion.guidance.prompt import ControlPlane, Led
from texgen.diffusion.guidance.settings import Guidance
from texgen.diffusion.sampling.determinism import deterministic
from texgen.diffusion.sampling.progress import Progress, Step
from texgen.diffusion.sampling.tile_pass import Planes, TilePass


@dataclass(frozen=True, kw_only=True)
class Loop:
    """A canvas to be sampled or optimised.

    Attributes:
        model: The model.
        schedule: Its noise schedule in so many steps.
        timesteps: Those of the schedule that are run, falling.
        tiles: How the canvas is walked.
        exemplars: What it is to look like.
        guidance: Settings.
        content: Clean latents (1, C, h, w) whose structure is kept, by the content loss.
        correct: Takes the canvas and its timestep after every step, and gives it the exemplar's statistics, or the latent
            pixels that are given.
        seed: Of the exemplars' noise.
        led: The prompt that predictions follow; the empty one by default.
        control: What ControlNets see of the canvas, while it is sampled.
        recomputed: Whether the network saves memory, see `DenoisingModel.denoiser`.
    """

    model: DenoisingModel
    schedule: Schedule
    timesteps: Sequence[float]
    tiles: TilePass
    exemplars: Exemplars
    guidance: Guidance
    content: Tensor | None = None
    correct: Callable[[Tensor, float], Tensor] = lambda canvas, _timestep: canvas
    seed: int = 0
    led: Led | None = None
    control: ControlPlane | None = None
    recomputed: bool = False

    @property
    def keeps_content(self) -> bool:
        """Whether there is a content loss."""
        return self.content is not None and self.guidance.content_weight > 0

    def planes(self, latents: Tensor, content: Tensor | None) -> Planes:
        """A canvas with the content and the labels that lie on it."""
        regions = self.exemplars.regions
        return Planes(
            latents,
            content if self.keeps_content else None,
            None if regions is None else regions.canvas,
            None if self.control is None else self.control.pictures,
        )

    def report(self, progress: Progress, timestep: float, losses: tuple[float, ...], iterations: int) -> Step:
        """The step that has just been finished."""
        return Step(
            index=progress.index - 1,
            total=len(self.timesteps),
            timestep=timestep,
            latents=progress.latents,
            tiles=len(self.tiles.plans[progress.index - 1]),
            iterations=iterations,
            losses=losses,
        )


class ExemplarReader:
    """Keys and values of the exemplars at a timestep, read once for all tiles; the last few readings are kept.

    Args:
        denoiser: The network.
        exemplars: What is read.
        layers: Layers that are read.
        noised: Exemplars at a timestep.
        fixed: Whether a GPU sums in a fixed order.
    """

    KEPT = 4
    """Before and after a step, in half precision and in float32."""

    def __init__(
        self,
        denoiser: Denoiser,
        exemplars: Exemplars,
        layers: Sequence[str],
        noised: Callable[[float], Sequence[Tensor]],
        fixed: bool = True,
    ) -> None:
        self.fixed = fixed
        self.denoiser, self.exemplars, self.layers, self.noised = denoiser, exemplars, layers, noised
        self._read: dict[tuple[float, torch.dtype], ExemplarKeyValues] = {}

    def key_values(self, timestep: float) -> ExemplarKeyValues:
        """At a timestep, by the network in its present precision; no layers, nothing."""
        key = (timestep, self.denoiser.dtype)
        if key not in self._read:
            while len(self._read) >= self.KEPT:
                del self._read[next(iter(self._read))]
            self._read[key] = self._at(timestep)
        return self._read[key]

    def _at(self, timestep: float) -> ExemplarKeyValues:
        if not self.layers:
            return {}
        crops = [crop.to(self.denoiser.device) for crop in self.noised(timestep)]
        with deterministic(self.denoiser.device, self.fixed):
            return exemplar_key_values(
                self.denoiser, crops, timestep, self.layers, self.exemplars.weights, self.exemplars.regions
            )


def normal(shape: Iterable[int], generator: torch.Generator) -> Tensor:
    """Gaussian noise on the CPU, so that a seed means the same on every device."""
    return torch.randn(tuple(shape), generator=generator)


def step_generator(seed: int, timestep: float, stream: int = 0) -> torch.Generator:
    """The random numbers of one timestep, a function of its arguments alone: a resumed run draws what an unbroken one would."""
    state = np.random.SeedSequence((seed, round(timestep), stream)).generate_state(1, np.uint64)
    return torch.Generator().manual_seed(int(state[0]))
