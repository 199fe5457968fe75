"""Text: a picture of what a prompt says, in the swatch's style."""

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
    """A picture of what a prompt says, in the style of the swatch, by a diffusion model (Algorithm 2 of attention distillation).

    Every step is denoised under the prompt, with classifier-free guidance; then the latents take the channel statistics of the swatch's
    (AdaIN) and move down the AD loss under the empty prompt. A canvas larger than the model's native size is made in tiles, each of
    which follows the whole prompt.

    Args:
        image: The swatch, as in `expand`.
        prompt: What to show.
        size: Of the result; the model's native size by default: 1024 px of Stable Diffusion XL, 3 and Flux, 512 of 1.x.
        negative_prompt: What is not wanted. By default nothing, which models that say so (Stable Diffusion XL) are told as zeros.
        guidance_scale: How closely the prompt is followed; 1 does without guidance. By default 7, of Flux 3.5, which is told it.
        options: Those of `texgen.Options`; `tileable` is `none` by default. `model` must be given.

    Raises:
        ModelError: The swatch model, or a model without a text encoder.
        OptionError: An empty prompt, or one that is longer than the model reads.
        InputError, ResourceError: As `expand`.

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
