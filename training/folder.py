"""Saving of a trained base model as a folder in diffusers' layout."""

from __future__ import annotations

import copy
import json
from pathlib import Path

from diffusers import DDIMScheduler, UNet2DConditionModel
from diffusers.models.modeling_utils import ModelMixin

from texgen.diffusion.models.vae.mini_autoencoder import TextureAutoencoder
from texgen.files.publish import publish


def save_model(
    folder: Path, unet: UNet2DConditionModel, autoencoder: TextureAutoencoder, scheduler: DDIMScheduler
) -> None:
    """Write a whole model, with weights in float16, as a folder for `--model`."""
    folder.mkdir(parents=True, exist_ok=True)
    save_half(unet, folder / "unet")
    save_half(autoencoder, folder / "vae")
    scheduler.save_pretrained(folder / "scheduler")
    index = {
        "_class_name": "TexgenPipeline",
        "unet": ["diffusers", "UNet2DConditionModel"],
        "vae": ["texgen", "TextureAutoencoder"],
        "scheduler": ["diffusers", "DDIMScheduler"],
    }
    publish(folder / "model_index.json", json.dumps(index, indent=2).encode())


def save_half(module: ModelMixin, folder: Path) -> None:
    """Write a part of a model in float16, without the path that it was loaded from."""
    copy.deepcopy(module).half().save_pretrained(folder)
    config = json.loads((folder / "config.json").read_text())
    config.pop("_name_or_path", None)
    publish(folder / "config.json", (json.dumps(config, indent=2) + "\n").encode())
