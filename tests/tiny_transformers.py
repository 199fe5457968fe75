"""Tiny Stable Diffusion 3 and Flux of the real classes, as diffusers saves them: tiles of 8 x 8 latent pixels."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, FlowMatchEulerDiscreteScheduler, FluxTransformer2DModel, SD3Transformer2DModel
from tiny import save_tokenizer, text_encoder
from transformers import T5Config, T5EncoderModel

CHANNELS, SIDE, WIDTH = 16, 8, 32
SCHEDULERS: dict[str, dict[str, Any]] = {
    "sd3": {"shift": 3.0},
    "flux": {"shift": 3.0, "use_dynamic_shifting": True},
}


def autoencoder() -> AutoencoderKL:
    torch.manual_seed(1)
    return AutoencoderKL(
        block_out_channels=(8, 8, 16, 16),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        norm_num_groups=4,
        latent_channels=CHANNELS,
        scaling_factor=1.5,
        shift_factor=0.06,
        use_quant_conv=False,
        use_post_quant_conv=False,
    ).eval()


def transformer(family: str) -> Any:
    torch.manual_seed(0)
    if family == "sd3":
        model = SD3Transformer2DModel(
            sample_size=SIDE, in_channels=CHANNELS, out_channels=CHANNELS, num_layers=3, attention_head_dim=8, num_attention_heads=2,
            joint_attention_dim=WIDTH, caption_projection_dim=16, pooled_projection_dim=32, pos_embed_max_size=12,
            dual_attention_layers=(1,), qk_norm="rms_norm",
        )  # fmt: skip
    else:
        model = FluxTransformer2DModel(
            in_channels=4 * CHANNELS, num_layers=2, num_single_layers=2, attention_head_dim=8, num_attention_heads=2,
            joint_attention_dim=WIDTH, pooled_projection_dim=20, guidance_embeds=True, axes_dims_rope=(2, 2, 4),
        )  # fmt: skip
    return model.eval()


def t5() -> T5EncoderModel:
    torch.manual_seed(3)
    return T5EncoderModel(T5Config(vocab_size=32, d_model=WIDTH, d_kv=8, d_ff=32, num_layers=1, num_heads=2)).eval()


def text_encoders(family: str) -> dict[str, Any]:
    if family == "flux":
        return {"text_encoder": text_encoder(20), "text_encoder_2": t5()}
    return {
        "text_encoder": text_encoder(12, projected=True),
        "text_encoder_2": text_encoder(20, projected=True, act="gelu"),
        "text_encoder_3": t5(),
    }


def scheduler(family: str) -> FlowMatchEulerDiscreteScheduler:
    return FlowMatchEulerDiscreteScheduler(**SCHEDULERS[family])


def save_folder(folder: Path, family: str) -> Path:
    network = transformer(family)
    network.save_pretrained(folder / "transformer")
    autoencoder().save_pretrained(folder / "vae")
    for name, encoder in text_encoders(family).items():
        encoder.save_pretrained(folder / name)
    for name in ("tokenizer", "tokenizer_2")[: 2 if family == "sd3" else 1]:
        save_tokenizer(folder / name)
    scheduler(family).save_pretrained(folder / "scheduler")
    index = {
        "_class_name": "StableDiffusion3Pipeline" if family == "sd3" else "FluxPipeline",
        "transformer": ["diffusers", type(network).__name__],
        "vae": ["diffusers", "AutoencoderKL"],
    }
    (folder / "model_index.json").write_text(json.dumps(index))
    return folder
