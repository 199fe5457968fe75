"""One part of a model in diffusers' folder layout: network, autoencoder, text encoder, from safetensors only."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from transformers import T5EncoderModel
from transformers.utils import logging

from texgen.diffusion.models.loading.checks import bfloat16_works, told_as
from texgen.diffusion.models.loading.weights import check_part, variant
from texgen.errors import ModelError


def component(cls: Any, folder: Path, part: str, half: bool = False, **options: Any) -> Any:
    """One part, from safetensors only, whole.

    Args:
        cls: Its class.
        folder: Of the model.
        part: Folder within.
        half: Whether weights in half precision are preferred where there are both.
        options: Of the class' `from_pretrained`.

    Raises:
        ModelError: No safetensors, unreadable, or weights missing, which the libraries would fill with random numbers.
    """
    where = folder / part
    check_part(where)
    precision = variant([path.name for path in where.iterdir()], half)
    with told_as(f"{where}: cannot be loaded", "download the model again"), _without_bar():
        model, loaded = cls.from_pretrained(
            where, use_safetensors=True, local_files_only=True, variant=precision, output_loading_info=True, **options
        )
    if loaded["missing_keys"]:
        missing = sorted(loaded["missing_keys"])
        raise ModelError(f"{where}: {len(missing)} weights are missing ({missing[0]}, ...); download the model again.")
    return model


def text_encoder(cls: Any, folder: Path, part: str) -> Any:
    """A text encoder on the CPU; T5, which has billions of weights, in the precision that they are saved in, others in float32."""
    if cls is not T5EncoderModel:
        return component(cls, folder, part, torch_dtype=torch.float32)
    encoder = component(cls, folder, part, torch_dtype="auto")
    return encoder if encoder.dtype != torch.bfloat16 or bfloat16_works() else encoder.float()


def configuration(cls: Any, folder: Path, part: str) -> dict[str, Any]:
    """What a part was saved with, of which its class is to be made.

    Raises:
        ModelError: Missing or unreadable.
    """
    with told_as(f"{folder / part}: cannot be loaded"):
        config: dict[str, Any] = cls.load_config(folder / part, local_files_only=True)
        return config


@contextmanager
def _without_bar() -> Iterator[None]:
    """Within, transformers draws no bar on stderr."""
    drawn = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if drawn:
            logging.enable_progress_bar()
