"""The recipe of a result: everything needed to make it again, and nothing that changes from run to run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from texgen.files.image import Picture
from texgen.job import Job
from texgen.model import Run
from texgen.runs.digests import digest, package_version, picture_entry
from texgen.tasks.knobs import Common


def recipe_of(
    task: str, common: Common, run: Run, job: Job, pictures: Sequence[Picture], notes: Mapping[str, Any]
) -> dict[str, Any]:
    """The recipe of a job, except for the history that its run adds.

    Args:
        task: Name of the verb.
        common: Options of all models.
        run: The planned run.
        job: The job.
        pictures: The swatches as they were read.
        notes: The verb's own entries.
    """
    given, kept = job.constraints, job.constraints.kept
    may_lack = {
        "maps": {each.name: each.entry() for each in job.maps},
        "controls": [{"sha256": digest([each.image]), "weight": each.weight} for each in given.controls],
        "guides": [each.entry() for each in given.guides],
        "orientation": None if given.orientation is None else given.orientation.entry(),
    }
    return {
        "task": task,
        "texgen": package_version("texgen"),
        **run.entry,
        "seed": job.seed,
        "size": {"width": job.canvas.size.width, "height": job.canvas.size.height},
        "tileable": common.tileable,
        "preset": common.preset,
        "exemplars": [
            {**picture_entry(s, e.pixels), "bit_depth": s.encoding.depth}
            for s, e in zip(pictures, job.exemplars, strict=True)
        ],
        "exemplar_weights": None if job.shares is None else list(job.shares),
        "preparation": {
            **asdict(common.preparation),
            "from": [list(each.size) for each in pictures],
            **({} if kept is None else {"picture": [list(kept.image.shape[:2]), kept.is_swatch]}),
        },
        "bit_depth": job.encoding.depth,
        "channels": job.encoding.channels,
        **{name: value for name, value in may_lack.items() if value},
        **notes,
    }
