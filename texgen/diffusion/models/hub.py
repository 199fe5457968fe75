"""Models from the Hugging Face hub, through its cache."""

from __future__ import annotations

from pathlib import Path

from huggingface_hub import snapshot_download
from huggingface_hub.errors import GatedRepoError, HFValidationError, RepositoryNotFoundError

from texgen.errors import ModelError

PARTS = ("unet", "vae", "text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2", "scheduler")
WANTED = ["model_index.json", *(f"{part}/*{suffix}" for part in PARTS for suffix in (".json", ".txt", ".safetensors"))]
UNWANTED = ["*.fp16.*", "*non_ema*", "*openvino*"]


def download(model: str) -> Path:
    """Snapshot folder of a hub model, from the cache where it is there. `HF_HOME` and `HF_HUB_OFFLINE` are honoured.

    Only what texgen reads is fetched: safetensors, configurations and vocabularies.

    Raises:
        ModelError: Not on the hub, not allowed, or neither in the cache nor reachable.
    """
    try:
        return Path(snapshot_download(model, allow_patterns=WANTED, ignore_patterns=UNWANTED))
    except GatedRepoError as error:
        raise ModelError(f"{model}: access must be granted on the hub; accept its terms and set HF_TOKEN.") from error
    except (RepositoryNotFoundError, HFValidationError) as error:
        raise ModelError(f"{model}: no such model on the hub; check the id (owner/name).") from error
    except Exception as error:  # connection, time-out, offline mode: all of them mean the same to the user
        raise ModelError(
            f"{model}: not in the local cache, and the hub cannot be reached; download it on a machine with a network "
            "and set HF_HOME to that cache, or give a folder."
        ) from error
