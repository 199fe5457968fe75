"""Models in diffusers' folder layout: the bundled one, a user's, or a snapshot from the hub."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    AutoencoderTiny,
    DDIMScheduler,
    FlowMatchEulerDiscreteScheduler,
    UNet2DConditionModel,
)
from torch import Tensor
from transformers import CLIPTextModel, CLIPTextModelWithProjection, T5EncoderModel
from transformers.utils import logging

from texgen.diffusion.models import text
from texgen.diffusion.models.autoencoder import TextureAutoencoder
from texgen.diffusion.models.checks import (
    bfloat16_works,
    check_channels,
    check_flow,
    check_latents,
    check_schedule,
    reason,
)
from texgen.diffusion.models.joint import Family, JointPrompts
from texgen.diffusion.models.text import Prompts, folder_tokens
from texgen.diffusion.models.transformer import FAMILIES
from texgen.diffusion.models.weights import check_part, fingerprint, variant
from texgen.diffusion.tensors import cached
from texgen.errors import ModelError, OptionError
from tiling import Size

AUTOENCODERS = {
    "AutoencoderKL": AutoencoderKL,
    "AutoencoderTiny": AutoencoderTiny,
    "TextureAutoencoder": TextureAutoencoder,
}


def load_components(folder: Path, dtype: torch.dtype, prediction_type: str | None = None) -> dict[str, Any]:
    """Network, autoencoder, scheduler and text of a folder, as keyword arguments of `Backbone` or `TransformerModel`.

    Args:
        folder: As diffusers saves it.
        dtype: Of the network.
        prediction_type: In place of what the folder's scheduler says, in diffusers' words.

    Raises:
        ModelError: Something is missing, is a pickle, or is no model of a known kind; the message names the part.
        OptionError: A prediction type for a transformer.
    """
    index = _read_index(folder)
    if "transformer" in index:
        return _with_transformer(folder, index, dtype, prediction_type)
    unet = component(UNet2DConditionModel, folder, "unet", dtype != torch.float32, torch_dtype=dtype)
    autoencoder = component(_autoencoder_class(index, folder), folder, "vae", torch_dtype=torch.float32)
    check_channels(folder.name, unet, autoencoder)
    prompts = text_prompts(folder, index)
    side_px = unet.config.sample_size * 2 ** (len(autoencoder.config.block_out_channels) - 1) if prompts else 0
    return {
        "unet": unet,
        "autoencoder": autoencoder,
        "scheduler": _scheduler(folder, prediction_type),
        "prompts": prompts,
        "condition": text.zero_condition(unet.config.cross_attention_dim)
        if prompts is None
        else prompts.condition("", Size(side_px, side_px)),
    }


def _with_transformer(
    folder: Path, index: dict[str, Any], dtype: torch.dtype, prediction_type: str | None
) -> dict[str, Any]:
    name = (index["transformer"] or [None])[-1]
    if name not in FAMILIES:
        raise ModelError(f"{folder.name}: transformer class {name!r} is not known; known are {', '.join(FAMILIES)}.")
    if prediction_type is not None:
        raise OptionError(f"prediction_type is for models with a UNet; leave it out for {folder.name}.")
    family = FAMILIES[name]
    config = _config(family.transformer_class, folder, "transformer")
    condition = _empty_prompt(
        folder, family, config
    )  # first, so that text encoders and transformer are not in memory together
    scheduler = _config(FlowMatchEulerDiscreteScheduler, folder, "scheduler")
    check_flow(folder.name, scheduler)
    autoencoder = component(_autoencoder_class(index, folder), folder, "vae", torch_dtype=torch.float32)
    check_latents(folder.name, family.latent_channels(config), autoencoder)
    transformer = component(family.transformer_class, folder, "transformer", dtype != torch.float32, torch_dtype=dtype)
    return {
        "transformer": transformer,
        "autoencoder": autoencoder,
        "scheduler": FlowMatchEulerDiscreteScheduler.from_config(scheduler),
        "condition": condition,
        "family": family,
        "side": family.native_side(config),
        "prompts": _joint_prompts(folder, family, config),
    }


def _empty_prompt(folder: Path, family: Family, config: dict[str, Any]) -> dict[str, Tensor]:
    """Encoded once for all runs: T5 has more weights than many a transformer."""
    encoders = {part: fingerprint(folder / part) for part in family.text if (folder / part).is_dir()}
    read = [config.get(name) for name in ("joint_attention_dim", "pooled_projection_dim", "guidance_embeds")]
    return cached(
        [type(family).__name__, encoders, read, "T5 as saved"],
        lambda: family.conditions(folder, config, text_encoder, [""])[0],
    )


def _joint_prompts(folder: Path, family: Family, config: dict[str, Any]) -> JointPrompts | None:
    if not any((folder / part).is_dir() for part in family.text):
        return None
    tokens = partial(family.tokens, folder, config)
    return JointPrompts(tokens, partial(family.conditions, folder, config, text_encoder))


def text_encoder(cls: Any, folder: Path, part: str) -> Any:
    """A text encoder on the CPU; T5, which has billions of weights, in the precision that they are saved in, others in float32."""
    if cls is not T5EncoderModel:
        return component(cls, folder, part, torch_dtype=torch.float32)
    encoder = component(cls, folder, part, torch_dtype="auto")
    return encoder if encoder.dtype != torch.bfloat16 or bfloat16_works() else encoder.float()


def _config(cls: Any, folder: Path, part: str) -> dict[str, Any]:
    try:
        config: dict[str, Any] = cls.load_config(folder / part, local_files_only=True)
        return config
    except Exception as error:
        raise ModelError(f"{folder / part}: cannot be loaded ({reason(error)}).") from error


def _read_index(folder: Path) -> dict[str, Any]:
    path = folder / "model_index.json"
    if not path.is_file():
        raise ModelError(f"{folder}: no model_index.json; give a folder saved by diffusers' save_pretrained.")
    try:
        index = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise ModelError(f"{path}: not readable as JSON ({error}); download the model again.") from error
    if not isinstance(index, dict):
        raise ModelError(f"{path}: holds no JSON object; download the model again.")
    return index


def _autoencoder_class(index: dict[str, Any], folder: Path) -> Any:
    name = (index.get("vae") or [None, None])[-1]
    if name not in AUTOENCODERS:
        raise ModelError(
            f"{folder.name}: autoencoder class {name!r} is not known; known are {', '.join(AUTOENCODERS)}."
        )
    return AUTOENCODERS[name]


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
    try:
        with _without_bar():
            model, loaded = cls.from_pretrained(
                where,
                use_safetensors=True,
                local_files_only=True,
                variant=precision,
                output_loading_info=True,
                **options,
            )
    except Exception as error:  # the libraries raise many kinds; all mean that this part cannot be used
        raise ModelError(f"{where}: cannot be loaded ({reason(error)}); download the model again.") from error
    if loaded["missing_keys"]:
        missing = sorted(loaded["missing_keys"])
        raise ModelError(f"{where}: {len(missing)} weights are missing ({missing[0]}, ...); download the model again.")
    return model


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


def _scheduler(folder: Path, prediction_type: str | None) -> DDIMScheduler:
    try:
        config = DDIMScheduler.load_config(folder / "scheduler", local_files_only=True)
        check_schedule(folder.name, config)
        return deterministic_scheduler(
            config if prediction_type is None else {**config, "prediction_type": prediction_type}
        )
    except ModelError:
        raise
    except Exception as error:
        raise ModelError(f"{folder / 'scheduler'}: cannot be loaded ({reason(error)}).") from error


def deterministic_scheduler(config: dict[str, Any]) -> DDIMScheduler:
    """DDIM on a model's noise schedule, without clipping, which would bend latents."""
    return DDIMScheduler.from_config(config, clip_sample=False, thresholding=False)


def text_prompts(folder: Path, index: dict[str, Any]) -> Prompts | None:
    """The text encoders of a folder; None where there are none."""
    parts = {
        "text_encoder": (CLIPTextModel, "tokenizer"),
        "text_encoder_2": (CLIPTextModelWithProjection, "tokenizer_2"),
    }
    there = {part: pair for part, pair in parts.items() if (folder / part).is_dir()}
    if not there:
        return None
    is_xl = "text_encoder_2" in there
    return Prompts(
        encoders=lambda: [component(cls, folder, part, torch_dtype=torch.float32) for part, (cls, _) in there.items()],
        tokens=lambda prompt: [folder_tokens(folder / name, prompt) for _, name in there.values()],
        is_xl=is_xl,
        zeros=is_xl and bool(index.get("force_zeros_for_empty_prompt", True)),
    )
