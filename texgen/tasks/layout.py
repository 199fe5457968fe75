"""Follow a layout: the swatch's material, arranged as a rough picture wants it."""

from __future__ import annotations

from typing import Unpack

from texgen.files import image as images
from texgen.files.image import ImageLike
from texgen.job import Constraints, Layout
from texgen.runs import digests
from texgen.tasks.checks import verb
from texgen.tasks.knobs import LayoutKnobs
from texgen.tasks.make import Request, make
from texgen.tasks.options import Options
from texgen.tasks.result import Result


@verb(LayoutKnobs)
def layout(
    image: ImageLike,
    plan: ImageLike,
    size: int | tuple[int, int] | None = None,
    *,
    layout_weight: float = 1.0,
    content_weight: float | None = None,
    **options: Unpack[Options],
) -> Result:
    """A texture that keeps the plan of a rough picture: a collage, flat colours, a moved feature.

    Patches are chosen by how well the swatch's low frequencies agree with those of the plan as well as by how they fit. Of a diffusion
    model this is the start; with `start="layout"` the plan itself is noised (SDEdit): more freedom for a model that is strong at large
    timesteps; `strength=1` keeps nothing of it but what `content_weight` holds on to.

    Args:
        image: The swatch, as in `expand`.
        plan: The rough picture, in the swatch's own colours as far as they matter; of any size.
        size: Of the result; the plan's own by default.
        layout_weight: How closely patches follow the plan; larger costs seams and variety.
        content_weight: How closely AD of a diffusion model holds on to the queries of the plan (Eq. 4); 0.25 by default, 0 leaves it out.
        options: Those of `texgen.Options`.

    Raises:
        OptionError, InputError, ModelError, ResourceError: As `expand`.

    References:
        Meng et al., "SDEdit: Guided Image Synthesis and Editing with Stochastic Differential Equations", ICLR 2022,
        https://arxiv.org/abs/2108.01073; Hertzmann et al., "Image Analogies", SIGGRAPH 2001, https://doi.org/10.1145/383259.383295,
        texture-by-numbers.
    """
    plan = images.read_picture(plan)
    wanted = plan.size if size is None else size
    rough = Layout(images.read_pixels(plan), layout_weight)
    notes = {"layout": digests.picture_entry(plan, rough.image), "layout_weight": layout_weight}
    given = Constraints(layout=rough, content_weight=content_weight)
    return make(Request(task="layout", sources=[image], size=wanted, constraints=given, notes=notes), **options)
