"""The verb `synthesize`: make a texture from noise, by attention distillation alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Unpack

from texgen.errors import ModelError, OptionError
from texgen.files.image import ImageLike
from texgen.swatch.model import NAME
from texgen.tasks.checks import verb
from texgen.tasks.make import Request, make, native_size
from texgen.tasks.options import Options
from texgen.tasks.result import Result

if TYPE_CHECKING:
    from texgen.tasks.knobs import ModelLike


@verb()
def synthesize(image: ImageLike, size: int | tuple[int, int] | None = None, **options: Unpack[Options]) -> Result:
    """Make a new texture like the swatch from noise, using the attention of a diffusion model (Algorithm 1 of attention distillation).

    Adam minimises the AD loss over the latents themselves; the model's noise prediction is not used. This is `expand` with
    `loop="optimize"`, at the model's native size, not tileable, as published.

    Args:
        image: The swatch, as in `expand`.
        size: Size of the result; the model's native size by default: 512 px for Stable Diffusion 1.x. A larger canvas is optimised in tiles.
        options: See `texgen.Options`; `tileable` is `none` by default, `steps` is 200, or 300 with the preset `best`. `model` must be given.

    Raises:
        ModelError: The model is the swatch model.
        OptionError: An option applies to sampling only, such as `strength`.
        InputError, ResourceError: As in `expand`.

    References:
        Attention Distillation, CVPR 2025, https://arxiv.org/abs/2502.20235, Algorithm 1.
    """
    check_model(options.get("model", NAME))
    if options.setdefault("loop", "optimize") != "optimize":
        raise OptionError(f"loop={options['loop']!r} is for texgen.expand; leave it out of texgen.synthesize.")
    options.setdefault("tileable", "none")
    size = native_size(options) if size is None else size
    return make(Request(task="synthesize", sources=[image], size=size), **options)


def check_model(model: ModelLike) -> None:
    """Refuse the swatch model, which has no attention."""
    if model == NAME:
        raise ModelError(
            "the swatch model does not synthesize from noise; give model, a Stable Diffusion, or use expand."
        )
