"""Loading of models in diffusers' folder layout: the bundled one, a user's, or a snapshot of the hub."""

from __future__ import annotations

import json
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
from transformers import CLIPTextModel, CLIPTextModelWithProjection

from texgen.diffusion.models.loading.checks import check_channels, check_flow, check_latents, check_schedule, told_as
from texgen.diffusion.models.loading.components import component, configuration
from texgen.diffusion.models.loading.weights import fingerprint
from texgen.diffusion.models.networks.joint_transformer import Family
from texgen.diffusion.models.prompts import Prompts, folder_tokens
from texgen.diffusion.models.transformer_model import FAMILIES
from texgen.diffusion.models.vae.mini_autoencoder import TextureAutoencoder
from texgen.diffusion.tensor_files import cached
from texgen.errors import ModelError, OptionError
from tiling import Size

AUTOENCODERS = {
    "AutoencoderKL": AutoencoderKL,
    "AutoencoderTiny": AutoencoderTiny,
    "TextureAutoencoder": TextureAutoencoder,
}


def load_components(folder: Path, dtype: torch.dtype, prediction_type: str | None = None) -> dict[str, Any]:
    """Load network, autoencoder, scheduler and text encoders of a folder, as keyword arguments of `UNetModel` or `TransformerModel`.

    Args:
        folder: A folder as diffusers saves it.
        dtype: Dtype of the network.
        prediction_type: diffusers' name of a prediction type, to replace that of the folder's scheduler.

    Raises:
        ModelError: A part is missing, a pickle, or of an unknown kind; the message names it.
        OptionError: A prediction type is given for a transformer.
    """
    index = _read_index(folder)
    if "transformer" in index:
        return _with_transformer(folder, index, dtype, prediction_type)
    unet = component(UNet2DConditionModel, folder, "unet", dtype != torch.float32, torch_dtype=dtype)
    autoencoder = component(_autoencoder_class(index, folder), folder, "vae", torch_dtype=torch.float32)
    check_channels(folder.name, unet, autoencoder)
    prompts = text_prompts(folder, index)
    if prompts is None:
        condition = {"encoder_hidden_states": torch.zeros(1, 1, unet.config.cross_attention_dim)}
    else:
        side_px = unet.config.sample_size * 2 ** (len(autoencoder.config.block_out_channels) - 1)
        condition = prompts.condition("", Size(side_px, side_px))
    return {
        "unet": unet,
        "autoencoder": autoencoder,
        "scheduler": _scheduler(folder, prediction_type),
        "prompts": prompts,
        "condition": condition,
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
    config = configuration(family.transformer_class, folder, "transformer")
    # before the transformer is loaded, so that it and the text encoders are not in memory together
    condition = _empty_prompt(folder, family, config)
    scheduler = configuration(FlowMatchEulerDiscreteScheduler, folder, "scheduler")
    check_flow(folder.name, scheduler)
    with told_as(f"{folder / 'scheduler'}: cannot be loaded"):
        flow = FlowMatchEulerDiscreteScheduler.from_config(scheduler)
    autoencoder = component(_autoencoder_class(index, folder), folder, "vae", torch_dtype=torch.float32)
    check_latents(folder.name, family.latent_channels(config), autoencoder)
    transformer = component(family.transformer_class, folder, "transformer", dtype != torch.float32, torch_dtype=dtype)
    return {
        "transformer": transformer,
        "autoencoder": autoencoder,
        "scheduler": flow,
        "condition": condition,
        "family": family,
        "side": family.native_side(config),
        "text_folder": folder if any((folder / part).is_dir() for part in family.text) else None,
    }


def _empty_prompt(folder: Path, family: Family, config: dict[str, Any]) -> dict[str, Tensor]:
    """The condition of the empty prompt, cached on disk, since T5 is larger than many a transformer."""
    encoders = {part: fingerprint(folder / part) for part in family.text if (folder / part).is_dir()}
    read = [config.get(name) for name in ("joint_attention_dim", "pooled_projection_dim", "guidance_embeds")]
    return cached(
        [type(family).__name__, encoders, read, "T5 as saved"],
        lambda: family.conditions(folder, config, [""])[0],
    )


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


def _scheduler(folder: Path, prediction_type: str | None) -> DDIMScheduler:
    config = configuration(DDIMScheduler, folder, "scheduler")
    check_schedule(folder.name, config)
    with told_as(f"{folder / 'scheduler'}: cannot be loaded"):
        return deterministic_scheduler(
            config if prediction_type is None else {**config, "prediction_type": prediction_type}
        )


def deterministic_scheduler(config: dict[str, Any]) -> DDIMScheduler:
    """DDIM on a model's noise schedule, without clipping, which would distort latents."""
    return DDIMScheduler.from_config(config, clip_sample=False, thresholding=False)


def text_prompts(folder: Path, index: dict[str, Any]) -> Prompts | None:
    """The text encoders of a folder; None if it has none."""
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
