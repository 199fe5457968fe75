"""Checks that a loaded model is one that texgen supports."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from texgen.errors import ModelError, TexgenError

PREDICTIONS = {"epsilon": "epsilon", "v": "v_prediction"}
"""diffusers' names of prediction types, by the user's names."""


def bfloat16_works() -> bool:
    """Whether the CPU can compute in bfloat16. It is tried in a subprocess, since unsupported instructions kill the process."""
    probe = "import torch; torch.nn.Linear(64, 64, dtype=torch.bfloat16)(torch.ones(64, 64, dtype=torch.bfloat16))"
    return subprocess.run([sys.executable, "-c", probe], capture_output=True, check=False).returncode == 0


@contextmanager
def told_as(what: str, remedy: str = "") -> Iterator[None]:
    """Context that turns any exception of a library into a `ModelError` of one line, since all of them mean that a file cannot be used.

    Args:
        what: Start of the message; the first line of the library's message follows.
        remedy: End of the message.

    Raises:
        ModelError: A library raised an exception.
    """
    try:
        yield
    except TexgenError:
        raise
    except Exception as error:
        said = (str(error).strip() or type(error).__name__).splitlines()[0][:160]
        raise ModelError(f"{what} ({said}){remedy and '; ' + remedy}.") from error


def check_channels(name: str, unet: Any, autoencoder: Any) -> None:
    """Refuse UNets with other inputs or outputs than latents.

    Raises:
        ModelError: The model is for inpainting, depth or editing.
    """
    taken, given, ours = unet.config.in_channels, unet.config.out_channels, autoencoder.config.latent_channels
    if (taken, given) != (ours, ours):
        raise ModelError(
            f"{name}: the UNet takes {taken} channels and gives {given}, the autoencoder's latents have {ours}; inpainting, "
            "depth and editing models cannot synthesise textures: use the base model."
        )


def check_condition(name: str, unet: Any, condition: Mapping[str, Any]) -> None:
    """Refuse UNets that need other inputs than a prompt and the picture's size.

    Raises:
        ModelError: The model is a refiner or an upscaler, or its text encoders belong to another model.
    """
    config, width = unet.config, condition["encoder_hidden_states"].shape[-1]
    if width != config.cross_attention_dim:
        raise ModelError(
            f"{name}: the UNet reads text of width {config.cross_attention_dim}, the text encoders give {width}; their folders are of "
            "another model, or one is missing: download the model again."
        )
    if config.addition_embed_type not in (None, "text_time") or config.class_embed_type or config.num_class_embeds:
        kind = config.addition_embed_type or config.class_embed_type or "classes"
        raise ModelError(
            f"{name}: the UNet wants {kind!r} beside the prompt; use a Stable Diffusion 1.x, 2.x or XL base."
        )
    if config.addition_embed_type is None:
        return
    added = condition.get("added_cond_kwargs")
    told = 0
    if added is not None:
        told = added["text_embeds"].shape[1] + added["time_ids"].shape[1] * config.addition_time_embed_dim
    if told != config.projection_class_embeddings_input_dim:
        raise ModelError(
            f"{name}: the UNet is told {config.projection_class_embeddings_input_dim} numbers about the picture, a base model "
            f"{told}; refiners cannot synthesise textures: use the base model."
        )


def check_schedule(name: str, config: Mapping[str, Any]) -> None:
    """Refuse noise schedules other than those of DDPM.

    Raises:
        ModelError: The schedule is EDM or flow matching, or the network predicts neither noise nor v.
    """
    kind, predicted = str(config.get("_class_name")), config.get("prediction_type", "epsilon")
    if kind.startswith("EDM") or "Flow" in kind or config.get("use_flow_sigmas"):
        raise ModelError(f"{name}: {kind} is an EDM or flow schedule; use a model that predicts noise or v.")
    if predicted not in PREDICTIONS.values():
        raise ModelError(f"{name}: the network predicts {predicted!r}; epsilon and v_prediction are known.")


def check_flow(name: str, config: Mapping[str, Any]) -> None:
    """Refuse a transformer's scheduler unless it takes Euler steps along a flow.

    Raises:
        ModelError: It is another scheduler.
    """
    kind = config.get("_class_name")
    if kind != "FlowMatchEulerDiscreteScheduler":
        raise ModelError(f"{name}: {kind} is no schedule of this model; FlowMatchEulerDiscreteScheduler is known.")


def check_latents(name: str, taken: int, autoencoder: Any) -> None:
    """Refuse transformers with other inputs than latents.

    Raises:
        ModelError: The model is for inpainting, depth or editing.
    """
    ours = autoencoder.config.latent_channels
    if taken != ours:
        raise ModelError(
            f"{name}: the transformer takes {taken} channels, the autoencoder's latents have {ours}; inpainting, depth and editing "
            "models cannot synthesise textures: use the base model."
        )
