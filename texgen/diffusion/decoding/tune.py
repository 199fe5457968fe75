"""Tune a copy of the decoder to one exemplar, so that it gives back the detail that it loses on it."""

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
"""To be raised with any change of a recipe: tuned decoders of another are not used."""
WARM_UP = 10
"""Iterations in which the learning rate rises to its peak."""
MARGIN = 0.01
"""By how much the floor lies above what the given decoder has."""
PROBES = 8
"""Draws of windows that the given decoder is measured on."""
SIDE = 24
"""Latent pixels of a window's side; an iteration costs `SIDE` x `SIDE` latents, however large the exemplar is."""
WHOLE = 64
"""Latent pixels of a side up to which an exemplar is taken whole: those of the published 512 px; else memory would grow with it."""
BORDER = 2
"""Latent pixels at a window's border that are not compared: they lack context."""
PROJECTIONS = 24
"""Directions in which patches are compared in one iteration."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How a decoder is tuned; the values left out are those of texgen.

    Attributes:
        iterations: Of Adam; more follow the exemplar closer, at the cost of what it does not show of its material. 110 take less
            than 20 seconds of one core with the bundled model.
        lr: Peak learning rate; larger goes further in as many iterations.
        squares: Weight of the squared error next to L1, which alone forgets the few large errors that PSNR counts; smaller keeps more grain.
        patches: Weight of patch statistics; larger is sharper and further from the exemplar pixel by pixel, 0 blurs.
        sharpness: Weight of the floor under sharpness; 0 lets smooth swatches, which the decoder knows well, lose what they had.
        whole: Whether every iteration compares a whole exemplar, up to its border, at a constant rate; else random windows, at a rate
            that rises and falls.
    """

    iterations: int = 110
    lr: float = 2e-4
    squares: float = 0.5
    patches: float = 0.35
    sharpness: float = 0.5
    whole: bool = False


PUBLISHED = Recipe(iterations=75, lr=1e-4, squares=0.0, patches=0.0, sharpness=0.0, whole=True)
"""L1 to the whole exemplar at a constant rate."""


def tuned_decoder(
    model: DenoisingModel, exemplar: Exemplar, recipe: Recipe, *, generator: torch.Generator
) -> DenoisingModel:
    """A model with a copy of the autoencoder whose decoder is trained on the exemplar; the given one stays as it is.

    The exemplar's latents z = E(x) stay fixed at all their pixel phases; Adam moves the decoder D alone, in float32,
    on random windows of them. With y = D(z), x in [-1, 1] and means over the window:

        loss = mean |y - x| + squares mean (y - x)^2 / e + patches SW(y, x) + sharpness max(0, f g(x) - g(y))

    SW is the sliced Wasserstein distance of 5x5 patches (`texgen.diffusion.decoding.grain.patch_distance`), g the mean
    absolute difference of neighbouring pixels. Two numbers come from the given decoder D0 on the exemplar: e, its root
    mean square error, weighs the squares alike on rough and smooth swatches; f = min(1, g(D0(z)) / g(x) + MARGIN) is
    a floor a little above its sharpness. The rate rises over `WARM_UP` iterations, then falls to 0 along a cosine.

    `PUBLISHED` is the published recipe: mean |y - x| over the whole exemplar at its first phase, at a constant rate. A decoder
    whose norms look at the whole picture, as Stable Diffusion's, learns little from windows, which have other moments.

    Args:
        model: Where to start.
        exemplar: What to give back; its latents as encoded, at their own contrast.
        recipe: How.
        generator: CPU generator of windows and projections.

    Returns:
        The tuned model: frozen, in evaluation mode, on the device of the given one, in its dtype.

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
    """The step of a number, at a learning rate."""
    if not bool(torch.isfinite(loss)):
        raise TexgenError(
            f"the decoder gave NaN or Inf while it was tuned, at step {number}; use --tune-decoder 0, or another autoencoder."
        )
    optimizer.param_groups[0]["lr"] = lr
    optimizer.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step()


def _rate(iteration: int, iterations: int) -> float:
    """Linear over the first iterations, then a cosine to 0."""
    return min(1.0, (iteration + 1) / WARM_UP) * 0.5 * (1 + math.cos(math.pi * iteration / iterations))


@torch.no_grad()
def _start(model: DenoisingModel, exemplar: Exemplar, generator: torch.Generator) -> tuple[float, float]:
    """The untuned decoder's root mean square error in [-1, 1], and the floor of sharpness, from random windows."""
    squares, sharpness = [], torch.zeros(2)
    for _ in range(PROBES):
        latents, pixels, border_px = _windows(exemplar, generator)
        decoded, wanted = (_inside(image, border_px) for image in (model.decode(latents).cpu(), pixels))
        squares.append(float((decoded - wanted).square().mean()))
        sharpness += torch.stack([differences(decoded), differences(wanted)])
    floor = float(sharpness[0] / sharpness[1].clamp_min(FLAT)) + MARGIN
    return max(2 * (sum(squares) / PROBES) ** 0.5, FLAT), min(floor, 1.0)


def _whole(exemplar: Exemplar, step: int, generator: torch.Generator) -> tuple[Tensor, Tensor, int]:
    """The whole of an exemplar, one after the other, at its first phase, or as much of it as is taken; as `_windows`."""
    source = exemplar.wholes[step % len(exemplar.wholes)]
    size = canvas_size(source.latents)
    return (*_window(exemplar, source, Size(min(WHOLE, size.height), min(WHOLE, size.width)), generator), 0)


def _windows(exemplar: Exemplar, generator: torch.Generator) -> tuple[Tensor, Tensor, int]:
    """Windows of one source, about `SIDE` x `SIDE` latents in all: one, or several where the source is smaller.

    Returns:
        Latents (N, C, h, w), the pixels in [0, 1] that they stand for, and how many of these to leave out at each side.
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
    """Without the border; all of it where that is 0."""
    height, width = canvas_size(image)
    return image[..., border_px : height - border_px, border_px : width - border_px]
