"""Downloads of models from the Hugging Face hub, through its cache."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from huggingface_hub import HfApi, snapshot_download
from huggingface_hub.errors import GatedRepoError, HFValidationError, RepositoryNotFoundError

from texgen.diffusion.models.loading.weights import chosen
from texgen.errors import ModelError

HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
NETWORKS = ("unet", "transformer")
PARTS = (
    *NETWORKS, "vae", "text_encoder", "text_encoder_2", "text_encoder_3", "tokenizer", "tokenizer_2", "tokenizer_3", "scheduler",
)  # fmt: skip


def download(model: str, half: bool = False) -> Path:
    """Snapshot folder of a hub model, downloaded unless it is in the cache. `HF_HOME` and `HF_HUB_OFFLINE` are honoured.

    Only files that texgen reads are downloaded: safetensors, configurations and vocabularies. Without a network, the cached snapshot is
    used as it is.

    Args:
        model: Id of the model, owner/name.
        half: Whether to download the network in half precision if the repository has it.

    Raises:
        ModelError: The model is not on the hub, needs permission, or is neither in the cache nor reachable.
    """
    try:
        names = _names(model)
        if names is None:
            return Path(snapshot_download(model, local_files_only=True))
        return Path(snapshot_download(model, allow_patterns=wanted_files(names, half)))
    except GatedRepoError as error:
        raise ModelError(f"{model}: access must be granted on the hub; accept its terms and set HF_TOKEN.") from error
    except (RepositoryNotFoundError, HFValidationError) as error:
        raise ModelError(f"{model}: no such model on the hub; check the id (owner/name).") from error
    except Exception as error:  # connection, time-out, offline mode: all of them mean the same to the user
        raise ModelError(
            f"{model}: not in the local cache, and the hub cannot be reached; download it on a machine with a network "
            "and set HF_HOME to that cache, or give a folder."
        ) from error


def _names(model: str) -> list[str] | None:
    """Names of a repository's files; None if the hub cannot be reached."""
    try:
        return HfApi().list_repo_files(model)
    except (GatedRepoError, RepositoryNotFoundError, HFValidationError):
        raise
    except Exception:  # connection, time-out, offline mode
        return None


def wanted_files(names: Iterable[str], half: bool) -> list[str]:
    """The files of a repository that texgen reads, with weights of the network in half precision if wanted, of other parts in full.

    Example:
        >>> wanted_files(["model_index.json", "unet/model.fp16.safetensors", "unet/model.safetensors", "a.ckpt"], half=True)
        ['model_index.json', 'unet/model.fp16.safetensors']
    """
    names = list(names)
    if "config.json" in names and "model_index.json" not in names:  # one network, such as a ControlNet
        return chosen([name for name in names if "/" not in name], half)
    parts: dict[str, list[str]] = {part: [] for part in PARTS}
    for name in names:
        part, _, file = name.partition("/")
        if part in parts:
            parts[part].append(file)
    read = [f"{part}/{file}" for part, files in parts.items() for file in chosen(files, half and part in NETWORKS)]
    return ["model_index.json", *read]
