"""The verb `layout`: arrange the swatch's material after a rough picture."""

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
    """Make a texture that follows a rough picture, such as a collage, flat colours, or a feature moved elsewhere.

    Patches are chosen by how well their low frequencies match those of the plan, and by how well they fit together. A diffusion model
    starts from this result. With `start="layout"` it starts from the noised plan itself (SDEdit), which gives more freedom to a model that is good at
    large timesteps; with `strength=1` nothing remains of the plan except through `content_weight`.

    Args:
        image: The swatch, as in `expand`.
        plan: The rough picture, of any size, in the swatch's own colours as far as colours matter.
        size: Size of the result; the plan's own by default.
        layout_weight: How closely patches follow the plan; larger values cost seams and variety.
        content_weight: How closely AD in a diffusion model follows the queries of the plan (Eq. 4); 0.25 by default, 0 turns this off.
        options: See `texgen.Options`.

    Raises:
        OptionError, InputError, ModelError, ResourceError: As in `expand`.

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
