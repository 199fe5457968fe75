"""Tiny Stable Diffusion 3 and Flux of the real classes, as diffusers saves them: tiles of 8 x 8 latent pixels."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, FlowMatchEulerDiscreteScheduler, FluxTransformer2DModel, SD3Transformer2DModel
from safetensors.torch import save_file
from tiny import _vae_name, _vae_tensor, save_tokenizer, text_encoder
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.processors import TemplateProcessing
from torch import Tensor
from transformers import PreTrainedTokenizerFast, T5Config, T5EncoderModel

CHANNELS, SIDE, WIDTH = 16, 8, 32
PUBLISHED = (32, 2)
"""Norm groups and layers of the autoencoder in a single file; here its least width, too."""
SCHEDULERS: dict[str, dict[str, Any]] = {
    "sd3": {"shift": 3.0},
    "flux": {"shift": 3.0, "use_dynamic_shifting": True},
}


def autoencoder(width: int = 8, layers: int = 1) -> AutoencoderKL:
    torch.manual_seed(1)
    return AutoencoderKL(
        block_out_channels=(width,) * 4,
        norm_num_groups=min(width, 32),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=layers,
        latent_channels=CHANNELS,
        scaling_factor=1.5305,
        shift_factor=0.0609,
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


def t5_tokenizer() -> PreTrainedTokenizerFast:
    """Of a few words, with T5's ids for padding and end."""
    words = {"<pad>": 0, "</s>": 1, "<unk>": 2, "a": 3, "b": 4, "c": 5}
    tokenizer = Tokenizer(WordLevel(words, unk_token="<unk>"))
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.post_processor = TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="</s>", unk_token="<unk>", model_max_length=512
    )


def scheduler(family: str) -> FlowMatchEulerDiscreteScheduler:
    return FlowMatchEulerDiscreteScheduler(**SCHEDULERS[family])


def save_folder(folder: Path, family: str, width: int = 8, layers: int = 1) -> Path:
    """With an autoencoder of so many channels, and layers a block."""
    network = transformer(family)
    network.save_pretrained(folder / "transformer")
    autoencoder(width, layers).save_pretrained(folder / "vae")
    for name, encoder in text_encoders(family).items():
        encoder.save_pretrained(folder / name)
    for name in ("tokenizer", "tokenizer_2")[: 2 if family == "sd3" else 1]:
        save_tokenizer(folder / name)
    t5_tokenizer().save_pretrained(folder / ("tokenizer_3" if family == "sd3" else "tokenizer_2"))
    scheduler(family).save_pretrained(folder / "scheduler")
    index = {
        "_class_name": "StableDiffusion3Pipeline" if family == "sd3" else "FluxPipeline",
        "transformer": ["diffusers", type(network).__name__],
        "vae": ["diffusers", "AutoencoderKL"],
    }
    (folder / "model_index.json").write_text(json.dumps(index))
    return folder


PLAIN = {
    "pos_embed.pos_embed": "pos_embed", "pos_embed.proj": "x_embedder.proj", "proj_out": "final_layer.linear",
    "time_text_embed.timestep_embedder.linear_1": "t_embedder.mlp.0", "time_text_embed.timestep_embedder.linear_2": "t_embedder.mlp.2",
    "time_text_embed.text_embedder.linear_1": "y_embedder.mlp.0", "time_text_embed.text_embedder.linear_2": "y_embedder.mlp.2",
    "norm_out.linear": "final_layer.adaLN_modulation.1",
}  # fmt: skip
IN_BLOCK = {
    "norm1": "x_block.adaLN_modulation.1", "norm1_context": "context_block.adaLN_modulation.1",
    "ff.net.0.proj": "x_block.mlp.fc1", "ff.net.2": "x_block.mlp.fc2",
    "ff_context.net.0.proj": "context_block.mlp.fc1", "ff_context.net.2": "context_block.mlp.fc2",
    "attn.norm_q": "x_block.attn.ln_q", "attn.norm_k": "x_block.attn.ln_k",
    "attn.norm_added_q": "context_block.attn.ln_q", "attn.norm_added_k": "context_block.attn.ln_k",
    "attn.to_out.0": "x_block.attn.proj", "attn.to_add_out": "context_block.attn.proj",
    "attn2.norm_q": "x_block.attn2.ln_q", "attn2.norm_k": "x_block.attn2.ln_k", "attn2.to_out.0": "x_block.attn2.proj",
}  # fmt: skip
TOGETHER = {
    "x_block.attn.qkv": "attn.to_{}", "context_block.attn.qkv": "attn.add_{}_proj", "x_block.attn2.qkv": "attn2.to_{}",
}  # fmt: skip


def save_single_file(path: Path) -> Path:
    """The tiny Stable Diffusion 3 under the names of the original layout, without text encoders."""
    state, found = transformer("sd3").state_dict(), {}
    blocks = 1 + max(int(name.split(".")[1]) for name in state if name.startswith("transformer_blocks."))
    names = dict(PLAIN)
    for number in range(blocks):
        ours, theirs = f"transformer_blocks.{number}.", f"joint_blocks.{number}."
        names |= {ours + a: theirs + b for a, b in IN_BLOCK.items()}
        names |= {f"{ours}{a}.linear": names[ours + a] for a in ("norm1", "norm1_context")}
        for joined, each in TOGETHER.items():
            for kind in ("weight", "bias"):
                parts = [state.pop(f"{ours}{each.format(part)}.{kind}", None) for part in "qkv"]
                if parts[0] is not None:
                    found[f"{theirs}{joined}.{kind}"] = torch.cat(parts)
    for name, tensor in state.items():
        part, _, kind = name.rpartition(".")
        turned = part in ("norm_out.linear", f"transformer_blocks.{blocks - 1}.norm1_context.linear")
        found[names[name] if name in names else f"{names.get(part, part)}.{kind}"] = (
            _swapped(tensor) if turned else tensor
        )
    tensors = {f"model.diffusion_model.{name}": tensor for name, tensor in found.items()}
    tensors |= {
        f"first_stage_model.{_vae_name(k)}": _vae_tensor(k, v) for k, v in autoencoder(*PUBLISHED).state_dict().items()
    }
    save_file({name: tensor.contiguous().clone() for name, tensor in tensors.items()}, path)
    return path


def _swapped(tensor: Tensor) -> Tensor:
    """Scale and shift change places."""
    return torch.cat(tensor.chunk(2)[::-1])
