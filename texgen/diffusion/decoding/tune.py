"""Train a copy of the decoder on one exemplar, so that it restores the detail that the autoencoder loses on it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from texgen.diffusion.decoding.grain import differences, patch_distance
from texgen.diffusion.denoising import DenoisingModel
from texgen.diffusion.exemplar import FLAT, Exemplar, Source
from texgen.errors import TexgenError
from texgen.runs.log import tell
from tiling import Size, canvas_size, cut

VERSION = 2
"""Version of the recipe. Raise it with any change: cached decoders of another version are not used."""
WARM_UP = 10
"""Iterations over which the learning rate rises to its peak."""
MARGIN = 0.01
"""Amount by which the floor of sharpness exceeds the given decoder's sharpness."""
PROBES = 8
"""Number of draws of windows on which the given decoder is measured."""
SIDE = 24
"""Side of a window in latent pixels; an iteration costs `SIDE` x `SIDE` latents, however large the exemplar is."""
WHOLE = 64
"""Largest side in latent pixels of an exemplar taken whole, that of the published 512 px; larger ones are cropped to bound memory."""
BORDER = 2
"""Latent pixels at a window's border that are not compared, since they lack context."""
PROJECTIONS = 24
"""Random directions in which patches are compared in one iteration."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How a decoder is tuned; the defaults are texgen's recipe.

    Attributes:
        iterations: Iterations of Adam; more fit the exemplar more closely but generalise less to other parts of its material. 110 take
            less than 20 seconds on one core with the bundled model.
        lr: Peak learning rate; larger changes the decoder more in the same number of iterations.
        squares: Weight of the squared error, added to L1, which alone ignores the few large errors that PSNR counts; smaller keeps
            more grain.
        patches: Weight of patch statistics; larger is sharper but deviates more from the exemplar pixel by pixel, 0 blurs.
        sharpness: Weight of the floor of sharpness; without it, smooth swatches, which the decoder reproduces well, lose sharpness.
        whole: Whether every iteration compares a whole exemplar, including its border, at a constant learning rate; otherwise random
            windows, at a rate that rises and falls.
    """

    iterations: int = 110
    lr: float = 2e-4
    squares: float = 0.5
    patches: float = 0.35
    sharpness: float = 0.5
    whole: bool = False


PUBLISHED = Recipe(iterations=75, lr=1e-4, squares=0.0, patches=0.0, sharpness=0.0, whole=True)
"""The published recipe: L1 on the whole exemplar at a constant learning rate."""


def tuned_decoder(
    model: DenoisingModel, exemplar: Exemplar, recipe: Recipe, *, generator: torch.Generator
) -> DenoisingModel:
    """Train a copy of a model's decoder on the exemplar; the given model does not change.

    The exemplar's latents z = E(x), at all pixel phases, stay fixed; Adam trains only the decoder D, in float32,
    on random windows of them. With y = D(z), x in [-1, 1] and means over the window:

        loss = mean |y - x| + squares mean (y - x)^2 / e + patches SW(y, x) + sharpness max(0, f g(x) - g(y))

    SW is the sliced Wasserstein distance of 5x5 patches (`texgen.diffusion.decoding.grain.patch_distance`), g the mean
    absolute difference of neighbouring pixels. Two numbers are measured with the given decoder D0 on the exemplar: e, its root
    mean square error, gives the squares equal weight on rough and smooth swatches; f = min(1, g(D0(z)) / g(x) + MARGIN) puts
    the floor a little above its sharpness. The learning rate rises over `WARM_UP` iterations, then falls to 0 along a cosine.

    `PUBLISHED` is the published recipe: mean |y - x| over the whole exemplar at its first phase, at a constant learning rate. It suits
    decoders whose norms pool over the whole picture, such as Stable Diffusion's: they learn little from windows, whose moments differ.

    Args:
        model: The model to start from.
        exemplar: The exemplar to reproduce, with its latents as encoded.
        recipe: Settings of the training.
        generator: CPU generator of windows and projections.

    Returns:
        The tuned model: frozen, in evaluation mode, with the device and dtype of the given one.

    Raises:
        TexgenError: The decoder gave NaN or Inf.

    References:
        Attention Distillation: A Unified Approach to Visual Characteristics Transfer, Zhou et al., CVPR 2025,
        https://arxiv.org/abs/2502.20235, the decoder called VAE*.
    """
    tuned, parameters = model.trainable_decoder()
    optimizer, steps = torch.optim.Adam(parameters, recipe.lr), recipe.iterations
    scale, floor = (1.0, 0.0) if recipe.whole else _start(tuned, exemplar, generator)
    for step in range(steps):
        latents, pixels, border_px = (
            _whole(exemplar, step, generator) if recipe.whole else _windows(exemplar, generator)
        )
        decoded = _inside(tuned.decode_signed(latents), border_px)
        wanted = _inside(pixels, border_px).to(decoded.device) * 2 - 1
        error = decoded - wanted
        loss = error.abs().mean()
        if recipe.squares:
            loss = loss + recipe.squares / scale * error.square().mean()
        if recipe.patches:
            loss = loss + recipe.patches * patch_distance(decoded, wanted, generator, PROJECTIONS)
        if recipe.sharpness:
            loss = loss + recipe.sharpness * (floor * differences(wanted) - differences(decoded)).relu()
        _descend(optimizer, loss, recipe.lr * (1 if recipe.whole else _rate(step, steps)), step + 1)
        tell("tune", step + 1, steps, "step")
    return model.with_decoder(tuned.decoder_weights())


def _descend(optimizer: torch.optim.Optimizer, loss: Tensor, lr: float, number: int) -> None:
    """Take one step of the optimiser at a learning rate; `number` is the step's number, for the error message."""
    if not bool(torch.isfinite(loss)):
        raise TexgenError(
            f"the decoder gave NaN or Inf while it was tuned, at step {number}; use --tune-decoder 0, or another autoencoder."
        )
    optimizer.param_groups[0]["lr"] = lr
    optimizer.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step()


def _rate(iteration: int, iterations: int) -> float:
    """Learning rate relative to its peak: a cosine that falls to 0, times a linear rise over `WARM_UP` iterations."""
    return min(1.0, (iteration + 1) / WARM_UP) * 0.5 * (1 + math.cos(math.pi * iteration / iterations))


@torch.no_grad()
def _start(model: DenoisingModel, exemplar: Exemplar, generator: torch.Generator) -> tuple[float, float]:
    """Root mean square error of the untuned decoder, for values in [-1, 1], and the floor of sharpness, measured on random windows."""
    squares, sharpness = [], torch.zeros(2)
    for _ in range(PROBES):
        latents, pixels, border_px = _windows(exemplar, generator)
        decoded, wanted = (_inside(image, border_px) for image in (model.decode(latents).cpu(), pixels))
        squares.append(float((decoded - wanted).square().mean()))
        sharpness += torch.stack([differences(decoded), differences(wanted)])
    floor = float(sharpness[0] / sharpness[1].clamp_min(FLAT)) + MARGIN
    return max(2 * (sum(squares) / PROBES) ** 0.5, FLAT), min(floor, 1.0)


def _whole(exemplar: Exemplar, step: int, generator: torch.Generator) -> tuple[Tensor, Tensor, int]:
    """One exemplar per step, in turn, at its first phase, cropped to `WHOLE`; returns the same as `_windows`."""
    source = exemplar.wholes[step % len(exemplar.wholes)]
    size = canvas_size(source.latents)
    return (*_window(exemplar, source, Size(min(WHOLE, size.height), min(WHOLE, size.width)), generator), 0)


def _windows(exemplar: Exemplar, generator: torch.Generator) -> tuple[Tensor, Tensor, int]:
    """Windows of a random source, about `SIDE` x `SIDE` latents in total: one, or several if the source is smaller.

    Returns:
        Latents (N, C, h, w), the pixels in [0, 1] that they encode, and the width in pixels of the border to ignore.
    """
    source = exemplar.sources[int(torch.randint(len(exemplar.sources), (), generator=generator))]
    size = canvas_size(source.latents)
    window = Size(min(SIDE, size.height), min(SIDE, size.width))
    pairs = [_window(exemplar, source, window, generator) for _ in range(max(1, SIDE * SIDE // window.area))]
    border_px = min(BORDER, min(window) // 4) * exemplar.factor
    return torch.cat([latents for latents, _ in pairs]), torch.cat([pixels for _, pixels in pairs]), border_px


def _window(exemplar: Exemplar, source: Source, size: Size, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    tile = exemplar.window(source, size, generator)
    whole = exemplar.images[source.exemplar][..., source.top_px :, source.left_px :]
    return cut(source.latents, tile), cut(whole, tile.scaled(exemplar.factor))


def _inside(image: Tensor, border_px: int) -> Tensor:
    """The image without its border."""
    height, width = canvas_size(image)
    return image[..., border_px : height - border_px, border_px : width - border_px]
