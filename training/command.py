"""Command line of `python -m training`. torch is imported only when work starts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from texgen.errors import OptionError

if TYPE_CHECKING:
    import torch

    from texgen.diffusion.models.vae.mini_autoencoder import TextureAutoencoder
    from training.loop import Objective

FOLDER = click.Path(path_type=Path, file_okay=False)


@click.group()
def train() -> None:
    """Train your own base model: run data, then autoencoder, then unet.

    A run can be stopped at any time; --resume continues it.
    """


@train.command()
@click.argument("sources", nargs=-1, type=click.Path(path_type=Path, exists=True))
@click.option("--out", required=True, type=FOLDER, help="Folder for the crops and manifest.csv.")
@click.option(
    "--debian",
    type=FOLDER,
    help="Also use the free packages that texgen's model was trained on, downloaded to this folder.",
)
@click.option("--unseen", type=FOLDER, help="Folder of swatches that no crop may show.")
@click.option("--workers", type=click.IntRange(1, 256), default=2, show_default=True)
def data(sources: tuple[Path, ...], out: Path, debian: Path | None, unseen: Path | None, workers: int) -> None:
    """Gather training crops from SOURCES: folders of images and Debian packages."""
    from training.gather import gather, read_swatches
    from training.sources import fetch

    found = [*sources, *(fetch(debian) if debian else [])]
    if not found:
        raise OptionError("no source; give folders of images or .deb files, or --debian FOLDER.")
    rows = gather(found, out, read_swatches(unseen) if unseen else [], workers=workers, log=click.echo)
    click.echo(f"{len(rows)} crops in {out}")


def _run_options(function: Callable[..., Any]) -> Callable[..., Any]:
    for option in (
        click.option("--data", required=True, type=FOLDER, help="Folder made by `python -m training data`."),
        click.option("--out", required=True, type=FOLDER, help="Folder for state, log, contact sheet and model."),
        click.option("--resume", is_flag=True, help="Continue the training in --out."),
        click.option("--minutes", type=click.FloatRange(0), help="Stop after this time."),
        click.option("--look-every", type=click.IntRange(1), default=250, show_default=True, help="Steps between checkpoints."),
        click.option("--device", default="auto", show_default=True),
        click.option("--dtype", type=click.Choice(["auto", "float32", "bfloat16"]), default="auto", show_default=True),
        click.option("--workers", type=click.IntRange(0, 256), default=0, show_default=True, help="Processes that read crops."),
        click.option("--seed", type=click.IntRange(0), default=0, show_default=True),
    ):  # fmt: skip
        function = option(function)
    return function


@train.command()
@_run_options
@click.option("--init", help="Model whose autoencoder is trained further: mini or a folder.")
@click.option(
    "--channels", type=click.IntRange(3, 64), default=16, show_default=True, help="Latent channels, without --init."
)
@click.option(
    "--patches",
    type=click.FloatRange(0),
    default=0.0,
    show_default=True,
    help="Weight of patch statistics; above 0 only the decoder is trained.",
)
@click.option(
    "--sampler",
    help="With --patches: a model with the same latents (mini or a folder), on whose output the decoder is also trained.",
)
@click.option("--batch", type=click.IntRange(1), default=8, show_default=True)
@click.option("--side", type=click.IntRange(64), default=128, show_default=True, help="Side of a crop, in pixels.")
@click.option("--steps", type=click.IntRange(1), default=8000, show_default=True)
@click.option("--lr", type=float, default=1e-3, show_default=True)
def autoencoder(
    data: Path, out: Path, init: str | None, channels: int, patches: float, sampler: str | None, batch: int, side: int,
    **run: Any,
) -> None:  # fmt: skip
    """Train the autoencoder: first without --patches, then its grain, with --init and --patches 1."""
    from texgen.diffusion.models import UNetModel, load
    from training.autoencoder import AutoencoderObjective, AutoencoderSettings, new_autoencoder, same_latents
    from training.crops import Crops

    if side % 8:
        raise OptionError(f"side={side} must be a multiple of 8.")
    if sampler and not (patches and init):
        raise OptionError("sampler is for the second stage; give --init and --patches too.")
    crops, device = Crops(data), _device(run)
    model = _autoencoder(init) if init else new_autoencoder(crops, channels, run["seed"])
    settings = AutoencoderSettings(batch=batch, side=side, patches=patches)
    backbone = load(sampler, str(device), "float32") if sampler else None
    if backbone is not None and not (isinstance(backbone, UNetModel) and same_latents(backbone.autoencoder, model)):
        raise OptionError(
            f"sampler={sampler} has other latents than {init}; train its UNet with that autoencoder first."
        )
    _train(AutoencoderObjective(crops, model, settings, run["seed"], device, backbone), out, device, run)


@train.command()
@_run_options
@click.option("--autoencoder", required=True, help="Model whose autoencoder gives the latents: mini or a folder.")
@click.option("--init", help="Model whose UNet is trained further: mini or a folder.")
@click.option("--widths", default="64,128,256", show_default=True, help="Channels at each scale, without --init.")
@click.option("--batch", type=click.IntRange(1), default=8, show_default=True, help="Pairs per step.")
@click.option("--side", type=click.IntRange(64), default=256, show_default=True, help="Side of a tile, in pixels.")
@click.option(
    "--large-share",
    type=click.FloatRange(0, 1),
    default=0.15,
    show_default=True,
    help="Share of steps on tiles of twice the side.",
)
@click.option("--modes", default="0.15,0.3,0.55", show_default=True, help="Shares of self, replace, beside.")
@click.option(
    "--focus", type=click.IntRange(1, 1000), default=300, show_default=True, help="Timesteps below this get most pairs."
)
@click.option("--focus-share", type=click.FloatRange(0, 1), default=0.85, show_default=True)
@click.option("--steps", type=click.IntRange(1), default=20000, show_default=True)
@click.option("--lr", type=float, default=4e-4, show_default=True)
def unet(
    data: Path, out: Path, autoencoder: str, init: str | None, widths: str, batch: int, side: int, large_share: float,
    modes: str, focus: int, focus_share: float, **run: Any,
) -> None:  # fmt: skip
    """Train the UNet on pairs of crops of the same texture."""
    from diffusers import UNet2DConditionModel

    from training.crops import Crops
    from training.unet import UNetObjective, UNetSettings, new_unet

    shares = _numbers("modes", modes, 3)
    if side % 32:
        raise OptionError(f"side={side} must be a multiple of 32.")
    crops, device = Crops(data), _device(run)
    codec = _autoencoder(autoencoder)
    if init:
        network = _part(UNet2DConditionModel, init, "unet")
    else:
        network = new_unet(codec.config.latent_channels, tuple(int(w) for w in _numbers("widths", widths)), run["seed"])
    settings = UNetSettings(
        batch=batch, side=side, large_share=large_share, modes=(shares[0], shares[1], shares[2]), focus=focus,
        focus_share=focus_share,
    )  # fmt: skip
    _train(UNetObjective(crops, network, codec, settings, run["seed"], device), out, device, run)


def _train(objective: Objective, out: Path, device: torch.device, run: dict[str, Any]) -> None:
    from texgen.diffusion.models.loading.load import choose_dtype
    from training.loop import Settings
    from training.loop import train as loop

    dtype = "bfloat16" if run["dtype"] == "auto" and device.type == "cuda" else run["dtype"]
    settings = Settings(
        steps=run["steps"], minutes=run["minutes"], lr=run["lr"], look_every=run["look_every"], device=device,
        dtype=choose_dtype(dtype, device), workers=run["workers"], seed=run["seed"],
    )  # fmt: skip
    loop(objective, out, settings, resume=run["resume"], log=click.echo)


def _device(run: dict[str, Any]) -> torch.device:
    from texgen.diffusion.models.loading.load import choose_device

    return choose_device(run["device"])


def _autoencoder(model: str) -> TextureAutoencoder:
    from texgen.diffusion.models.vae.mini_autoencoder import TextureAutoencoder

    return _part(TextureAutoencoder, model, "vae")


def _part(kind: Any, model: str, name: str) -> Any:
    """A part of the bundled model or of a folder, in float32, trainable."""
    import torch

    from texgen.diffusion.bundled import BUNDLED
    from texgen.diffusion.models.loading.components import component

    return component(kind, BUNDLED.get(model, Path(model)), name, torch_dtype=torch.float32).requires_grad_(True)


def _numbers(name: str, text: str, count: int | None = None) -> list[float]:
    try:
        numbers = [float(part) for part in text.split(",")]
    except ValueError as error:
        raise OptionError(f"{name}={text!r} must be numbers separated by commas.") from error
    if count is not None and len(numbers) != count:
        raise OptionError(f"{name}={text!r} must be {count} numbers.")
    return numbers
