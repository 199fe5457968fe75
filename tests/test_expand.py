"""The verb as users meet it: sizes, seeds, seams, recipes, and checks before work."""

from __future__ import annotations

import errno
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import texgen
from texgen.diffusion import presets
from texgen.diffusion.knobs import Knobs as DiffusionKnobs
from texgen.diffusion.plan import canvas_of, make_plan
from texgen.errors import InputError, OptionError, ResourceError
from texgen.job import Canvas, Constraints, Job, Layout
from texgen.materials.exemplar import Exemplar
from texgen.tasks.result import Result
from texgen.tasks.size import size_of
from tiling import Size, Wrap

QUICK = {"preset": "standard", "steps": 25, "strength": 0.08, "iterations": 1}


def line_percentile(pixels: np.ndarray, axis: int) -> float:
    """Where the gradient across the wrap ranks among those of the lines inside, 0 to 100."""
    values = pixels.astype(float)
    other = (1 - axis, 2)
    across = np.abs(values.take(0, axis) - values.take(-1, axis)).mean()
    inside = np.abs(np.diff(values, axis=axis)).mean(other)
    return float((inside < across).mean() * 100)


def test_a_standard_run_has_the_size_the_seams_and_the_recipe(mini, stationary):
    states = []
    result = texgen.expand(stationary, (192, 256), model=mini, seed=7, callback=states.append, **QUICK)
    pixels = np.asarray(result.image)
    assert result.image.size == (256, 192) and pixels.std() > 5
    again = np.asarray(texgen.expand(stationary, (192, 256), model=mini, seed=8, **QUICK).image)
    percentiles = [np.mean([line_percentile(image, axis) for image in (pixels, again)]) for axis in (0, 1)]
    assert all(5 <= p <= 95 for p in percentiles), f"{percentiles}, allowed 5 to 95"
    recipe = result.recipe
    assert recipe["seed"] == 7 and recipe["size"] == {"width": 256, "height": 192} and recipe["tileable"] == "both"
    assert recipe["steps_run"] == 2 == len(states)
    assert recipe["ad_iterations"] == recipe["tile_steps"] == sum(s.tiles for s in states) > 0
    assert all(np.isfinite(s.losses).all() and len(s.losses) == 2 for s in states)
    assert result.latents.shape == (1, 16, 24, 32) and result.coordinates.shape == (3, 24, 32)


def test_the_same_seed_gives_the_same_bytes_and_presets_differ(mini, swatch, tmp_path):
    one, two = (texgen.expand(swatch, 128, model=mini, seed=3, tile_batch=1, **QUICK) for _ in range(2))
    draft = texgen.expand(swatch, 128, model=mini, seed=3, preset="draft")
    for name, result in (("one", one), ("two", two), ("draft", draft)):
        result.save(tmp_path / f"{name}.png")
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "two.png").read_bytes()
    assert (tmp_path / "one.png").read_bytes() != (tmp_path / "draft.png").read_bytes()
    assert draft.recipe["ad_iterations"] == 0 and draft.recipe["steps_run"] == 0
    difference = np.abs(np.asarray(one.image).astype(int) - np.asarray(draft.image))
    assert (difference > 0).mean() > 0.01


def test_sizes_that_are_no_multiple_are_cropped_where_they_do_not_wrap(mini, swatch):
    result = texgen.expand(swatch, (131, 203), model=mini, tileable="none", preset="draft", seed=1)
    assert result.image.size == (203, 131)


def test_a_start_of_noise_is_the_published_way(sd, small):
    result = texgen.expand(
        small,
        (128, 144),
        model=sd,
        seed=1,
        start="noise",
        schedule="fixed",
        window="ones",
        tile_overlap=64,
        steps=1,
        iterations=1,
        tile_batch=1,
    )
    assert result.recipe["strength"] == 1.0 and result.recipe["steps_run"] == 1 and result.coordinates is None
    assert result.recipe["tile_overlap"] == [8, 8]
    assert result.recipe["tile_steps"] == 2 * 3
    assert result.image.size == (144, 128)


def test_a_stable_diffusion_model_runs_the_same_path(sd, small):
    options = {"seed": 1, "steps": 5, "strength": 0.4, "iterations": 1, "inject": "beside"}
    result = texgen.expand(small, (128, 144), model=sd, **options)
    assert result.recipe["model"] == "tiny-sd" and result.recipe["ad_iterations"] == result.recipe["tile_steps"] > 0


def test_stable_diffusion_starts_from_the_swatch_model(sd, small):
    options = {"model": sd, "seed": 1, "steps": 2, "iterations": 0, "strength": 0.5, "tile_batch": 1}
    begun = texgen.expand(small, (128, 144), with_map=True, **options)
    assert begun.recipe["start"] == "swatch" and begun.coordinates.shape == (3, 16, 18)
    assert torch.equal(begun.latents, texgen.expand(small, (128, 144), **options).latents)
    kept = texgen.expand(small, 128, keep=(0, 0), **options)
    assert kept.recipe["start"] == "swatch"
    assert (kept.coordinates[:, 1, 2] == torch.tensor([0, 8, 16])).all()


def test_sixteen_bits_hold_eight_and_more(mini, swatch):
    deep, plain = (texgen.expand(swatch, 128, model=mini, seed=1, preset="draft", bit_depth=b) for b in ("16", "8"))
    assert deep.pixels[:].dtype == np.uint16 and len(np.unique(deep.pixels[:])) > 256
    assert np.abs(deep.pixels[:] / 257 - plain.pixels[:].astype(float)).max() <= 0.51
    assert np.abs(np.asarray(deep.image).astype(int) - np.asarray(plain.image)).max() <= 1


def test_several_exemplars_and_a_prepared_one(mini, swatch, small):
    result = texgen.expand(
        swatch, 128, model=mini, seed=1, exemplars=[small], crop=(0, 0, 96, 128), rotate=90, exemplar_scale=1.0, **QUICK
    )
    first, second = result.recipe["exemplars"]
    assert (first["name"], first["width"], first["height"]) == ("roof_shingles.jpg", 128, 96)
    assert (second["name"], second["width"]) == ("small.png", 64)
    assert set(result.coordinates[0].unique().tolist()) == {0, 1}


def test_the_smallest_swatch_works(mini, small):
    assert texgen.expand(small, 128, model=mini, preset="draft", seed=0).image.size == (128, 128)


def test_a_swatch_of_one_colour_works(mini):
    flat = torch.full((3, 80, 80), 0.3)
    pixels = np.asarray(texgen.expand(flat, 128, model=mini, preset="draft", seed=0).image)
    assert np.abs(pixels.astype(int) - 76).max() <= 8


@pytest.fixture(scope="module")
def draft(mini) -> texgen.Result:
    swatch = Path(__file__).parent.parent / "examples" / "swatches" / "roof_shingles.jpg"
    return texgen.expand(swatch, 128, model=mini, preset="draft", seed=5)


@pytest.mark.parametrize("suffix", [".png", ".tif", ".jpg", ".webp"])
def test_every_format_holds_picture_and_recipe(draft, swatch, tmp_path, suffix):
    result = draft
    path = tmp_path / f"out{suffix}"
    result.save(path)
    with Image.open(path) as image:
        assert image.size == (128, 128)
        if suffix != ".jpg":
            np.testing.assert_array_equal(np.asarray(image), np.asarray(result.image))
        text = image.info.get("texgen") or image.getexif().get(0x010E) or image.tag_v2[270]
    assert json.loads(text) == json.loads(json.dumps(result.recipe))
    sidecar = json.loads(path.with_name(path.name + ".json").read_text())
    assert sidecar["seed"] == 5 and sidecar["timings"]
    assert swatch.name in text and str(swatch.parent) not in text
    assert not list(tmp_path.glob(".*"))


def test_metadata_can_be_left_out(draft, tmp_path):
    draft.save(tmp_path / "out.png", metadata=False)
    assert [p.name for p in tmp_path.iterdir()] == ["out.png"]
    with Image.open(tmp_path / "out.png") as image:
        assert "texgen" not in image.info


def kept(pixels, **more):
    return Result(pixels=pixels, latents=None, coordinates=None, recipe={"texgen": "0.1.0"}, **more)


def test_a_picture_without_a_recipe_replaces_that_of_an_earlier_one_only_if_it_may(tmp_path):
    result, out, sidecar = kept(np.zeros((64, 64, 3), np.uint8)), tmp_path / "o.png", tmp_path / "o.png.json"
    result.save(out)
    out.unlink()
    with pytest.raises(OptionError, match=r"o\.png\.json.* exists"):
        result.save(out, metadata=False)
    assert sidecar.exists() and not out.exists()
    result.save(out, metadata=False, overwrite=True)
    assert out.exists() and not sidecar.exists()


def test_a_picture_that_cannot_be_saved_leaves_no_map_behind(tmp_path):
    class Full(np.ndarray):
        def __getitem__(self, rows):
            raise OSError(errno.ENOSPC, "No space left on device")

    full = np.zeros((64, 64, 3), np.uint8).view(Full)
    with pytest.raises(ResourceError, match="the disk is full"):
        kept(full, maps={"height": np.zeros((64, 64, 1), np.uint8)}).save(tmp_path / "o.png")
    assert not list(tmp_path.iterdir())


def test_sixteen_bits_are_rounded_to_eight():
    values = np.uint16([0, 128, 129, 257 * 10 + 200, 65535 - 129, 65535])
    assert np.asarray(kept(np.tile(values[:, None, None], (1, 2, 3))).image)[:, 0, 0].tolist() == [
        0,
        0,
        1,
        11,
        254,
        255,
    ]


def never(*_):
    raise AssertionError("the model was called")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": 0}, "size=0x0 must be from 1"),
        ({"size": (512, 100)}, "size=100x512 is too small"),
        ({"tileable": "z"}, "tileable='z' is not known"),
        ({"strength": 1.5}, "strength=1.5 must be from 0 to 1"),
    ],
)
def test_bad_options_are_refused_before_the_model_is_loaded(options, message, swatch):
    with pytest.raises(OptionError, match=message):
        texgen.expand(swatch, **{"model": never, **options})


def test_a_bad_swatch_is_refused_before_the_model_is_loaded(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        texgen.expand(tmp_path / "absent.png", model=never)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": 130}, "height=130 is no multiple of 8, which a tileable side must be; the nearest are 128 and 136"),
        ({"start": "noise", "strength": 0.5}, "strength=0.5 needs start='swatch'"),
        ({"tile_overlap": 64}, "tile_overlap is for schedule='fixed'"),
        ({"tile_overlap": 512, "schedule": "fixed"}, "tile_overlap=512 must be from 0 to less than the tile"),
        ({"layers": (99,)}, "layer 99 is not in this model"),
    ],
)
def test_options_that_need_the_model_are_refused_before_it_runs(options, message, swatch, mini):
    with pytest.raises(OptionError, match=message):
        texgen.expand(swatch, **{"size": 512, "model": mini, **options})


def test_running_out_of_memory_says_what_to_change(mini, swatch, monkeypatch):
    def starve(*_args, **_options):
        return torch.empty(2**50)  # a real refusal of the allocator

    monkeypatch.setattr("texgen.diffusion.run.encode_exemplar", starve)
    with pytest.raises(ResourceError, match="out of memory with tile_batch=1 at 128x128; use a smaller"):
        texgen.expand(swatch, 128, model=mini, preset="draft")


def test_a_result_without_a_map_says_so(tmp_path):
    result = texgen.Result(pixels=np.zeros((8, 8, 3), np.uint8), latents=torch.zeros(1), coordinates=None, recipe={})
    with pytest.raises(OptionError, match="no coordinate map"):
        result.save_map(tmp_path / "map.tif")


def test_targets_that_cannot_be_written_are_refused(tmp_path):
    result = texgen.Result(pixels=np.zeros((8, 8, 3), np.uint8), latents=torch.zeros(1), coordinates=None, recipe={})
    with pytest.raises(OptionError, match="suffix must be one of"):
        result.save(tmp_path / "out.gif")
    with pytest.raises(OptionError, match="no such folder"):
        result.save(tmp_path / "absent" / "out.png")


def test_canvas_rounds_up_only_where_it_does_not_wrap():
    assert canvas_of(Size(130, 136), Wrap(False, True), 8) == Size(17, 17)
    assert size_of(512) == size_of((512, 512)) == Size(512, 512)


def test_presets_are_one_table_and_none_keeps_its_values():
    assert presets.choose("standard", steps=None) == presets.PRESETS["standard"]
    assert presets.choose("best", presets.PAINT_PRESETS, steps=7).steps == 7
    assert set(presets.PRESETS) == set(presets.PAINT_PRESETS)


def cut_out(side: int = 96) -> np.ndarray:
    """Discs of two colours on nothing, which is black: (side, side, 4), uint8."""
    y, x = np.mgrid[:side, :side]
    found = np.zeros((side, side, 4), np.uint8)
    for number in range(9):
        cy, cx = 16 + 32 * (number // 3), 16 + 32 * (number % 3)
        inside = np.hypot(y - cy, x - cx) < 10
        found[inside] = ((200, 40, 30, 255), (30, 180, 60, 255))[number % 2]
    return found


def test_transparency_is_made_with_the_colours_and_what_is_not_seen_does_not_colour_the_edges():
    result = texgen.expand(cut_out(), 160, seed=1, preset="draft")
    pixels = result.pixels[:].astype(int)
    assert pixels.shape == (160, 160, 4) and result.recipe["channels"] == 4
    alpha = pixels[..., 3]
    assert 0.15 < (alpha > 127).mean() < 0.5, "the swatch shows .27"
    seen = pixels[alpha > 0][:, :3]
    assert seen.max(1).min() > 120, "no edge is darkened by the black of what is transparent"
    assert (np.abs(np.diff(alpha, axis=0)) > 0).mean() < 0.12, "whole discs, not crumbs"


def test_a_diffusion_model_refuses_transparency_before_any_work(mini):
    with pytest.raises(InputError, match="has transparency, or values outside of 0 to 1"):
        texgen.expand(cut_out(), 128, model=mini)


def test_grey_swatches_give_grey_textures(swatch):
    grey = np.asarray(Image.open(swatch).convert("L"))[:96, :96]
    result = texgen.expand(grey, 96, seed=1, preset="draft")
    assert result.pixels.shape == (96, 96, 1) and result.image.mode == "L"
    coloured = texgen.expand(np.repeat(grey[..., None], 3, -1), 96, seed=1, preset="draft")
    assert np.array_equal(coloured.pixels[:][..., :1], result.pixels[:])


def plan_for(model, given=None, size=256, preset="standard", **knobs):
    """What a diffusion model would do, without doing it."""
    exemplars = (Exemplar(np.full((64, 64, 3), 0.5, np.float32)),)
    job = Job(
        canvas=Canvas(Size(size, size), Wrap(True, True)),
        exemplars=exemplars,
        constraints=given or Constraints(),
        seed=1,
    )
    return make_plan(model, preset, DiffusionKnobs(**knobs), job)


def test_optimisation_starts_from_noise_and_takes_200_steps(sd):
    for preset, steps in (("draft", 100), ("standard", 200), ("best", 300), ("published", 200)):
        chosen = plan_for(sd, preset=preset, loop="optimize").preset
        assert (chosen.start, chosen.steps) == ("noise", steps)
    assert plan_for(sd, loop="optimize", steps=300).preset.steps == 300
    assert plan_for(sd, loop="optimize", start="swatch").preset.start == "swatch"
    rough = Constraints(layout=Layout(np.full((64, 64, 3), 0.5, np.float32), 1.0))
    assert plan_for(sd, rough, loop="optimize").preset.start == "layout"


def test_every_preset_has_a_start_that_goes_with_a_layout(sd):
    rough = Constraints(layout=Layout(np.full((64, 64, 3), 0.5, np.float32), 1.0))
    starts = [plan_for(sd, rough, preset=preset).preset.start for preset in presets.NAMES]
    assert starts == ["swatch", "swatch", "layout", "layout"]


def test_a_layout_is_held_with_the_published_weight(sd):
    rough = Layout(np.full((64, 64, 3), 0.5, np.float32), 1.0)
    weights = [plan_for(sd, Constraints(layout=rough, content_weight=w)).guidance.content_weight for w in (None, 0.0)]
    assert weights == [0.25, 0.0] and plan_for(sd).guidance.content_weight == 0


def test_the_published_preset_is_the_published_method(sd):
    plan = plan_for(sd, preset="published")
    chosen, tile = plan.preset, sd.native_tile
    assert (chosen.loop, chosen.start, chosen.strength, chosen.steps) == ("sample", "noise", 1.0, 50)
    assert (plan.guidance.iterations, plan.guidance.lr, plan.guidance.content_weight) == (3, 0.05, 0)
    assert (chosen.schedule, chosen.window, plan.stride) == ("fixed", "ones", (tile.height // 8, tile.width // 8))
    assert 64 - round(64 * chosen.tile_overlap) == 8, "latent pixels at Stable Diffusion's own tile"
    assert (plan.guidance.inject, chosen.match_spectrum, plan.guidance.adain) == (None, False, False)
    assert (chosen.detail, chosen.tune_decoder) == ("none", 0)


def test_the_published_preset_resizes_the_swatch_and_is_not_for_the_swatch_model(sd, small):
    made = texgen.expand(small, 128, model=sd, preset="published", steps=1, iterations=0, seed=1, tile_overlap=0)
    assert made.recipe["preparation"]["size"] == 512 and made.recipe["preset"] == "published"
    with pytest.raises(OptionError, match="preset='published' is for diffusion models; use draft, standard or best"):
        texgen.expand(small, 128, preset="published")


@pytest.mark.parametrize(
    ("options", "read"),
    [({}, (8, 8)), ({"exemplar_size": 128}, (16, 16)), ({"preset": "published", "tile_overlap": 0}, (16, 16))],
)
def test_a_swatch_smaller_than_a_tile_is_read_at_its_own_size_unless_it_is_resized(options, read, sd, small):
    seen = []
    hook = sd.unet.register_forward_pre_hook(lambda _unet, inputs: seen.append(tuple(inputs[0].shape[-2:])))
    texgen.expand(small, 128, model=sd, start="noise", steps=1, iterations=1, seed=1, tileable="none", **options)
    hook.remove()
    assert set(seen) == {read, (16, 16)}, "of the 64 px swatch, and of the canvas"


@pytest.mark.parametrize(("options", "passes"), [({}, 1), ({"match_spectrum": True}, 4)])
def test_a_swatch_is_encoded_once_where_nothing_looks_between_its_latent_pixels(options, passes, sd, small):
    calls, model = [], replace(sd)  # which shares no encodings with the other tests
    hook = sd.autoencoder.encoder.register_forward_hook(lambda *_: calls.append(1))
    texgen.expand(small, 128, model=model, start="noise", steps=1, iterations=0, seed=1, **options)
    hook.remove()
    assert len(calls) == passes
