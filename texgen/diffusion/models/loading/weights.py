"""Files of a model's weights: choice of precision, refusal of pickles, fingerprint."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

from texgen.errors import ModelError

PICKLE_SUFFIXES = (".bin", ".ckpt", ".pt", ".pth", ".pkl")
WEIGHTS = re.compile(r"(?:diffusion_pytorch_model|model)(\.fp16)?(?:-\d+-of-\d+)?\.safetensors")
HASHED_WHOLE = 256 * 2**20
PROBES, PROBED = 64, 2**16
"""Number and size in bytes of the samples that are hashed of each file, if the weights exceed `HASHED_WHOLE` in total."""


def variant(names: Iterable[str], half: bool) -> Literal["fp16"] | None:
    """The variant of a part's weights to read: `fp16` if it is preferred and exists, or if it is the only one; else None, full precision.

    Example:
        >>> variant(["model.safetensors", "model.fp16.safetensors"], half=True)
        'fp16'
    """
    found = {match[1] is not None for name in names if (match := WEIGHTS.fullmatch(name))}
    return "fp16" if found == {True} or (half and True in found) else None


def chosen(names: Iterable[str], half: bool) -> list[str]:
    """The files of a part that are read: weights of one precision, configurations and vocabularies."""
    names = list(names)
    wanted = variant(names, half) is not None
    return [
        name for name in names
        if name.endswith((".json", ".txt")) or ((match := WEIGHTS.fullmatch(name)) and (match[1] is not None) == wanted)
    ]  # fmt: skip


def check_part(folder: Path) -> None:
    """Refuse a part without safetensors, or with an index that names other files, which would be unpickled.

    Raises:
        ModelError: The part is refused; the message names the file.
    """
    if not any(folder.glob("*.safetensors")):
        pickles = [p.name for p in folder.glob("*") if p.suffix in PICKLE_SUFFIXES] if folder.is_dir() else []
        if pickles:
            raise ModelError(f"{folder}: only pickled weights ({pickles[0]}), which can run code; use safetensors.")
        raise ModelError(f"{folder}: no .safetensors weights; the folder is incomplete, download the model again.")
    for index in folder.glob("*.index*.json"):
        if ".bin." in index.name:
            continue
        try:
            shards = set(json.loads(index.read_text())["weight_map"].values())
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise ModelError(f"{index}: not readable as an index of weights; download the model again.") from error
        for shard in shards:
            if not isinstance(shard, str) or not WEIGHTS.fullmatch(shard):
                raise ModelError(
                    f"{index}: names {shard!r}; only .safetensors shards beside it are read: download again."
                )


def fingerprint(path: Path) -> str:
    """Hash of all weights of a folder or file; only of samples if they exceed 256 MiB in total."""
    weights = sorted(path.rglob("*.safetensors")) if path.is_dir() else [path]
    digest = hashlib.sha256()
    whole = sum(p.stat().st_size for p in weights) <= HASHED_WHOLE
    for p in weights:
        size = p.stat().st_size
        digest.update(f"{p.name}:{size}".encode())
        if whole or size <= PROBES * PROBED:
            digest.update(p.read_bytes())
            continue
        with p.open("rb") as file:
            for probe in range(PROBES):
                file.seek(probe * (size - PROBED) // (PROBES - 1))
                digest.update(file.read(PROBED))
    return digest.hexdigest()[:16]
