"""The two loops: against diffusers' own DDIM, over tile batches, and down the loss."""

from __future__ import annotations

import pytest
import torch
from conftest import generator

from texgen.diffusion.guidance.attention import choose_layers, exemplar_key_values, tapped
from texgen.diffusion.guidance.settings import Guidance
from texgen.diffusion.sampling.optimize import linear_timesteps, optimize
from texgen.diffusion.sampling.sample import adain, distill, sample, strength_timesteps
from texgen.errors import TexgenError
from tiling import Size, Tile, Wrap, fixed_schedule, make_window, rolled_schedule

NONE = Guidance(iterations=0)


def canvas(backbone, height=16, width=16, seed=0):
    return torch.randn(1, backbone.latent_channels, height, width, generator=generator(seed))


def states(
    backbone, latents, *, guidance, steps=4, strength=1.0, tile_batch=1, seed=1, plans=None, window="hann", **options
):
    timesteps = strength_timesteps(backbone.scheduler, steps, strength)
    tile = backbone.native_tile
    size = Size(*latents.shape[-2:])
    plans = plans or list(fixed_schedule(size, tile, Size(12, 12), Wrap(True, True), len(timesteps)))
    exemplar = canvas(backbone, 16, 16, seed=42) * 0.5
    settings = {"timesteps": timesteps, "plans": plans, "window": make_window(window, tile), "guidance": guidance}
    return sample(backbone, latents, [exemplar], seed=seed, tile_batch=tile_batch, **settings, **options)


def run(backbone, latents, **options):
    return list(states(backbone, latents, **options))


@pytest.mark.parametrize("steps", [3, 10])
def test_without_iterations_one_tile_equals_diffusers_ddim(sd, steps):
    z = canvas(sd)
    whole = [[Tile(0, 0, 16, 16)]] * steps
    ours = run(sd, z, guidance=NONE, steps=steps, plans=whole, window="ones")[-1].latents
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
    results = [next(states(sd, z, guidance=guidance, tile_batch=b)).latents for b in (1, 2, 4)]
    for other in results[1:]:
        difference = (results[0] - other).abs()
        # Adam's first update is lr * sign(gradient): where a gradient is zero but for rounding, its sign is chance.
        assert (difference > 1e-4).float().mean() < 1e-3, f"{(difference > 1e-4).float().mean()=}, allowed 1e-3"
        assert difference.max() < 0.01


def test_the_same_seed_gives_the_same_latents_and_another_seed_others(sd):
    z, plans = canvas(sd, 16, 32), [[Tile(0, 0, 16, 16), Tile(0, 16, 16, 32)]] * 4
    one = Guidance(iterations=1)
    first, second, other = (run(sd, z, guidance=one, plans=plans, seed=s)[-1].latents for s in (1, 1, 2))
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
    with tapped(backbone.unet, backbone.condition) as tap:
        ideal = exemplar_key_values(tap, [canvas(backbone, 16, 16, seed=2) * 0.7], 60, layers)
        settings = Guidance(iterations=8, lr=0.02)
        moved, (first, last) = distill(tap, canvas(backbone, 16, 16), 60, ideal, settings)
    assert last < 0.97 * first
    assert moved.dtype == torch.float32 and not moved.requires_grad


def test_one_iteration_moves_no_latent_further_than_the_learning_rate(sd):
    layers = choose_layers(sd.attention_layers)
    z = canvas(sd)
    with tapped(sd.unet, sd.condition) as tap:
        ideal = exemplar_key_values(tap, [canvas(sd, seed=2)], 60, layers)
        moved, _ = distill(tap, z, 60, ideal, Guidance(iterations=1, lr=0.05))
    assert 0.03 < (moved - z).abs().median() <= (moved - z).abs().max() <= 0.0501


def test_start_time_limits_ad_to_small_timesteps(sd):
    seen = run(sd, canvas(sd), guidance=Guidance(iterations=1, start_time=400), steps=5)
    assert [s.iterations for s in seen] == [int(s.timestep < 400) for s in seen]
    assert {s.iterations for s in seen} == {0, 1}


def test_strength_runs_the_last_part_of_the_steps(sd):
    whole = strength_timesteps(sd.scheduler, 50, 1.0)
    assert len(whole) == 50
    assert strength_timesteps(sd.scheduler, 50, 0.6) == whole[-30:]
    assert len(strength_timesteps(sd.scheduler, 50, 0.01)) == 1
    assert len(strength_timesteps(sd.scheduler, 50, 0.07)) == 4
    assert strength_timesteps(sd.scheduler, 50, 0.0) == []


def test_content_weight_keeps_the_result_nearer_to_the_content(sd):
    z, content = canvas(sd), canvas(sd, seed=8)
    layers = choose_layers(sd.attention_layers)

    def distance(weight):
        guidance, whole = Guidance(iterations=3, content_weight=weight), [[Tile(0, 0, 16, 16)]] * 4
        found = run(sd, z, guidance=guidance, content=content, plans=whole)[-1].latents
        with tapped(sd.unet, sd.condition) as tap, torch.no_grad():
            a, b = (tap.features(x, 0, layers) for x in (found, content))
        return sum(float((a[n].query - b[n].query).abs().mean()) for n in layers)

    assert distance(5.0) < distance(0.0)


def test_adain_gives_the_exemplars_channel_statistics(sd):
    exemplar = canvas(sd, 16, 16, seed=3) * 2 + 1
    matched = adain(canvas(sd, 16, 16).expand(2, -1, -1, -1), [exemplar])
    torch.testing.assert_close(matched.mean((2, 3))[0], exemplar.mean((2, 3))[0], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(matched.std((2, 3))[1], exemplar.std((2, 3))[0], atol=1e-3, rtol=1e-3)


def test_adain_changes_the_sampling(sd):
    plain, matched = (run(sd, canvas(sd), guidance=Guidance(iterations=0, adain=a))[-1].latents for a in (False, True))
    assert (plain - matched).abs().max() > 1e-3


def test_bfloat16_stays_near_float32(sd):
    z = canvas(sd)
    exact = run(sd, z, guidance=Guidance(iterations=1), steps=2)[-1].latents
    sd.unet.to(torch.bfloat16)
    try:
        rough = run(sd, z, guidance=Guidance(iterations=1), steps=2)[-1].latents
    finally:
        sd.unet.to(torch.float32)
    assert rough.dtype == torch.float32
    assert (rough - exact).square().mean() < 0.01 * exact.square().mean()


def test_a_tile_that_overflows_in_half_precision_is_done_again_in_float32(sd):
    exact = run(sd, canvas(sd), guidance=Guidance(iterations=1, inject="beside"), steps=1)[-1].latents

    def overflow(_module, _inputs, output):
        return output * float("inf") if output.dtype == torch.bfloat16 else output

    hook = sd.unet.conv_out.register_forward_hook(overflow)
    sd.unet.to(torch.bfloat16)
    try:
        rescued = run(sd, canvas(sd), guidance=Guidance(iterations=1, inject="beside"), steps=1)[-1].latents
        assert sd.unet.dtype == torch.bfloat16
    finally:
        hook.remove()
        sd.unet.to(torch.float32)
    assert (rescued - exact).square().mean() < 0.01 * exact.square().mean()


def test_a_tile_of_nan_is_an_error_that_names_it(sd):
    with pytest.raises(TexgenError, match=r"NaN or Inf at timestep .*Tile\(top=0"):
        run(sd, canvas(sd) * float("nan"), guidance=NONE, steps=2)


def test_optimisation_lowers_the_loss_and_keeps_one_optimiser(sd):
    z = canvas(sd, 16, 24)
    timesteps = linear_timesteps(sd, 20)
    plans = list(rolled_schedule(Size(16, 24), Size(16, 16), Wrap(True, True), 20, seed=0))
    settings = {"timesteps": timesteps, "window": make_window("ones", Size(16, 16)), "guidance": Guidance(lr=0.05)}
    exemplars = [canvas(sd, seed=4) * 0.5]

    def loss(latents):
        whole = [[Tile(0, 0, 16, 16)]]
        return next(
            optimize(sd, latents[..., :16, :16], exemplars, plans=whole, **{**settings, "timesteps": timesteps[-1:]})
        ).losses[0]

    moved = [step.latents.clone() for step in optimize(sd, z, exemplars, plans=plans, **settings)]
    assert len(moved) == 20
    assert loss(moved[-1]) < 0.9 * loss(z)
    stride = (moved[-1] - moved[-2]).abs().median()
    assert stride < 0.8 * 0.05, "a new optimiser's first step is the whole learning rate"
    assert torch.equal(z, canvas(sd, 16, 24)), "the start is not changed in place"


def test_optimisation_does_not_depend_on_the_tile_batch(sd):
    z, plans = canvas(sd, 24, 40), list(fixed_schedule(Size(24, 40), Size(16, 16), Size(12, 12), Wrap(), 1))
    settings = {
        "timesteps": linear_timesteps(sd, 50)[25:26],
        "window": make_window("hann", Size(16, 16)),
        "guidance": Guidance(lr=0.05),
    }
    one, four = (next(optimize(sd, z, [canvas(sd, seed=4)], plans=plans, tile_batch=b, **settings)) for b in (1, 4))
    assert one.losses[0] == pytest.approx(four.losses[0], rel=1e-4)
    assert ((one.latents - four.latents).abs() > 1e-4).float().mean() < 1e-3, "but for signs of gradients near zero"
    assert not torch.equal(one.latents, z)
