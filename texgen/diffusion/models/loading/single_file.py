"""Loading of Stable Diffusion from one `.safetensors` file in the original layout, offline.

diffusers converts the weights; the configuration that it would fetch from the hub is inferred from the tensors'
shapes.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from diffusers.loaders.single_file_utils import create_diffusers_clip_model_from_ldm
from safetensors import safe_open
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from texgen.diffusion.models.loading.checks import check_channels, told_as
from texgen.diffusion.models.loading.folder import deterministic_scheduler
from texgen.diffusion.models.prompts import BEGIN, END, Prompts, known_tokens
from texgen.errors import ModelError
from tiling import Size

UNET = "model.diffusion_model."
VAE = "first_stage_model."
MARKERS = {  # a tensor that only this family has, its text encoder's token embedding
    "sdxl": "conditioner.embedders.1.model.token_embedding.weight",
    "sd2": "cond_stage_model.model.token_embedding.weight",
    "sd1": "cond_stage_model.transformer.text_model.embeddings.token_embedding.weight",
}
LAST = 999
SCHEDULER = {
    "num_train_timesteps": LAST + 1,
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "set_alpha_to_one": False,
    "steps_offset": 1,
    "timestep_spacing": "leading",
}
BASE, BASE_STEPS = 64, 875000
"""Side of a tile in latent pixels, and number of training steps, of the Stable Diffusion 2.x models that predict noise."""
TRIAL = 32
"""Side in latent pixels of the noise with which a UNet's prediction type is determined."""
Weights = dict[str, Tensor]


def load_components(path: Path, dtype: torch.dtype, prediction_type: str | None = None) -> dict[str, Any]:
    """Load UNet, autoencoder, scheduler and text encoders of a checkpoint file, as keyword arguments of `UNetModel`.

    Args:
        path: A `.safetensors` file in the original (not diffusers') layout of Stable Diffusion 1.x, 2.x or XL.
        dtype: Dtype of the UNet.
        prediction_type: `epsilon` or `v_prediction`; by default `v_prediction` if the file has a tensor named `v_pred`, else
            `epsilon`. For 2.x it is inferred from the number of training steps, or else from a test of the UNet.

    Raises:
        ModelError: The file is not a checkpoint of these families, or is broken.
    """
    weights = read_weights(path)
    family = next((name for name, marker in MARKERS.items() if marker in weights), None)
    if family is None or f"{UNET}input_blocks.0.0.weight" not in weights:
        raise ModelError(
            f"{path}: no whole Stable Diffusion 1.x, 2.x or XL checkpoint; LoRA, VAE or UNet files alone do not do."
        )
    if "edm_mean" in weights:
        raise ModelError(f"{path}: trained with an EDM schedule; use a model that predicts noise or v.")
    with told_as(f"{path}: cannot be converted as {family}"):
        return _convert(weights, path, family, dtype, prediction_type)


def read_weights(path: Path, prefixes: tuple[str, ...] = ("",)) -> Weights:
    """The tensors of a file whose names start with one of the prefixes.

    Raises:
        ModelError: The file is not readable.
    """
    with told_as(f"{path}: not a readable safetensors file", "download it again"), safe_open(path, "pt") as file:
        return {name: file.get_tensor(name) for name in file.keys() if name.startswith(prefixes)}  # noqa: SIM118


def converted(cls: Any, weights: Weights, config: dict[str, Any], dtype: torch.dtype) -> Any:
    """A part of a checkpoint as diffusers' class, which reads its configuration from a folder."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "config.json").write_text(json.dumps(config))
        return cls.from_single_file(dict(weights), config=folder, torch_dtype=dtype, local_files_only=True)


def _convert(
    weights: Weights, path: Path, family: str, dtype: torch.dtype, prediction_type: str | None
) -> dict[str, Any]:
    known = prediction_type or _prediction_type(weights, family)
    precision = torch.float32 if known is None else dtype  # `gives_noise_back` needs float32
    unet = converted(UNet2DConditionModel, weights, unet_configuration(weights, family), precision)
    vae = converted(AutoencoderKL, weights, vae_configuration(weights, family), torch.float32)
    check_channels(path.name, unet, vae)
    side_px = unet.config.sample_size * 2 ** (len(vae.config.block_out_channels) - 1)
    prompts = Prompts(
        encoders=lambda: _encoders(read_weights(path, TEXT), family),
        tokens=lambda prompt: [known_tokens(prompt, pad) for pad in PADS[family]],
        is_xl=family == "sdxl",
        zeros=family == "sdxl",
    )
    condition = prompts.condition("", Size(side_px, side_px), _encoders(weights, family))
    if known is None:
        known = "epsilon" if gives_noise_back(unet, condition) else "v_prediction"
        nn.Module.to(unet, dtype)  # diffusers' own `to` warns about casts
    if family == "sd2" and known == "epsilon":
        unet.register_to_config(sample_size=BASE)
    scheduler = deterministic_scheduler({**SCHEDULER, "prediction_type": known})
    return {"unet": unet, "autoencoder": vae, "scheduler": scheduler, "prompts": prompts, "condition": condition}


@torch.no_grad()
def gives_noise_back(unet: UNet2DConditionModel, condition: dict[str, Any]) -> bool:
    """Whether a UNet in float32 predicts noise (epsilon) and not v, tested on pure noise at the last timestep.

    There v = sqrt(abar) noise - sqrt(1 - abar) picture contains a fifteenth of the noise, epsilon all of it, so that the slope of the
    prediction over the noise tells them apart.
    """
    noise = torch.randn(1, unet.config.in_channels, TRIAL, TRIAL, generator=torch.Generator().manual_seed(0))
    found = unet.eval()(noise, LAST, **condition).sample
    return float((noise * found).sum() / noise.square().sum()) > 0.5


def unet_configuration(weights: Weights, family: str) -> dict[str, Any]:
    """The UNet's diffusers configuration, with widths and depths inferred from the tensors."""
    widths: list[int] = []
    while (name := f"{UNET}input_blocks.{1 + 3 * len(widths)}.0.out_layers.3.weight") in weights:
        widths.append(weights[name].shape[0])
    depths = [
        _count(weights, f"{UNET}input_blocks.{1 + 3 * level}.1.transformer_blocks.") for level in range(len(widths))
    ]
    cross = next(
        w.shape[1] for name, w in weights.items() if name.startswith(UNET) and name.endswith("attn2.to_k.weight")
    )
    down = ["CrossAttnDownBlock2D" if depth else "DownBlock2D" for depth in depths]
    config = {
        "_class_name": "UNet2DConditionModel",
        "in_channels": weights[f"{UNET}input_blocks.0.0.weight"].shape[1],
        "out_channels": weights[f"{UNET}out.2.weight"].shape[0],
        "layers_per_block": 2,
        "block_out_channels": widths,
        "down_block_types": down,
        "up_block_types": [name.replace("Down", "Up") for name in reversed(down)],
        "transformer_layers_per_block": [max(depth, 1) for depth in depths],
        "cross_attention_dim": cross,
        "attention_head_dim": 8 if family == "sd1" else [max(width // 64, 1) for width in widths],
        "use_linear_projection": family != "sd1",
        "sample_size": {"sd1": 64, "sd2": 96, "sdxl": 128}[family],
    }
    if family == "sdxl":
        config |= {
            "addition_embed_type": "text_time",
            "addition_time_embed_dim": 256,
            "projection_class_embeddings_input_dim": weights[f"{UNET}label_emb.0.0.weight"].shape[1],
        }
    return config


def vae_configuration(weights: Weights, family: str) -> dict[str, Any]:
    """The autoencoder's diffusers configuration, with widths inferred from the tensors."""
    widths: list[int] = []
    while (name := f"{VAE}encoder.down.{len(widths)}.block.0.conv2.weight") in weights:
        widths.append(weights[name].shape[0])
    return {
        "_class_name": "AutoencoderKL",
        "block_out_channels": widths,
        "down_block_types": ["DownEncoderBlock2D"] * len(widths),
        "up_block_types": ["UpDecoderBlock2D"] * len(widths),
        "layers_per_block": 2,
        "latent_channels": weights[f"{VAE}decoder.conv_in.weight"].shape[1],
        "scaling_factor": 0.13025 if family == "sdxl" else 0.18215,
    }


def _text_configuration(weights: Weights, prefix: str, open_clip: bool) -> CLIPTextConfig:
    """A CLIP text encoder's configuration; OpenCLIP has other names of layers and another activation."""
    if open_clip:
        blocks, up = f"{prefix}transformer.resblocks.", "mlp.c_fc.weight"
        embedding = weights[f"{prefix}token_embedding.weight"]
    else:
        blocks, up = f"{prefix}encoder.layers.", "mlp.fc1.weight"
        embedding = weights[f"{prefix}embeddings.token_embedding.weight"]
    vocabulary, width = embedding.shape
    layers = _count(weights, blocks)
    projection = weights.get(f"{prefix}text_projection")
    is_sd2 = open_clip and prefix.startswith("cond_stage_model")
    return CLIPTextConfig(
        vocab_size=vocabulary,
        hidden_size=width,
        intermediate_size=weights[f"{blocks}0.{up}"].shape[0],
        num_hidden_layers=layers - 1 if is_sd2 else layers,  # 2.x uses the penultimate layer
        num_attention_heads=max(width // 64, 1),
        hidden_act="gelu" if open_clip else "quick_gelu",
        projection_dim=width if projection is None else projection.shape[1],
        bos_token_id=BEGIN,
        eos_token_id=END,
    )


TEXT = ("cond_stage_model.", "conditioner.")
PADS = {"sd1": (END,), "sd2": (0,), "sdxl": (END, 0)}
"""Padding ids of each encoder's tokens."""


def _encoders(weights: Weights, family: str) -> list[Any]:
    """The text encoders of a checkpoint."""
    if family == "sdxl":
        return [
            _encoder(CLIPTextModel, weights, "conditioner.embedders.0.transformer.text_model."),
            _encoder(CLIPTextModelWithProjection, weights, "conditioner.embedders.1.model."),
        ]
    prefix = "cond_stage_model.transformer.text_model." if family == "sd1" else "cond_stage_model.model."
    return [_encoder(CLIPTextModel, weights, prefix)]


def _encoder(cls: Any, weights: Weights, prefix: str) -> Any:
    with tempfile.TemporaryDirectory() as folder:
        _text_configuration(weights, prefix, prefix.endswith(".model.")).save_pretrained(folder)
        model = create_diffusers_clip_model_from_ldm(
            cls, dict(weights), config=folder, torch_dtype=torch.float32, local_files_only=True
        )
    return model.eval()


def _prediction_type(weights: Weights, family: str) -> str | None:
    """The prediction type that a file shows; None if it must be tested. Of Stable Diffusion 2.x, the 512 px base (`BASE_STEPS`) predicts noise."""
    if "v_pred" in weights:
        return "v_prediction"
    if family != "sd2":
        return "epsilon"
    if "global_step" not in weights:
        return None
    return "epsilon" if int(weights["global_step"]) == BASE_STEPS else "v_prediction"


def _count(weights: Weights, prefix: str) -> int:
    return len({name[len(prefix) :].split(".")[0] for name in weights if name.startswith(prefix)})
