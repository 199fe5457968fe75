"""The diffusion model: textures by Stable Diffusion, Flux or the bundled network."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from texgen.diffusion.denoising import DenoisingModel
from texgen.diffusion.guidance.exemplar_keys import choose_layers
from texgen.diffusion.guidance.regional import latent_labels
from texgen.diffusion.knobs import Knobs
from texgen.diffusion.model_lock import turn
from texgen.diffusion.plan import Plan, make_plan
from texgen.diffusion.run import DiffusionRun
from texgen.errors import InputError, OptionError
from texgen.job import Job
from texgen.runs.torchrun import Team


@dataclass(frozen=True)
class DiffusionModel:
    """A `texgen.model.Model`: attention distillation over tiles of a latent canvas.

    Attributes:
        model: The networks.
        preset: Name of the preset.
        knobs: Settings that override the preset.
    """

    model: DenoisingModel
    preset: str
    knobs: Knobs

    def begin(self, job: Job, team: Team) -> DiffusionRun:
        """Check and plan a job.

        Raises:
            OptionError, InputError, ModelError, ResourceError: As `texgen.model.Model.begin`.
        """
        for each in job.exemplars:
            if each.pixels.shape[2] != 3 or each.pixels.min() < 0 or each.pixels.max() > 1:
                raise InputError(
                    "the swatch has transparency, or values outside of 0 to 1, which a diffusion model does not know; use model='swatch'."
                )
        given = job.constraints
        if given.prompt is not None:
            self.model.check_prompt(given.prompt)
            if given.prompt.guidance_scale is None:
                told = replace(given.prompt, guidance_scale=self.model.guidance_scale)
                job = replace(job, constraints=replace(given, prompt=told))
        if len(given.controls) != self.model.controls:
            raise OptionError(
                f"{len(given.controls)} control pictures are given for {self.model.controls} ControlNets; give one to each."
            )
        with turn(self.model):
            plan = make_plan(self.model, self.preset, self.knobs, job)
            choose_layers(self.model.attention_layers, plan.guidance.layers)
            _check_labels(job, plan, self.model.factor)
        return DiffusionRun(self.model, job, plan, team, self.knobs.checkpoint_minutes)


def _check_labels(job: Job, plan: Plan, factor: int) -> None:
    """Refuse a canvas with labels of which the exemplars do not show a single latent pixel."""
    maps = [torch.from_numpy(each.labels) for each in job.exemplars if each.labels is not None]
    if not maps:
        return
    wanted = {0} if plan.target is None else set(plan.target.unique().tolist())  # type: ignore[no-untyped-call]
    shown = {label for m in maps for label in latent_labels(m, factor, plan.label_count).unique().tolist()}  # type: ignore[no-untyped-call]
    if wanted - shown:
        target = job.constraints.target
        what = "what lies outside of the hole" if target is None else f"label {target.names[sorted(wanted - shown)[0]]}"
        raise InputError(
            f"{what} is not to be seen in the swatch as it is used; at least {factor} px of it are needed: check crop and scale."
        )
