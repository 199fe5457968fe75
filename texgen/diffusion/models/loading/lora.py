"""LoRA: low-rank changes of weights, read from a file and fused into a model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from importlib.util import find_spec
from inspect import signature
from pathlib import Path
from typing import Any

from diffusers import UNet2DConditionModel
from diffusers.loaders import StableDiffusionLoraLoaderMixin, StableDiffusionXLLoraLoaderMixin
from diffusers.loaders.lora_base import fuse_text_encoder_lora
from diffusers.utils.peft_utils import recurse_remove_peft_layers

from texgen.diffusion.models.loading.checks import told_as
from texgen.diffusion.models.loading.weights import PICKLE_SUFFIXES
from texgen.diffusion.models.prompts import Prompts
from texgen.errors import ModelError
from texgen.knobs import check_range

ENCODERS = ("text_encoder", "text_encoder_2")
NAME = "lora"
LARGEST = 10.0


def check(path: str | Path, scale: float) -> None:
    """Check a LoRA's file and scale, before anything is loaded.

    Raises:
        ModelError: The file does not exist or is a pickle, or peft is not installed.
        OptionError: The scale is out of range.
    """
    check_range("LoRA scale", scale, -LARGEST, LARGEST)
    path = Path(path)
    if path.suffix.lower() in PICKLE_SUFFIXES:
        raise ModelError(f"{path}: pickled weights can run code and are refused; use a .safetensors file.")
    if path.suffix.lower() != ".safetensors" or not path.is_file():
        raise ModelError(f"{path}: no such LoRA; give a .safetensors file.")
    if find_spec("peft") is None:
        raise ModelError("a LoRA needs peft, which is not installed: pip install 'texgen[lora]'.")


def fused(
    unet: UNet2DConditionModel, prompts: Prompts | None, loras: Sequence[tuple[str | Path, float]]
) -> Prompts | None:
    """Fuse LoRAs into a UNet, in place, and into its text encoders, which are returned and stay loaded.

    Args:
        unet: The UNet.
        prompts: Its text encoders, if any.
        loras: Files with their scales.

    Raises:
        ModelError: A file belongs to another kind of model.
    """
    encoders = [] if prompts is None else list(prompts.encoders())
    is_xl = prompts is not None and prompts.is_xl
    named = dict(zip(ENCODERS[len(ENCODERS) - len(encoders) :] if is_xl else ENCODERS, encoders, strict=False))
    mixin = StableDiffusionXLLoraLoaderMixin if is_xl else StableDiffusionLoraLoaderMixin
    for path, scale in loras:
        with _fitting(path):
            _fuse(unet, named, mixin, path, scale)
    return None if prompts is None else replace(prompts, encoders=lambda: encoders)


def fused_transformer(transformer: Any, mixin: Any, loras: Sequence[tuple[str | Path, float]]) -> None:
    """Fuse LoRAs into a transformer, in place.

    Args:
        transformer: The network.
        mixin: diffusers' class that reads such files.
        loras: Files with their scales.

    Raises:
        ModelError: A file belongs to another kind of model, or also changes text encoders.
    """
    for path, scale in loras:
        with _fitting(path):
            weights = mixin.lora_state_dict(Path(path).resolve(), use_safetensors=True, local_files_only=True)
            parts = {name.partition(".")[0] for name in weights}
            if "transformer" not in parts:
                raise ModelError(f"{path}: holds no LoRA for this model's transformer; use one trained for it.")
            if parts != {"transformer"}:
                raise ModelError(
                    f"{path}: changes text encoders, too, which is for Stable Diffusion 1.x, 2.x and XL; use another."
                )
            takes_alphas = "network_alphas" in signature(mixin.load_lora_into_transformer).parameters
            more = {"network_alphas": None} if takes_alphas else {}
            mixin.load_lora_into_transformer(weights, transformer=transformer, adapter_name=NAME, **more)
            transformer.fuse_lora(lora_scale=scale, safe_fusing=True)
            transformer.unload_lora()


def _fitting(path: str | Path) -> AbstractContextManager[None]:
    return told_as(f"{path}: is no LoRA of this model", "use one trained for it")


def _fuse(unet: UNet2DConditionModel, encoders: Mapping[str, Any], mixin: Any, path: str | Path, scale: float) -> None:
    """Fuse one file into the UNet and into the text encoders, which are given by diffusers' names."""
    more = {"unet_config": unet.config} if mixin is StableDiffusionXLLoraLoaderMixin else {}
    weights, alphas = mixin.lora_state_dict(Path(path).resolve(), use_safetensors=True, local_files_only=True, **more)
    parts = {name.partition(".")[0] for name in weights} & {"unet", *encoders}
    if not parts:
        raise ModelError(f"{path}: holds no LoRA for this model's UNet or text encoders; use one trained for it.")
    if "unet" in parts:
        mixin.load_lora_into_unet(weights, alphas, unet, adapter_name=NAME)
        unet.fuse_lora(lora_scale=scale, safe_fusing=True)
        unet.unload_lora()
    for part in parts - {"unet"}:
        encoder = encoders[part]
        mixin.load_lora_into_text_encoder(weights, alphas, encoder, prefix=part, adapter_name=NAME)
        fuse_text_encoder_lora(encoder, lora_scale=scale, safe_fusing=True)
        recurse_remove_peft_layers(encoder)
        del encoder.peft_config
        encoder._hf_peft_config_loaded = False
