"""Both algorithms against their formulas, written plainly in float64 over diffusers' own UNet; nothing of the package computes the reference."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import tiny
import torch
from conftest import generator

from texgen.diffusion import models
from texgen.diffusion.guidance.distill import ad_loss
from texgen.diffusion.guidance.exemplar_keys import Exemplars, exemplar_key_values
from texgen.diffusion.guidance.prompt import Led
from texgen.diffusion.guidance.regional import Regions
from texgen.diffusion.guidance.settings import Guidance
from texgen.diffusion.sampling.loop import Loop, normal, step_generator
from texgen.diffusion.sampling.optimize import optimize
from texgen.diffusion.sampling.progress import Progress
from texgen.diffusion.sampling.sample import sample
from texgen.diffusion.sampling.tile_pass import TilePass
from tiling import Size, Tile, Wrap, make_window, plan_tiles

BETAS = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2
ABAR = torch.cumprod(1 - BETAS, 0)
LAST_SIX = [f"up_blocks.{block}.attentions.{i}.transformer_blocks.0.attn1" for block in (1, 2, 3) for i in (0, 1)]
XL_LAST_SIX = [
    *(f"up_blocks.0.attentions.{i}.transformer_blocks.{j}.attn1" for i in (0, 1) for j in (0, 1)),
    *(f"up_blocks.1.attentions.{i}.transformer_blocks.0.attn1" for i in (0, 1)),
]  # fmt: skip
WHOLE = [Tile(0, 0, 16, 16)]


@pytest.fixture(scope="module")
def sd64(sd):
    """The tiny Stable Diffusion in float64."""
    condition = {name: value.double() for name, value in sd.condition.items()}
    return replace(sd, unet=torch.nn.Module.double(copy.deepcopy(sd.unet)), condition=condition)


def attention_of(unet, condition, z, timestep, layers=LAST_SIX):
    """Queries, keys and values of the last six layers, (heads, tokens, head_dim) each, from the layers' own projections."""
    found, hooks = {name: {} for name in layers}, []
    for name in layers:
        for part in ("to_q", "to_k", "to_v"):

            def keep(_layer, _inputs, output, name=name, part=part):
                heads = unet.get_submodule(name).heads
                found[name][part] = output[0].unflatten(1, (heads, -1)).transpose(0, 1)

            hooks.append(unet.get_submodule(f"{name}.{part}").register_forward_hook(keep))
    predicted(unet, condition, z, timestep)
    for hook in hooks:
        hook.remove()
    return {name: (each["to_q"], each["to_k"], each["to_v"]) for name, each in found.items()}


def predicted(unet, condition, z, timestep):
    """Under hidden states alone, or all that a UNet is told."""
    told = condition if isinstance(condition, dict) else {"encoder_hidden_states": condition}
    return unet(z, timestep, **told).sample


def ddim(z, noise, before, after):
    clean = (z - (1 - ABAR[before]).sqrt() * noise) / ABAR[before].sqrt()
    return ABAR[after].sqrt() * clean + (1 - ABAR[after]).sqrt() * noise


def noised(clean, timestep, stream=0):
    """At a timestep; the noise itself is the package's."""
    drawn = normal(clean.shape, step_generator(7, timestep, stream))
    return (ABAR[timestep].sqrt() * clean + (1 - ABAR[timestep]).sqrt() * drawn).double()


def descended(unet, condition, z, timestep, style, iterations, lr, kept=None, weight=0.0, layers=LAST_SIX):
    """So many steps of a fresh Adam down the loss."""
    adam = Adam(lr)
    for _ in range(iterations):
        z = adam.step(z, pulled(unet, condition, z, timestep, style, kept, weight, layers=layers)[0])
    return z


def read(query, key, value, allowed=None):
    scores = query @ key.transpose(1, 2) / query.shape[-1] ** 0.5
    if allowed is not None:
        scores = scores.masked_fill(~allowed, -torch.inf)
    return torch.softmax(scores, -1) @ value


def loss_of(target, exemplar, content=None, weight=0.0, allowed=None):
    """Eq. 3 and 4; `allowed` says by number of tokens which exemplar tokens each token may read."""
    total = 0
    for name, (query, key, value) in target.items():
        with torch.no_grad():
            mask = None if allowed is None else allowed[query.shape[1]]
            ideal = read(query, *exemplar[name][1:], mask)
        total = total + (read(query, key, value) - ideal).abs().mean()
        if content is not None:
            total = total + weight * (query - content[name][0].detach()).abs().mean()
    return total


class Adam:
    """As in the paper of that name, with its own constants."""

    def __init__(self, lr):
        self.lr, self.count, self.first, self.second = lr, 0, 0.0, 0.0

    def step(self, z, gradient):
        self.count += 1
        self.first = 0.9 * self.first + 0.1 * gradient
        self.second = 0.999 * self.second + 0.001 * gradient**2
        mean, square = self.first / (1 - 0.9**self.count), self.second / (1 - 0.999**self.count)
        return (z - self.lr * mean / (square.sqrt() + 1e-8)).detach()


def pulled(unet, condition, z, timestep, exemplar, content=None, weight=0.0, allowed=None, layers=LAST_SIX):
    """The gradient of the loss by the latents."""
    z = z.clone().requires_grad_(True)
    loss = loss_of(attention_of(unet, condition, z, timestep, layers), exemplar, content, weight, allowed)
    return torch.autograd.grad(loss, z)[0], float(loss.detach())


def loop_of(backbone, guidance, steps, timesteps, crops, content=None, regions=None, tiles=WHOLE, led=None):
    return Loop(
        model=backbone, schedule=backbone.schedule(steps), timesteps=timesteps, guidance=guidance, content=content, seed=7, led=led,
        tiles=TilePass(plans=[tiles] * len(timesteps), window=make_window("ones", Size(16, 16))),
        exemplars=Exemplars(crops=crops, regions=regions),
    )  # fmt: skip


def latents(seed):
    return torch.randn(1, 4, 16, 16, generator=generator(seed))


def assert_same(found, expected, lr):
    """But for signs of gradients that are zero in float32: there Adam's first steps are whole ones."""
    off = (found.double() - expected).abs() > 0.02 * lr
    print(
        f"{float(off.double().mean()):.2%} of the latents differ by more than 2 % of the learning rate, allowed 0.5 %"
    )
    assert off.double().mean() < 0.005


@pytest.mark.parametrize("weight", [0.0, 0.25])
def test_a_step_of_algorithm_2_is_that_of_its_formulas(sd64, weight):
    condition, unet, lr, steps = sd64.condition["encoder_hidden_states"], sd64.unet, 0.05, 4
    z, exemplar, content = latents(0), latents(1) * 0.5, latents(2) * 0.7
    before, after = 751, 501
    with torch.no_grad():
        noise = predicted(unet, condition, z.double(), before)
        style = attention_of(unet, condition, noised(exemplar, after), after)
        kept = attention_of(unet, condition, noised(content, after, 1), after) if weight else None
    expected = descended(unet, condition, ddim(z, noise, before, after), after, style, 3, lr, kept, weight)
    guidance = Guidance(iterations=3, lr=lr, content_weight=weight)
    loop = loop_of(sd64, guidance, steps, (before,), [exemplar], content)
    assert loop.schedule.timesteps[0] == before
    (step,) = sample(loop, Progress(latents=z))
    assert step.timestep == after
    assert_same(step.latents, expected, lr)


def test_a_step_of_a_panorama_is_the_mean_of_its_views(sd64):
    """Each view is denoised and distilled by itself; latents that several views hold take their mean (MultiDiffusion)."""
    condition, unet, lr = sd64.condition["encoder_hidden_states"], sd64.unet, 0.05
    z, exemplar = torch.randn(1, 4, 16, 32, generator=generator(0)), latents(1) * 0.5
    before, after, lefts = 751, 501, (0, 8, 16)
    with torch.no_grad():
        style = attention_of(unet, condition, noised(exemplar, after), after)
    total, count = torch.zeros(z.shape, dtype=torch.float64), torch.zeros(32, dtype=torch.float64)
    for left in lefts:
        view = z[..., left : left + 16].double()
        with torch.no_grad():
            view = ddim(view, predicted(unet, condition, view, before), before, after)
        total[..., left : left + 16] += descended(unet, condition, view, after, style, 2, lr)
        count[left : left + 16] += 1
    views = plan_tiles(Size(16, 32), Size(16, 16), Size(8, 8), Wrap())
    assert [(tile.left, tile.right) for tile in views] == [(left, left + 16) for left in lefts]
    loop = loop_of(sd64, Guidance(iterations=2, lr=lr), 4, (before,), [exemplar], tiles=views)
    (step,) = sample(loop, Progress(latents=z))
    assert_same(step.latents, total / count, lr)


def test_a_step_of_text_on_xl_is_that_of_its_formulas(tmp_path):
    """Guidance 7 between two prompts, AdaIN, then two steps of Adam at .015 under the empty prompt."""
    xl = models.load(tiny.save_xl_folder(tmp_path / "xl"), device="cpu")
    unet, random, lr = torch.nn.Module.double(xl.unet), generator(3), 0.015

    def told():
        hidden, pooled = torch.randn(1, 77, 32, generator=random), torch.randn(1, 20, generator=random)
        added = {"text_embeds": pooled.double(), "time_ids": torch.tensor([[128, 128, 0, 0, 128, 128]]).double()}
        return {"encoder_hidden_states": hidden.double(), "added_cond_kwargs": added}

    wanted, away, empty = told(), told(), told()
    xl = replace(xl, condition=empty)
    z, exemplar, before, after = latents(0), latents(1) * 0.5, 751, 501
    with torch.no_grad():
        towards, back = (predicted(unet, each, z.double(), before) for each in (wanted, away))
        moved = ddim(z, back + 7 * (towards - back), before, after)
        shown = noised(exemplar, after)
        style = attention_of(unet, empty, shown, after, XL_LAST_SIX)
        for channel in range(4):  # AdaIN
            own, theirs = moved[0, channel], shown[0, channel]
            moved[0, channel] = (own - own.mean()) / own.std() * theirs.std() + theirs.mean()
    expected = descended(unet, empty, moved, after, style, 2, lr, layers=XL_LAST_SIX)
    guidance = Guidance(iterations=2, lr=lr, adain=True)
    (step,) = sample(loop_of(xl, guidance, 4, (before,), [exemplar], led=Led(wanted, away, 7.0)), Progress(latents=z))
    assert xl.attention_layers[-6:] == XL_LAST_SIX
    assert_same(step.latents, expected, lr)


@pytest.mark.parametrize("weight", [0.0, 0.25])
def test_steps_of_algorithm_1_are_those_of_its_formulas(sd64, weight):
    condition, unet, lr = sd64.condition["encoder_hidden_states"], sd64.unet, 0.05
    z, exemplar, content = latents(0), latents(1) * 0.5, latents(2) * 0.7
    timesteps, expected, adam, losses = (801, 601, 401, 201, 1), z.double(), Adam(lr), []
    for timestep in timesteps:
        with torch.no_grad():
            style = attention_of(unet, condition, exemplar.double(), timestep)
            kept = attention_of(unet, condition, content.double(), timestep) if weight else None
        gradient, loss = pulled(unet, condition, expected, timestep, style, kept, weight)
        losses.append(loss)
        expected = adam.step(expected, gradient)
    loop = loop_of(sd64, Guidance(lr=lr, content_weight=weight), 5, timesteps, [exemplar], content)
    assert loop.schedule.timesteps == timesteps
    seen = list(optimize(loop, Progress(latents=z)))
    assert [step.losses[0] for step in seen] == pytest.approx(losses, rel=1e-3)
    assert_same(seen[-1].latents, expected, lr)


def halves(size, first, second, across):
    """Two labels, side by side or one above the other."""
    labels = torch.full((size, size), first, dtype=torch.uint8)
    labels[(slice(None), slice(size // 2, None)) if across else (slice(size // 2, None),)] = second
    return labels


def test_masked_ad_is_its_formula_with_a_mask_over_all_pairs_of_tokens(sd64):
    condition, unet = sd64.condition["encoder_hidden_states"], sd64.unet
    z, exemplar = latents(0), latents(1) * 0.5
    target, source = halves(16, 0, 1, across=True), halves(16, 1, 0, across=False)
    allowed = {}
    for side in (16, 8, 4, 2):  # nearest neighbour: both maps are of whole tokens at each of these grids
        grids = [each[:: 16 // side, :: 16 // side].flatten() for each in (target, source)]
        allowed[side * side] = grids[0][:, None] == grids[1]
    with torch.no_grad():
        style = attention_of(unet, condition, exemplar.double(), 300)
    expected, loss = pulled(unet, condition, z.double(), 300, style, allowed=allowed)
    plain, _ = pulled(unet, condition, z.double(), 300, style)
    ours = z.clone().requires_grad_(True)
    with sd64.denoiser() as tap:
        ideal = exemplar_key_values(tap, [exemplar], 300, LAST_SIX, regions=Regions(target[None, None], [source]))
        found = ad_loss(tap.features(ours, 300, LAST_SIX), ideal, labels=target[None, None])
        (gradient,) = torch.autograd.grad(found, ours)
    assert float(found.detach()) == pytest.approx(loss, rel=1e-5)
    error = float((gradient.double() - expected).norm() / expected.norm())
    assert error < 1e-4, f"gradient off by {error:.1e}, allowed 1e-4"
    assert float((plain - expected).norm() / expected.norm()) > 0.1, "the mask matters"
