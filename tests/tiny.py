"""Tiny models of real classes, in every layout that users have; and what a model makes of a canvas."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, AutoencoderTiny, DDIMScheduler, PNDMScheduler, UNet2DConditionModel
from safetensors.torch import save_file
from torch import Tensor
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from texgen.diffusion.decoding.decode import CanvasDecoder
from texgen.diffusion.decoding.detail import Detail
from texgen.diffusion.models import UNetModel
from texgen.diffusion.models.prompts import END
from tiling import Wrap

SD_SCHEDULER = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "steps_offset": 1}
WIDTHS = (32, 32, 64, 64)
SLIM, THIN = (16, 16, 32, 32), (8, 8, 16, 16)
"""Of UNet and autoencoder in folders, which say how many groups a norm has; in single files there are always 32."""
PUBLISHED = 2
"""Layers a block of Stable Diffusion, and of every single file; tests of other things have one."""


def unet(
    family: str = "sd1", sample_size: int = 16, widths: tuple[int, ...] = WIDTHS, layers: int = 1
) -> UNet2DConditionModel:
    """Four levels (three for XL) like Stable Diffusion's."""
    torch.manual_seed(0)
    common: dict[str, Any] = {
        "sample_size": sample_size,
        "in_channels": 4,
        "out_channels": 4,
        "cross_attention_dim": 32,
        "norm_num_groups": _groups(widths),
        "layers_per_block": layers,
    }
    if family == "sdxl":
        model = UNet2DConditionModel(
            block_out_channels=widths[:3],
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
            transformer_layers_per_block=(1, 1, 2),
            attention_head_dim=(1, 1, 1),
            use_linear_projection=True,
            addition_embed_type="text_time",
            addition_time_embed_dim=256,
            projection_class_embeddings_input_dim=6 * 256 + 20,
            **common,
        )
    else:
        model = UNet2DConditionModel(
            block_out_channels=widths,
            attention_head_dim=8 if family == "sd1" else (1, 1, 1, 1),
            use_linear_projection=family == "sd2",
            **common,
        )
    return model.eval()


def autoencoder(widths: tuple[int, ...] = WIDTHS, layers: int = 1) -> AutoencoderKL:
    torch.manual_seed(1)
    return AutoencoderKL(
        block_out_channels=widths,
        norm_num_groups=_groups(widths),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        layers_per_block=layers,
        latent_channels=4,
        sample_size=64,
    ).eval()


def _groups(widths: tuple[int, ...]) -> int:
    return 32 if widths == WIDTHS else widths[0] // 2


def taesd() -> AutoencoderTiny:
    """The small autoencoder that stands in for Stable Diffusion's."""
    torch.manual_seed(3)
    widths = {"encoder_block_out_channels": (16,) * 4, "decoder_block_out_channels": (16,) * 4}
    return AutoencoderTiny(**widths).eval()


def predicting(network: UNet2DConditionModel, share: float, condition: Tensor) -> UNet2DConditionModel:
    """The network with a last layer that gives so much of the noise back at the last timestep, by least squares."""
    noise, seen = torch.randn(3, 4, 32, 32, generator=torch.Generator().manual_seed(5)), []
    hook = network.conv_out.register_forward_pre_hook(lambda _layer, inputs: seen.append(inputs[0]))
    with torch.no_grad():
        network(noise, 999, encoder_hidden_states=condition.expand(3, -1, -1))
        rows = torch.nn.functional.unfold(seen[0], 3, padding=1).transpose(1, 2).flatten(0, 1)
        wanted = share * noise.permute(0, 2, 3, 1).flatten(0, 2)
        solved = torch.linalg.lstsq(rows, wanted).solution
        network.conv_out.weight.copy_(solved.T.view_as(network.conv_out.weight))
        network.conv_out.bias.zero_()
    hook.remove()
    return network


def text_encoder(width: int = 32, projected: bool = False, act: str = "quick_gelu") -> Any:
    torch.manual_seed(2)
    config = CLIPTextConfig(
        vocab_size=END + 1, hidden_size=width, intermediate_size=2 * width, num_hidden_layers=2, num_attention_heads=1,
        projection_dim=width, hidden_act=act, bos_token_id=END - 1, eos_token_id=END,
    )  # fmt: skip
    return (CLIPTextModelWithProjection if projected else CLIPTextModel)(config).eval()


def save_tokenizer(folder: Path) -> None:
    """A byte-pair tokenizer with CLIP's ids for begin and end."""
    folder.mkdir(parents=True)
    vocabulary = {"a": 0, "a</w>": 1, "b</w>": 2, "c</w>": 3, "<|startoftext|>": END - 1, "<|endoftext|>": END}
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    special = {
        "bos_token": "<|startoftext|>",
        "eos_token": "<|endoftext|>",
        "unk_token": "<|endoftext|>",
        "pad_token": "<|endoftext|>",
    }
    (folder / "tokenizer_config.json").write_text(
        json.dumps({"tokenizer_class": "CLIPTokenizer", "model_max_length": 77, **special})
    )


def save_folder(folder: Path, variant: str | None = None, family: str = "sd1", layers: int = 1) -> Path:
    """Stable Diffusion 1.x, or a 2.x that predicts v, in diffusers' layout, with the scheduler class that such repositories name."""
    unet(family, widths=SLIM, layers=layers).save_pretrained(folder / "unet", variant=variant)
    autoencoder(THIN, layers).save_pretrained(folder / "vae", variant=variant)
    text_encoder(act="quick_gelu" if family == "sd1" else "gelu").save_pretrained(folder / "text_encoder")
    if variant:
        weights = folder / "text_encoder" / "model.safetensors"
        weights.rename(weights.with_name(f"model.{variant}.safetensors"))
    save_tokenizer(folder / "tokenizer")
    predicted = "epsilon" if family == "sd1" else "v_prediction"
    PNDMScheduler(**SD_SCHEDULER, prediction_type=predicted).save_pretrained(folder / "scheduler")
    index = {
        "_class_name": "StableDiffusionPipeline",
        "unet": ["diffusers", "UNet2DConditionModel"],
        "vae": ["diffusers", "AutoencoderKL"],
    }
    (folder / "model_index.json").write_text(json.dumps(index))
    return folder


def save_xl_folder(folder: Path, layers: int = 1) -> Path:
    """Stable Diffusion XL in diffusers' layout."""
    unet("sdxl", widths=SLIM, layers=layers).save_pretrained(folder / "unet")
    autoencoder(THIN, layers).save_pretrained(folder / "vae")
    text_encoder(12).save_pretrained(folder / "text_encoder")
    text_encoder(20, projected=True, act="gelu").save_pretrained(folder / "text_encoder_2")
    for name in ("tokenizer", "tokenizer_2"):
        save_tokenizer(folder / name)
    DDIMScheduler(**SD_SCHEDULER).save_pretrained(folder / "scheduler")
    index = {
        "_class_name": "StableDiffusionXLPipeline",
        "unet": ["diffusers", "UNet2DConditionModel"],
        "vae": ["diffusers", "AutoencoderKL"],
    }
    (folder / "model_index.json").write_text(json.dumps(index))
    return folder


def save_single_file(path: Path, family: str, network: UNet2DConditionModel | None = None, **more: Tensor) -> Path:
    """The same tiny models under the names of the original layout, and more tensors beside them."""
    network = network or unet(family, layers=PUBLISHED)
    tensors = {f"model.diffusion_model.{_unet_name(k)}": v for k, v in network.state_dict().items()} | more
    tensors |= {
        f"first_stage_model.{_vae_name(k)}": _vae_tensor(k, v)
        for k, v in autoencoder(layers=PUBLISHED).state_dict().items()
    }
    clip, open_clip = "cond_stage_model.transformer.text_model.", "cond_stage_model.model."
    if family == "sdxl":
        clip, open_clip = "conditioner.embedders.0.transformer.text_model.", "conditioner.embedders.1.model."
        tensors |= _open_clip(text_encoder(20, projected=True, act="gelu"), open_clip)
    if family == "sd2":
        tensors |= _open_clip(text_encoder(act="gelu"), open_clip, unused_layer=True)
    else:
        state = text_encoder(12 if family == "sdxl" else 32).state_dict()
        tensors |= {clip + name.removeprefix("text_model."): tensor for name, tensor in state.items()}
    save_file({name: tensor.contiguous().clone() for name, tensor in tensors.items()}, path)
    return path


RESNET = {"norm1": "in_layers.0", "conv1": "in_layers.2", "norm2": "out_layers.0", "conv2": "out_layers.3", "time_emb_proj": "emb_layers.1", "conv_shortcut": "skip_connection"}  # fmt: skip
PLAIN = {"time_embedding.linear_1": "time_embed.0", "time_embedding.linear_2": "time_embed.2", "add_embedding.linear_1": "label_emb.0.0", "add_embedding.linear_2": "label_emb.0.2", "conv_in": "input_blocks.0.0", "conv_norm_out": "out.0", "conv_out": "out.2"}  # fmt: skip


def _unet_name(name: str) -> str:
    for ours, theirs in PLAIN.items():
        if name.startswith(ours + "."):
            return theirs + name[len(ours) :]
    part, *rest = name.split(".")
    if part == "mid_block":
        kind, index, *tail = rest
        block = {"resnets0": "middle_block.0", "attentions0": "middle_block.1", "resnets1": "middle_block.2"}[
            kind + index
        ]
        return f"{block}.{_inner(kind, tail)}"
    level, kind, index, *tail = rest
    if part == "down_blocks":
        if kind == "downsamplers":
            return f"input_blocks.{3 * (int(level) + 1)}.0.op.{tail[-1]}"
        return f"input_blocks.{3 * int(level) + int(index) + 1}.{int(kind == 'attentions')}.{_inner(kind, tail)}"
    if kind == "upsamplers":
        return f"output_blocks.{3 * int(level) + 2}.{_UPSAMPLER[int(level)]}.conv.{tail[-1]}"
    return f"output_blocks.{3 * int(level) + int(index)}.{int(kind == 'attentions')}.{_inner(kind, tail)}"


_UPSAMPLER = {0: 1, 1: 2, 2: 2}


def _inner(kind: str, tail: list[str]) -> str:
    if kind == "resnets":
        tail = [RESNET[tail[0]], *tail[1:]]
    return ".".join(tail)


def _vae_name(name: str) -> str:
    part, *rest = name.split(".")
    if part not in ("encoder", "decoder") or rest[0] in ("conv_in", "conv_out"):
        return name
    if rest[0] == "conv_norm_out":
        return f"{part}.norm_out.{rest[1]}"
    if rest[0] == "mid_block":
        kind, index, *tail = rest[1:]
        block = {"resnets0": "block_1", "attentions0": "attn_1", "resnets1": "block_2"}[kind + index]
        swaps = {
            "group_norm": "norm",
            "to_q": "q",
            "to_k": "k",
            "to_v": "v",
            "to_out": "proj_out",
            "conv_shortcut": "nin_shortcut",
        }
        tail = [swaps.get(t, t) for t in tail if not (kind == "attentions" and t == "0")]
        return f"{part}.mid.{block}.{'.'.join(tail)}"
    level = int(rest[1])
    place = f"down.{level}" if part == "encoder" else f"up.{len(WIDTHS) - 1 - level}"
    if rest[2] in ("downsamplers", "upsamplers"):
        return f"{part}.{place}.{rest[2].removesuffix('rs')[:-1]}e.{'.'.join(rest[4:])}"
    return f"{part}.{place}.block.{rest[3]}.{'.'.join(rest[4:]).replace('conv_shortcut', 'nin_shortcut')}"


def _vae_tensor(name: str, tensor: Tensor) -> Tensor:
    is_projection = "attentions" in name and name.endswith("weight") and "group_norm" not in name
    return tensor[:, :, None, None] if is_projection else tensor


def _open_clip(model: Any, prefix: str, unused_layer: bool = False) -> dict[str, Tensor]:
    state = {name.removeprefix("text_model."): tensor for name, tensor in model.state_dict().items()}
    found = {
        f"{prefix}token_embedding.weight": state["embeddings.token_embedding.weight"],
        f"{prefix}positional_embedding": state["embeddings.position_embedding.weight"],
        f"{prefix}ln_final.weight": state["final_layer_norm.weight"],
        f"{prefix}ln_final.bias": state["final_layer_norm.bias"],
        f"{prefix}text_projection": state.get(
            "text_projection.weight", torch.eye(len(state["final_layer_norm.bias"]))
        ).T,
    }
    for layer in range(3 if unused_layer else 2):
        theirs, ours = f"{prefix}transformer.resblocks.{layer}.", f"encoder.layers.{min(layer, 1)}."
        names = {
            "ln_1": "layer_norm1",
            "ln_2": "layer_norm2",
            "mlp.c_fc": "mlp.fc1",
            "mlp.c_proj": "mlp.fc2",
            "attn.out_proj": "self_attn.out_proj",
        }
        for kind in ("weight", "bias"):
            for a, b in names.items():
                found[f"{theirs}{a}.{kind}"] = state[f"{ours}{b}.{kind}"]
            found[f"{theirs}attn.in_proj_{kind}"] = torch.cat(
                [state[f"{ours}self_attn.{p}_proj.{kind}"] for p in "qkv"]
            )
    return found


def decode(model: UNetModel, latents: Tensor, wrap: Wrap, detail: Detail | None = None) -> Tensor:
    """The whole canvas as one tensor (1, 3, H, W) in [0, 1], tile by tile."""
    decoder = CanvasDecoder(model, latents, wrap, detail)
    rows = [torch.cat([decoder.tile(core) for core in band], 3) for band in decoder.bands]
    return torch.cat(rows, 2)
