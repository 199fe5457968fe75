"""What both algorithms share: their inputs, and the exemplars' keys and values at a timestep."""

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
    """The inputs of Algorithms 1 and 2.

    Attributes:
        model: The model.
        schedule: Its noise schedule.
        timesteps: The timesteps of the schedule that are run, decreasing.
        tiles: The pass over the tiles.
        exemplars: The exemplars.
        guidance: Settings.
        content: Clean latents (1, C, h, w) whose structure the content loss preserves.
        correct: Called with the canvas and its timestep after every step; returns the corrected canvas, with the exemplar's
            statistics or with given latent pixels.
        seed: Seed of the exemplars' noise.
        led: The prompt; the empty one by default.
        control: Pictures for the ControlNets; used by sampling only.
        recomputed: Whether the network saves memory by gradient checkpointing, see `DenoisingModel.denoiser`.
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
        """A canvas together with its content, labels and control pictures."""
        regions = self.exemplars.regions
        return Planes(
            latents,
            content if self.keeps_content else None,
            None if regions is None else regions.canvas,
            None if self.control is None else self.control.pictures,
        )

    def report(self, progress: Progress, timestep: float, losses: tuple[float, ...], iterations: int) -> Step:
        """Report of the step that has just finished."""
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
    """Keys and values of the exemplars at a timestep, computed once for all tiles; the last few are cached.

    Args:
        denoiser: The network.
        exemplars: The exemplars.
        layers: Layers whose keys and values are needed.
        noised: Gives the exemplars' crops at a timestep.
        fixed: Whether a GPU sums in a fixed order.
    """

    KEPT = 4
    """Size of the cache: timesteps before and after a step, each in half precision and in float32."""

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
        """Keys and values at a timestep, computed in the network's current dtype; empty without layers."""
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
    """Gaussian noise, drawn on the CPU so that a seed gives the same noise for every device."""
    return torch.randn(tuple(shape), generator=generator)


def step_generator(seed: int, timestep: float, stream: int = 0) -> torch.Generator:
    """Generator for one timestep. It depends on the arguments only, so that a resumed run draws the same numbers as an uninterrupted one."""
    state = np.random.SeedSequence((seed, round(timestep), stream)).generate_state(1, np.uint64)
    return torch.Generator().manual_seed(int(state[0]))
