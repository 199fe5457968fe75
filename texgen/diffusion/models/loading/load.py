"""`load`: a `UNetModel` or `TransformerModel` from the name or path that a user gives."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import torch
from safetensors import safe_open

from texgen.diffusion.bundled import BUNDLED
from texgen.diffusion.model_lock import undisturbed
from texgen.diffusion.models import prompts
from texgen.diffusion.models.loading import checks, folder, lora, sd3_file, single_file
from texgen.diffusion.models.loading.hub import HUB_ID, download
from texgen.diffusion.models.loading.weights import PICKLE_SUFFIXES, fingerprint
from texgen.diffusion.models.networks.compiled import compile_parts
from texgen.diffusion.models.networks.controlnets import load_controlnets
from texgen.diffusion.models.transformer_model import TransformerModel
from texgen.diffusion.models.unet_model import UNetModel
from texgen.errors import ModelError, OptionError
from tiling import Size

if TYPE_CHECKING:
    from texgen.diffusion.knobs import LoraLike

DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


@undisturbed()
def load(
    model: str | Path = "mini",
    device: str = "auto",
    dtype: str = "auto",
    prediction_type: str | None = None,
    native_size: int | None = None,
    loras: Sequence[LoraLike] = (),
    controlnets: Sequence[str | Path] = (),
    compile: bool = False,
) -> UNetModel | TransformerModel:
    """Load a model for synthesis.

    Args:
        model: `mini` (bundled), a diffusers folder, a single `.safetensors` file, or a hub id such as
            `stable-diffusion-v1-5/stable-diffusion-v1-5`.
        device: `auto` (a GPU if there is one), `cpu`, `cuda`, `cuda:1`, `mps`.
        dtype: Dtype of the network: `auto` (on CUDA bfloat16 if the GPU supports it, else float16; elsewhere float32), `float32`,
            `float16`, `bfloat16`.
        prediction_type: What the UNet predicts: `epsilon` (noise) or `v`; by default as the model says, or as its weights show.
        native_size: Side of a tile in px; by default the size that the model was trained at.
        loras: LoRAs: `.safetensors` files, or pairs of a file and a scale; needs peft.
        controlnets: Diffusers folders or hub ids; each reads one picture of `controls`.
        compile: Compile the repeated parts of the network with torch, when they first run.

    Raises:
        ModelError: The model is missing, broken, of an unsupported kind, or a pickle.
        OptionError: Device, dtype or prediction type is unknown, or the network does not support the native size.
    """
    if prediction_type is not None and prediction_type not in checks.PREDICTIONS:
        raise OptionError(f"prediction_type={prediction_type!r} is not known; use {' or '.join(checks.PREDICTIONS)}.")
    added = [(each, 1.0) if isinstance(each, str | Path) else each for each in loras]
    for file, scale in added:
        lora.check(file, scale)
    target = choose_device(device)
    precision = choose_dtype(dtype, target)
    path = _locate(str(model), precision != torch.float32)
    loader = folder if path.is_dir() else _file_loader(path)
    predicts = None if prediction_type is None else checks.PREDICTIONS[prediction_type]
    components = loader.load_components(path, precision, predicts)
    folders = _extended(path.name, components, added, controlnets, target)
    components["condition"] = prompts.moved(components["condition"], target)
    by_name = str(model) in BUNDLED or (HUB_ID.fullmatch(str(model)) and not Path(model).exists())
    hashes = [fingerprint(each) for each in (path, *folders)]
    hashes += [f"{fingerprint(Path(file))}:{scale:g}" for file, scale in added]
    kind: type[UNetModel | TransformerModel] = UNetModel if "unet" in components else TransformerModel
    loaded = kind(name=str(model) if by_name else path.name, fingerprint="+".join(hashes), **components)
    loaded.network.to(target, memory_format=torch.channels_last)
    loaded.autoencoder.to(target)
    if native_size is not None:
        loaded.resize(native_size)
    if compile:
        _ = loaded.attention_layers  # may run the network on small latents, for which nothing should be compiled
        compile_parts(loaded.network)
        loaded.compiled = True
    return loaded


def _extended(
    name: str,
    components: dict[str, Any],
    loras: Sequence[tuple[str | Path, float]],
    controlnets: Sequence[str | Path],
    device: torch.device,
) -> Sequence[Path]:
    """Add LoRAs and ControlNets to a model's components; returns the folders of the ControlNets."""
    if "unet" not in components:
        if controlnets:
            raise OptionError(f"controlnets are for models with a UNet; leave them out for {name}.")
        lora.fused_transformer(components["transformer"], components["family"].lora_mixin, loras)
        return ()
    checks.check_condition(name, components["unet"], components["condition"])
    if loras:
        components |= _with_loras(components, loras)
    components["controlnet"], folders = load_controlnets(controlnets, components["unet"], device)
    return folders


def choose_device(device: str) -> torch.device:
    """The device of a name, checked to be available.

    Raises:
        OptionError: The device is unknown or not available.
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        chosen = torch.device(device)
        torch.zeros(1, device=chosen).item()  # fails on devices without data, such as meta
    except (RuntimeError, AssertionError, NotImplementedError, TypeError) as error:
        raise OptionError(f"device={device!r} is not available here; use auto, cpu, cuda or mps.") from error
    return chosen


def choose_dtype(dtype: str, device: torch.device) -> torch.dtype:
    """The network's dtype of a name; `auto` is bfloat16 on CUDA if the GPU supports it, else float16, and float32 elsewhere.

    Raises:
        OptionError: The dtype is unknown, or not usable on this device.
    """
    if dtype == "auto":
        if device.type != "cuda":
            return torch.float32
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
    if dtype not in DTYPES:
        raise OptionError(f"dtype={dtype!r} is not known; use auto, {', '.join(DTYPES)}.")
    if dtype == "float16" and device.type == "cpu":
        raise OptionError("dtype='float16' is not for a CPU; use float32 or bfloat16.")
    if dtype == "bfloat16" and device.type == "cpu" and not checks.bfloat16_works():
        raise OptionError(
            "dtype='bfloat16' crashes on this CPU, which announces AMX units that cannot be used; set "
            "ONEDNN_MAX_CPU_ISA=AVX512_CORE_BF16, or use float32."
        )
    return DTYPES[dtype]


def _file_loader(path: Path) -> ModuleType:
    """The module that loads a file, chosen by its tensors' names before the weights are read.

    Raises:
        ModelError: The file is a Flux transformer, which comes without autoencoder and text encoders.
    """
    try:
        with safe_open(path, "pt") as file:
            names = " ".join(file.keys())
    except Exception:  # the loader will report it
        return single_file
    if "double_blocks.0." in names:
        raise ModelError(
            f"{path}: a Flux transformer in one file lacks text encoders; give the folder of the whole model, or its hub id."
        )
    return sd3_file if "joint_blocks.0." in names else single_file


def _locate(model: str, half: bool) -> Path:
    if model in BUNDLED:
        return BUNDLED[model]
    path = Path(model)
    if path.suffix.lower() in PICKLE_SUFFIXES:
        raise ModelError(f"{model}: pickled checkpoints can run code and are refused; use a .safetensors file.")
    if path.is_dir():
        return path
    if path.is_file():
        if path.suffix.lower() != ".safetensors":
            raise ModelError(
                f"{model}: not a .safetensors file; give a bundled name, a folder, a .safetensors file or a hub id."
            )
        return path
    if path.suffix == ".safetensors" or not HUB_ID.fullmatch(model):
        raise ModelError(
            f"{model}: no such model; give {', '.join(BUNDLED)}, a diffusers folder, a .safetensors file or a hub id."
        )
    return download(model, half)


def _with_loras(components: dict[str, Any], loras: Sequence[tuple[str | Path, float]]) -> dict[str, Any]:
    """Add LoRAs to the UNet; returns the text encoders and the condition, which change with them."""
    prompts = lora.fused(components["unet"], components["prompts"], loras)
    if prompts is None:
        return {}
    added = components["condition"].get("added_cond_kwargs")
    size = Size(0, 0) if added is None else Size(*(int(side) for side in added["time_ids"][0, :2]))
    return {"prompts": prompts, "condition": prompts.condition("", size)}
