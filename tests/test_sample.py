"""The two loops: against diffusers' own DDIM, over tile batches, and down the loss."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import tiny
import torch
from conftest import generator

from texgen.diffusion.guidance.distill import distill, gradient, guidance_loss
from texgen.diffusion.guidance.exemplar_keys import Exemplars, choose_layers, exemplar_key_values
from texgen.diffusion.guidance.settings import Guidance
from texgen.diffusion.models.networks.unet import self_attention_layers
from texgen.diffusion.sampling.loop import Loop
from texgen.diffusion.sampling.optimize import optimize
from texgen.diffusion.sampling.progress import Progress
from texgen.diffusion.sampling.sample import adain, sample
from texgen.diffusion.sampling.tile_pass import TilePass
from texgen.errors import TexgenError
from tiling import Size, Tile, Wrap, fixed_schedule, make_window, rolled_schedule

NONE = Guidance(iterations=0)
WHOLE = [Tile(0, 0, 16, 16)]


def canvas(backbone, height=16, width=16, seed=0):
    return torch.randn(1, backbone.latent_channels, height, width, generator=generator(seed))


def loop_of(
    backbone,
    latents,
    *,
    guidance,
    steps=4,
    strength=1.0,
    tile_batch=1,
    plans=None,
    window="hann",
    exemplars=None,
    **options,
):
    schedule, tile = backbone.schedule(steps), backbone.native_tile
    timesteps = schedule.last(strength)
    size = Size(*latents.shape[-2:])
    plans = plans or list(fixed_schedule(size, tile, Size(12, 12), Wrap(True, True), len(timesteps)))
    crops = [canvas(backbone, 16, 16, seed=42) * 0.5] if exemplars is None else exemplars
    tiles = TilePass(plans=plans, window=make_window(window, tile), tile_batch=tile_batch)
    return Loop(
        model=backbone, schedule=schedule, timesteps=timesteps, tiles=tiles, exemplars=Exemplars(crops=crops),
        guidance=guidance, **{"seed": 1, **options},
    )  # fmt: skip


def states(backbone, latents, **options):
    return sample(loop_of(backbone, latents, **options), Progress(latents=latents))


def run(backbone, latents, **options):
    return list(states(backbone, latents, **options))


@pytest.mark.parametrize("steps", [3, 10])
def test_without_iterations_one_tile_equals_diffusers_ddim(sd, steps):
    z = canvas(sd)
    ours = run(sd, z, guidance=NONE, steps=steps, plans=[WHOLE] * steps, window="ones")[-1].latents
    sd.scheduler.set_timesteps(steps)
    theirs = z
    for t in sd.scheduler.timesteps:
        with torch.no_grad():
            prediction = sd.unet(theirs.contiguous(memory_format=torch.channels_last), t, **sd.condition).sample
        theirs = sd.scheduler.step(prediction, t, theirs).prev_sample
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("inject", [None, "beside"])
def test_another_tile_batch_gives_the_same_latents_after_a_step(sd, inject):
    z = canvas(sd, 24, 40)
    guidance = Guidance(iterations=1, inject=inject)
    results = [next(states(sd, z, guidance=guidance, tile_batch=b)).latents for b in (1, 3)]
    for other in results[1:]:
        difference = (results[0] - other).abs()
        # Adam's first update is lr * sign(gradient): where a gradient is zero but for rounding, its sign is chance.
        assert (difference > 1e-4).float().mean() < 1e-3, f"{(difference > 1e-4).float().mean()=}, allowed 1e-3"
        assert difference.max() < 0.01


def test_the_same_seed_gives_the_same_latents_and_another_seed_others(sd):
    z, plans = canvas(sd, 16, 32), [[*WHOLE, Tile(0, 16, 16, 32)]] * 2
    one = Guidance(iterations=1)
    first, second, other = (run(sd, z, guidance=one, steps=2, plans=plans, seed=s)[-1].latents for s in (1, 1, 2))
    assert torch.equal(first, second)
    assert not torch.equal(first, other)


def test_the_global_random_state_is_left_alone(sd):
    torch.manual_seed(5)
    before = torch.get_rng_state()
    run(sd, canvas(sd), guidance=Guidance(iterations=1), steps=2)
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("name", ["sd", "mini"])
def test_the_loss_falls_over_inner_steps(name, request):
    backbone = request.getfixturevalue(name)
    layers = choose_layers(backbone.attention_layers)
    with backbone.denoiser() as tap:
        ideal = exemplar_key_values(tap, [canvas(backbone, 16, 16, seed=2) * 0.7], 60, layers)
        settings = Guidance(iterations=8, lr=0.02)
        moved, (first, last) = distill(tap, canvas(backbone, 16, 16), 60, ideal, settings)
    assert last < 0.97 * first
    assert moved.dtype == torch.float32 and not moved.requires_grad


def test_one_iteration_moves_no_latent_further_than_the_learning_rate(sd):
    layers = choose_layers(sd.attention_layers)
    z = canvas(sd)
    with sd.denoiser() as tap:
        ideal = exemplar_key_values(tap, [canvas(sd, seed=2)], 60, layers)
        moved, _ = distill(tap, z, 60, ideal, Guidance(iterations=1, lr=0.05))
    assert 0.03 < (moved - z).abs().median() <= (moved - z).abs().max() <= 0.0501


def test_start_time_limits_ad_to_steps_from_small_timesteps(sd):
    """As published: compared is the timestep that a step begins at, not its number nor where it leads."""
    begun = sd.schedule(5).timesteps
    assert begun == (801, 601, 401, 201, 1)
    for start_time, active in ((402, [0, 0, 1, 1, 1]), (401, [0, 0, 0, 1, 1])):
        seen = run(sd, canvas(sd), guidance=Guidance(iterations=1, start_time=start_time), steps=5, plans=[WHOLE] * 5)
        assert [s.iterations for s in seen] == active


@pytest.mark.slow
def test_blocks_that_are_computed_again_change_nothing_in_either_loop(sd):
    z = canvas(sd, 16, 24)
    for loop, guidance in ((sample, Guidance(iterations=2, content_weight=0.2)), (optimize, Guidance())):
        options = {"guidance": guidance, "steps": 2, "content": canvas(sd, 16, 24, seed=3)}
        whole, again = (
            list(loop(loop_of(sd, z, recomputed=r, **options), Progress(latents=z)))[-1].latents for r in (False, True)
        )
        assert torch.equal(whole, again)


def signs_alike(found, exact):
    """Share of the gradient's signs that are right: all that Adam's first step takes of it."""
    return float((found.sign() == exact.sign()).float().mean())


def test_a_gradient_through_float16_has_the_signs_of_float32(sd):
    """Unscaled, the gradient of a mean over 32768 numbers loses bits on its way; of a full network's million, most."""
    z, wide, found = canvas(sd, 32, 32), tiny.unet(layers=tiny.PUBLISHED), {}
    layers = choose_layers(self_attention_layers(wide, sd.condition))
    for dtype in (torch.float32, torch.float16):
        backbone = replace(sd, unet=torch.nn.Module.to(copy.deepcopy(wide), dtype))
        with backbone.denoiser() as tap:
            ideal = exemplar_key_values(tap, [canvas(sd, seed=4) * 0.5], 60, layers)
            latents = z.clone().requires_grad_(True)
            features = tap.features(latents, 60, layers)
            loss = guidance_loss(features, ideal, Guidance())
            if dtype == torch.float16:
                (found["plain"],) = torch.autograd.grad(loss, latents, retain_graph=True)
            found[dtype] = gradient(loss, latents, features)
    exact = found.pop(torch.float32)
    alike = {name: signs_alike(each, exact) for name, each in found.items()}
    print({str(name): f"{share:.2%}" for name, share in alike.items()})
    assert alike[torch.float16] > 0.99 and alike[torch.float16] > alike["plain"] + 0.004
    assert found[torch.float16].dtype == torch.float32
    assert float((found[torch.float16] - exact).norm() / exact.norm()) < 0.02, "the size is that of float32, too"


def test_strength_runs_the_last_part_of_the_steps(sd):
    schedule = sd.schedule(50)
    assert len(schedule.timesteps) == 50 and schedule.last(1.0) == schedule.timesteps
    assert schedule.last(0.6) == schedule.timesteps[-30:]
    assert [len(schedule.last(strength)) for strength in (0.01, 0.07, 0.0)] == [1, 4, 0]


def test_a_schedule_leaves_the_models_scheduler_as_it_was_and_is_not_changed_by_another(sd):
    before = dict(vars(sd.scheduler))
    ten, three = sd.schedule(10), sd.schedule(3)
    assert vars(sd.scheduler).keys() == before.keys()
    assert sd.scheduler.num_inference_steps == before["num_inference_steps"]
    assert (ten.previous(900), three.previous(900), ten.previous(30)) == (800, 567, 0)


def test_content_weight_keeps_the_result_nearer_to_the_content(sd):
    z, content = canvas(sd), canvas(sd, seed=8)
    layers = choose_layers(sd.attention_layers)

    def distance(weight):
        guidance = Guidance(iterations=3, content_weight=weight)
        found = run(sd, z, guidance=guidance, content=content, steps=2, plans=[WHOLE] * 2)[-1].latents
        with sd.denoiser() as tap, torch.no_grad():
            a, b = (tap.features(x, 0, layers) for x in (found, content))
        return sum(float((a[n].query - b[n].query).abs().mean()) for n in layers)

    assert distance(5.0) < distance(0.0)


def test_adain_gives_the_exemplars_channel_statistics(sd):
    exemplar = canvas(sd, 16, 16, seed=3) * 2 + 1
    matched = adain(canvas(sd, 16, 16).expand(2, -1, -1, -1), [exemplar])
    torch.testing.assert_close(matched.mean((2, 3))[0], exemplar.mean((2, 3))[0], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(matched.std((2, 3))[1], exemplar.std((2, 3))[0], atol=1e-3, rtol=1e-3)


def test_adain_changes_the_sampling(sd):
    plain, matched = (
        run(sd, canvas(sd), guidance=Guidance(iterations=0, adain=a), steps=2)[-1].latents for a in (False, True)
    )
    assert (plain - matched).abs().max() > 1e-3


def in_bfloat16(backbone):
    """A copy: a network that has been cast is not the same again."""
    return replace(backbone, unet=copy.deepcopy(backbone.unet).to(torch.bfloat16))


def test_bfloat16_stays_near_float32(sd):
    options = {"guidance": Guidance(iterations=1), "steps": 2, "plans": [WHOLE] * 2}
    exact, rough = (run(each, canvas(sd), **options)[-1].latents for each in (sd, in_bfloat16(sd)))
    assert rough.dtype == torch.float32
    assert (rough - exact).square().mean() < 0.01 * exact.square().mean()


def test_a_tile_that_overflows_in_half_precision_is_done_again_in_float32(sd):
    options = {"guidance": Guidance(iterations=1, inject="beside"), "steps": 1, "plans": [WHOLE]}
    rough = in_bfloat16(sd)

    def overflow(_module, _inputs, output):
        return output * float("inf") if output.dtype == torch.bfloat16 else output

    rough.unet.conv_out.register_forward_hook(overflow)
    exact, rescued = (run(each, canvas(sd), **options)[-1].latents for each in (sd, rough))
    assert rough.dtype == torch.bfloat16
    assert (rescued - exact).square().mean() < 0.01 * exact.square().mean()


def test_a_tile_of_nan_is_an_error_that_names_it(sd):
    with pytest.raises(TexgenError, match=r"sampling: the model gave NaN or Inf at step 1 in tiles \[Tile\(top=0"):
        run(sd, canvas(sd) * float("nan"), guidance=NONE, steps=2)


def test_exemplar_keys_that_overflow_in_half_precision_are_read_again_in_float32(sd):
    """A loss that is not a number would pass for a finished step: the sign of its gradient is 0."""
    exemplars = [canvas(sd, 24, 16, seed=42) * 0.5]
    options = {"guidance": Guidance(iterations=1), "steps": 1, "plans": [WHOLE], "exemplars": exemplars}
    rough, overflows = in_bfloat16(sd), []

    def overflow(_module, _inputs, output):
        if output.shape[1] % 3 or output.dtype != torch.bfloat16:
            return output
        overflows.append(output)  # of the exemplar
        return output * float("nan")

    rough.unet.get_submodule(choose_layers(sd.attention_layers)[0]).to_k.register_forward_hook(overflow)
    exact, rescued = (run(each, canvas(sd), **options)[-1] for each in (sd, rough))
    assert overflows and rescued.losses == pytest.approx(exact.losses, rel=1e-2)
    assert (rescued.latents - exact.latents).square().mean() < 1e-3 * exact.latents.square().mean()


def test_exemplars_that_are_not_numbers_are_an_error_of_both_loops(sd):
    for loop, guidance in ((sample, Guidance(iterations=1)), (optimize, Guidance())):
        z = canvas(sd)
        job = loop_of(sd, z, guidance=guidance, exemplars=[canvas(sd) * float("nan")])
        with pytest.raises(TexgenError, match="NaN or Inf at step 1"):
            list(loop(job, Progress(latents=z)))


def test_optimisation_lowers_the_loss_and_keeps_one_optimiser(sd):
    sd = replace(sd, unet=tiny.unet(widths=tiny.SLIM, layers=tiny.PUBLISHED))
    z, guidance = canvas(sd, 16, 24), Guidance(lr=0.05)
    plans = list(rolled_schedule(Size(16, 24), Size(16, 16), Wrap(True, True), 10, seed=0))
    exemplars = [canvas(sd, seed=4) * 0.5]

    def loss(latents):
        part = latents[..., :16, :16]
        loop = loop_of(sd, part, guidance=guidance, steps=20, strength=0.05, plans=[WHOLE], exemplars=exemplars)
        return next(optimize(loop, Progress(latents=part))).losses[0]

    loop = loop_of(sd, z, guidance=guidance, steps=10, plans=plans, window="ones", exemplars=exemplars)
    moved = [step.latents.clone() for step in optimize(loop, Progress(latents=z))]
    assert len(moved) == 10
    assert loss(moved[-1]) < 0.9 * loss(z)
    stride = (moved[-1] - moved[-2]).abs().median()
    assert stride < 0.8 * 0.05, "a new optimiser's first step is the whole learning rate"
    assert torch.equal(z, canvas(sd, 16, 24)), "the start is not changed in place"


def test_optimisation_continues_from_any_step_to_the_same_bytes(sd):
    z = canvas(sd)
    loop = loop_of(sd, z, guidance=Guidance(lr=0.05), steps=4)
    whole = list(optimize(loop, Progress(latents=z)))[-1].latents
    progress = Progress(latents=z)
    for _ in zip(range(2), optimize(loop, progress), strict=False):
        pass
    assert progress.index == 2 and progress.adam
    assert torch.equal(list(optimize(loop, progress))[-1].latents, whole)


def test_optimisation_does_not_depend_on_the_tile_batch(sd):
    z, plans = canvas(sd, 24, 40), list(fixed_schedule(Size(24, 40), Size(16, 16), Size(12, 12), Wrap(), 1))
    one, four = (
        next(optimize(loop_of(sd, z, guidance=Guidance(), steps=50, strength=0.02, plans=plans, tile_batch=b), Progress(latents=z)))
        for b in (1, 4)
    )  # fmt: skip
    assert one.losses[0] == pytest.approx(four.losses[0], rel=1e-4)
    assert ((one.latents - four.latents).abs() > 1e-4).float().mean() < 1e-3, "but for signs of gradients near zero"
    assert not torch.equal(one.latents, z)
