"""Loading of one part of a diffusers folder, such as the network or a text encoder, from safetensors only."""

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
    """Load one part of a model, from safetensors only, and check that it is complete.

    Args:
        cls: Class of the part.
        folder: Folder of the model.
        part: Name of the subfolder.
        half: Whether to prefer weights in half precision if there are both.
        options: Options of the class' `from_pretrained`.

    Raises:
        ModelError: There are no safetensors, they are unreadable, or weights are missing (libraries would fill them with random numbers).
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
    """A text encoder on the CPU, in float32; T5, which has billions of weights, in the dtype in which it was saved, if the CPU supports it."""
    if cls is not T5EncoderModel:
        return component(cls, folder, part, torch_dtype=torch.float32)
    encoder = component(cls, folder, part, torch_dtype="auto")
    return encoder if encoder.dtype != torch.bfloat16 or bfloat16_works() else encoder.float()


def configuration(cls: Any, folder: Path, part: str) -> dict[str, Any]:
    """The configuration of a part, read by its class.

    Raises:
        ModelError: It is missing or unreadable.
    """
    with told_as(f"{folder / part}: cannot be loaded"):
        config: dict[str, Any] = cls.load_config(folder / part, local_files_only=True)
        return config


@contextmanager
def _without_bar() -> Iterator[None]:
    """Context in which transformers shows no progress bar."""
    drawn = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if drawn:
            logging.enable_progress_bar()
