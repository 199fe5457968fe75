"""Loading of ControlNets, from diffusers folders or the hub."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from diffusers import ControlNetModel, MultiControlNetModel, UNet2DConditionModel

from texgen.diffusion.models.loading.components import component
from texgen.diffusion.models.loading.hub import HUB_ID, download
from texgen.errors import ModelError

ALIKE = ("cross_attention_dim", "block_out_channels", "layers_per_block", "addition_embed_type", "in_channels")
"""Entries of the configuration that must be the same for a UNet and its ControlNet."""


def load_controlnets(
    names: Sequence[str | Path], unet: UNet2DConditionModel, device: torch.device
) -> tuple[MultiControlNetModel | None, list[Path]]:
    """ControlNets in the UNet's dtype (None without names), and their folders.

    Raises:
        ModelError: A ControlNet is missing, broken, a pickle, or for another model.
    """
    folders = [_located(str(name), unet.dtype != torch.float32) for name in names]
    nets = [_loaded(folder, unet) for folder in folders]
    return MultiControlNetModel(nets).to(device) if nets else None, folders


def _located(name: str, half: bool) -> Path:
    folder = Path(name)
    if folder.is_dir():
        return folder
    if folder.exists() or folder.suffix or not HUB_ID.fullmatch(name):
        raise ModelError(f"{name}: no such ControlNet; give a diffusers folder or a hub id.")
    return download(name, half)


def _loaded(folder: Path, unet: UNet2DConditionModel) -> ControlNetModel:
    net = component(ControlNetModel, folder.parent, folder.name, unet.dtype != torch.float32, torch_dtype=unet.dtype)
    for name in ALIKE:
        ours, theirs = (_plain(each.config[name]) for each in (unet, net))
        if ours != theirs:
            raise ModelError(
                f"{folder.name}: is a ControlNet for another model ({name} {theirs}, the model has {ours})."
            )
    if net.config.conditioning_channels != 3:
        raise ModelError(f"{folder.name}: takes {net.config.conditioning_channels} channels, pictures have 3.")
    return net


def _plain(value: object) -> object:
    return list(value) if isinstance(value, list | tuple) else value
