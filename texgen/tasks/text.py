"""The verb `text`: make a picture from a prompt, in the swatch's style."""

from __future__ import annotations

from typing import Any, Unpack

from texgen.diffusion.knobs import TextKnobs
from texgen.errors import ModelError, OptionError
from texgen.files.image import ImageLike
from texgen.job import Constraints, Prompt
from texgen.swatch.model import NAME
from texgen.tasks.checks import verb
from texgen.tasks.make import Request, make, native_size
from texgen.tasks.options import Options
from texgen.tasks.result import Result


@verb(TextKnobs, prompt="text")
def text(
    image: ImageLike,
    prompt: str,
    size: int | tuple[int, int] | None = None,
    *,
    negative_prompt: str | None = None,
    guidance_scale: float | None = None,
    **options: Unpack[Options],
) -> Result:
    """Make a picture of what a prompt describes, in the style of the swatch, with a diffusion model (Algorithm 2 of attention distillation).

    Every step denoises under the prompt, with classifier-free guidance. Then the latents take the channel statistics of the swatch's
    latents (AdaIN), and a few updates lower the AD loss under the empty prompt. A canvas larger than the model's native size is made in tiles,
    each of which follows the whole prompt.

    Args:
        image: The swatch, as in `expand`.
        prompt: What to show.
        size: Size of the result; the model's native size by default: 1024 px for Stable Diffusion XL, 3 and Flux, 512 px for 1.x.
        negative_prompt: What to avoid. By default nothing, which a model whose configuration says so (Stable Diffusion XL) receives as zeros.
        guidance_scale: How closely the prompt is followed; 1 turns guidance off. 7 by default; 3.5 for Flux, which takes it as an input.
        options: See `texgen.Options`; `tileable` is `none` by default. `model` must be given.

    Raises:
        ModelError: The model is the swatch model, or has no text encoder.
        OptionError: The prompt is empty, or longer than the model reads.
        InputError, ResourceError: As in `expand`.

    References:
        Attention Distillation, CVPR 2025, https://arxiv.org/abs/2502.20235, Algorithm 2.
    """
    check_words(options.get("model", NAME), prompt)
    options.setdefault("tileable", "none")
    size = native_size(options) if size is None else size
    told = Prompt(prompt, negative_prompt, guidance_scale)
    notes = {"prompt": prompt, "negative_prompt": negative_prompt}
    given = Constraints(prompt=told)
    return make(Request(task="text", sources=[image], size=size, constraints=given, notes=notes), **options)


def check_words(model: Any, prompt: str) -> None:
    """Refuse an empty prompt, and the swatch model, which reads none."""
    if not prompt.strip():
        raise OptionError("the prompt is empty; say what to show, or use texgen.expand.")
    if model == NAME:
        raise ModelError("the swatch model reads no prompt; give model, a Stable Diffusion or Flux.")
