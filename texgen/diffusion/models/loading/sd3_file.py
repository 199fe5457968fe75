"""Loading of Stable Diffusion 3 and 3.5 from one `.safetensors` file in the original layout, offline.

As in `texgen.diffusion.models.loading.single_file`, diffusers converts the weights, and the configuration is inferred from their shapes.
Text encoders in the file are not read; zeros replace them, see `texgen.diffusion.models.networks.sd3`.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, FlowMatchEulerDiscreteScheduler, SD3Transformer2DModel

from texgen.diffusion.models.loading.checks import check_latents, told_as
from texgen.diffusion.models.loading.single_file import UNET, VAE, Weights, converted, read_weights, vae_configuration
from texgen.diffusion.models.networks.sd3 import StableDiffusion3
from texgen.errors import ModelError, OptionError

NATIVE_SIDE = 128
HEAD = 64
"""Channels of an attention head, if no norm of queries shows it."""
SHIFT = 3.0
AUTOENCODER = {"scaling_factor": 1.5305, "shift_factor": 0.0609, "use_quant_conv": False, "use_post_quant_conv": False}


def load_components(path: Path, dtype: torch.dtype, prediction_type: str | None = None) -> dict[str, Any]:
    """Load transformer, autoencoder, scheduler and condition of a checkpoint file, as keyword arguments of `TransformerModel`.

    Args:
        path: A `.safetensors` file with a transformer and an autoencoder.
        dtype: Dtype of the transformer.
        prediction_type: Must be None.

    Raises:
        ModelError: The autoencoder is missing, or the file is broken.
        OptionError: A prediction type is given.
    """
    if prediction_type is not None:
        raise OptionError(f"prediction_type is for models with a UNet; leave it out for {path.name}.")
    weights = read_weights(path, (UNET, VAE))
    if f"{VAE}decoder.conv_in.weight" not in weights:
        raise ModelError(f"{path}: a transformer without its autoencoder; use the whole checkpoint, or a folder.")
    family = StableDiffusion3()
    with told_as(f"{path}: cannot be converted as Stable Diffusion 3"):
        transformer = converted(SD3Transformer2DModel, weights, transformer_configuration(weights), dtype)
        vae = converted(AutoencoderKL, weights, vae_configuration(weights, "sd3") | AUTOENCODER, torch.float32)
        check_latents(path.name, family.latent_channels(transformer.config), vae)
        return {
            "transformer": transformer,
            "autoencoder": vae,
            "scheduler": FlowMatchEulerDiscreteScheduler(shift=SHIFT),
            "condition": family.conditions(path, transformer.config, [""])[0],  # a file has no folders of text encoders
            "family": family,
            "side": NATIVE_SIDE,
        }


def transformer_configuration(weights: Weights) -> dict[str, Any]:
    """The transformer's diffusers configuration, inferred from the tensors' names and shapes."""
    shape = {name.removeprefix(UNET): tensor.shape for name, tensor in weights.items() if name.startswith(UNET)}
    blocks = {name.split(".")[1] for name in shape if name.startswith("joint_blocks.")}
    width, text = shape["context_embedder.weight"]
    head = shape.get("joint_blocks.0.x_block.attn.ln_q.weight", (HEAD,))[0]
    channels = shape["x_embedder.proj.weight"][1]
    return {
        "_class_name": "SD3Transformer2DModel",
        "sample_size": NATIVE_SIDE,
        "in_channels": channels,
        "out_channels": channels,
        "num_layers": len(blocks),
        "attention_head_dim": head,
        "num_attention_heads": width // head,
        "joint_attention_dim": text,
        "caption_projection_dim": width,
        "pooled_projection_dim": shape["y_embedder.mlp.0.weight"][1],
        "pos_embed_max_size": math.isqrt(shape["pos_embed"][1]),
        "dual_attention_layers": [
            number for number in range(len(blocks)) if f"joint_blocks.{number}.x_block.attn2.qkv.weight" in shape
        ],
        "qk_norm": "rms_norm" if "joint_blocks.0.x_block.attn.ln_q.weight" in shape else None,
    }
