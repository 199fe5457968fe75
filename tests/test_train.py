"""Laws of training: what is gathered, what a batch is, the linear code, pairs, and resumed runs."""

from __future__ import annotations

import copy
import csv
import io
import shutil
import signal
import subprocess
import zipfile
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from test_cli import run

import texgen
from texgen.cli import main as cli
from texgen.diffusion.decoding.grain import patch_distance
from texgen.diffusion.guidance.exemplar_keys import exemplar_key_values
from texgen.diffusion.models import UNetModel
from texgen.diffusion.models.networks.unet import tapped
from texgen.diffusion.models.vae.mini_autoencoder import TextureAutoencoder
from texgen.diffusion.sampling.loop import normal
from texgen.errors import InputError, OptionError, ResourceError
from texgen.files import image as images
from training import autoencoder, command, sources, unet
from training.autoencoder import (
    AutoencoderObjective,
    AutoencoderSettings,
    linear_code,
    new_autoencoder,
    principal_components,
    psnr,
    set_linear_code,
)
from training.crops import Crops, augmented_windows, generator_of
from training.denoise import MOST, STEPS, as_sampled, unit_contrast
from training.gather import gather
from training.loop import Settings, train
from training.manifest import Crop, read_manifest
from training.suitable import cuts, tiles, unsuitable
from training.unet import UNetObjective, UNetSettings, new_unet

run_training = partial(run, main=partial(cli.run, command.train))


def texture(seed: int, side: int = 512) -> np.ndarray:
    """Coloured blobs of a few pixels: stationary, and no two seeds alike."""
    rng = np.random.default_rng(seed)
    small = rng.integers(0, 256, (side // 4, side // 4, 3), np.uint8)
    return np.asarray(Image.fromarray(small).resize((side, side), Image.Resampling.BICUBIC))


def saved(folder: Path, name: str, pixels: np.ndarray) -> None:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(folder / name)


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Gathered crops of a folder of twelve textures."""
    folder = tmp_path_factory.mktemp("library")
    for seed in range(12):
        saved(folder / "in", f"texture{seed}.png", texture(seed))
    gather([folder / "in"], folder / "crops", workers=1, log=lambda _: None)
    return folder / "crops"


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few held-out windows, and a linear code of few: the laws are the same, the tests fast."""
    monkeypatch.setattr(autoencoder, "VALIDATION_CROPS", 2)
    monkeypatch.setattr(unet, "VALIDATION_PAIRS", 6)
    monkeypatch.setattr(unet, "VALIDATION_TIMESTEPS", unet.VALIDATION_TIMESTEPS[:1])
    monkeypatch.setattr(autoencoder, "CODE_BATCHES", 2)


# --- gathering


def test_gathering_keeps_textures_and_counts_why_others_were_left(tmp_path: Path) -> None:
    folder = tmp_path / "studio"
    saved(folder, "wall.png", texture(1))
    saved(folder, "wall_copy.png", texture(1))
    saved(folder, "wall_normal.png", texture(2))
    saved(folder, "ui/button.png", texture(3))
    saved(folder, "small.png", texture(4, 128))
    saved(folder, "plain.png", np.full((512, 512, 3), 90, np.uint8))
    saved(folder, "bluish.png", (texture(5) * 0.1 + np.array([120, 120, 220])).astype(np.uint8))
    half = texture(6).copy()
    half[:, :256] //= 4
    saved(folder, "uneven.png", half)
    saved(folder, "glass.png", np.dstack([texture(7), np.full((512, 512), 90, np.uint8)]))
    (folder / "broken.png").write_bytes(b"no image")
    said: list[str] = []
    rows = gather([folder], tmp_path / "out", workers=1, log=said.append)
    assert [row.path for row in rows] == ["wall.png"]
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["000000.png", "manifest.csv"]
    for reason in (
        "name 2",
        "near-duplicate 1",
        "too small 1",
        "flat 1",
        "normal map 1",
        "uneven 1",
        "transparent 1",
        "unreadable 1",
    ):
        assert reason in said[0], (reason, said)


def test_no_crop_shows_an_unseen_swatch_not_even_shifted_and_turned(tmp_path: Path) -> None:
    smooth = np.asarray(Image.fromarray(texture(2, 256)).resize((512, 512), Image.Resampling.BICUBIC))
    unseen, said = [texture(1), smooth], []
    for number, image in enumerate(unseen):
        saved(tmp_path / "in", f"stolen{number}.png", np.rot90(np.roll(image, (96, 160), (0, 1))))
    assert gather([tmp_path / "in"], tmp_path / "out", unseen, workers=1, log=said.append) == []
    assert said == ["in: shows an unseen swatch 2"]


def test_a_debian_package_is_opened_with_the_archives_inside(tmp_path: Path) -> None:
    if not shutil.which("dpkg-deb"):
        pytest.skip("dpkg-deb is not installed")
    tree = tmp_path / "tree"
    (tree / "DEBIAN").mkdir(parents=True)
    (tree / "DEBIAN/control").write_text(
        "Package: stuff\nVersion: 1:2.0\nArchitecture: all\nMaintainer: x <x@y.z>\nDescription: x\n"
    )
    saved(tree, "usr/share/wall.png", texture(1))
    picture = io.BytesIO()
    Image.fromarray(texture(2)).save(picture, "PNG")
    with zipfile.ZipFile(tree / "usr/share/data.pk3", "w") as archive:
        archive.writestr("textures/floor.png", picture.getvalue())
    package = tmp_path / "stuff_1%3a2.0_all.deb"
    subprocess.run(["dpkg-deb", "--build", "-Zxz", tree, package], check=True, capture_output=True)
    found = list(sources.images(package))
    assert sorted((i.source, i.version, i.path) for i in found) == [
        ("stuff", "1:2.0", "usr/share/data.pk3!/textures/floor.png"),
        ("stuff", "1:2.0", "usr/share/wall.png"),
    ]
    rows = gather([package], tmp_path / "out", workers=1, log=lambda _: None)
    assert len(rows) == 2 and read_manifest(tmp_path / "out/manifest.csv") == rows


def test_a_source_that_is_done_is_not_read_again(library: Path) -> None:
    said: list[str] = []
    before = (library / "manifest.csv").read_bytes()
    rows = gather([library.parent / "in"], library, workers=1, log=said.append)
    assert said == ["in: done before"] and len(rows) == 12
    assert (library / "manifest.csv").read_bytes() == before


def test_no_test_swatch_package_is_among_the_sources() -> None:
    assert sources.PACKAGES and not any("supertuxkart" in name for name in sources.PACKAGES)


def test_a_source_of_another_kind_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.rar").write_bytes(b"")
    with pytest.raises(InputError, match="give a folder of images or a Debian package"):
        list(sources.images(tmp_path / "x.rar"))


def test_fetching_without_apt_says_what_to_give_instead(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ResourceError, match="give folders of images"):
        sources.fetch(tmp_path / "packages")


def test_cuts_keep_the_scale_and_add_halves() -> None:
    found = list(cuts(texture(1, 1600)))
    assert {(scale, crop.shape[0]) for _, _, scale, _, crop in found} == {(1.0, 768), (0.5, 768)}
    left, top, _, _, crop = found[0]
    assert np.array_equal(crop, texture(1, 1600)[top : top + 768, left : left + 768])


def test_a_small_image_is_repeated_only_where_it_tiles() -> None:
    image = texture(1, 256)
    assert not tiles(image) and not list(cuts(image))
    smooth = np.asarray(Image.fromarray(np.tile(texture(1, 128), (3, 3, 1))).reduce(1))[64:320, 64:320]
    ((_, _, _, period, crop),) = cuts(smooth)
    assert period == 256 and np.array_equal(crop[:256, :256], crop[256:, 256:])


def test_stationary_textures_pass_and_gradients_do_not() -> None:
    ramp = np.linspace(0.2, 1, 512)[None, :, None]
    assert unsuitable(texture(1)) is None
    assert unsuitable((texture(1) * ramp).astype(np.uint8)) == "uneven"


# --- batches


def test_a_batch_depends_on_seed_and_step_alone(library: Path) -> None:
    first, second = Crops(library), Crops(library)
    first.windows(0, 1, 2, 128, 2)
    assert torch.equal(first.windows(0, 5, 3, 128, 2), second.windows(0, 5, 3, 128, 2))
    assert not torch.equal(first.windows(0, 5, 3, 128, 2), first.windows(0, 6, 3, 128, 2))


def test_windows_of_a_texture_are_changed_alike() -> None:
    flat = np.zeros((512, 512, 3), np.uint8) + np.array([200, 100, 30], np.uint8)
    for seed in range(20):
        windows = augmented_windows(flat, 64, 2, np.random.default_rng(seed))
        assert windows.shape == (2, 3, 64, 64)
        assert torch.allclose(windows[0], windows[1], atol=1e-5)


def test_originals_are_either_trained_on_or_held_out(library: Path) -> None:
    crops = Crops(library, held_out=0.5)
    training = {row.path for row in crops._plain + crops._periodic}
    assert training and crops.validation and not training & {row.path for row in crops.validation}


def test_a_folder_without_manifest_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="make the folder with `python -m training data`"):
        Crops(tmp_path)


def test_tiles_larger_than_the_crops_are_refused(library: Path) -> None:
    with pytest.raises(InputError, match="train on smaller tiles"):
        Crops(library).windows(0, 0, 1, 1024, 1)


# --- autoencoder


def test_all_principal_components_lose_nothing() -> None:
    images = torch.randn(64, 3, 32, 32, generator=generator_of(0, 0)).cumsum(-1).cumsum(-2) / 20
    model = TextureAutoencoder(latent_channels=192)
    set_linear_code(model, images)
    restored = linear_code(model, images) - model.block_decoder.bias[:, None, None]
    centred = images - images.unfold(2, 8, 8).unfold(3, 8, 8).mean((0, 2, 3)).repeat(1, 4, 4)
    assert float((restored - centred).detach().abs().max()) < 1e-3


def test_components_are_scaled_to_a_falling_spectrum_of_unit_power() -> None:
    blocks = np.random.default_rng(0).normal(size=(4000, 12)) * np.linspace(3, 0.1, 12)
    mean, encoder, decoder = principal_components(blocks, 6)
    code = (blocks - mean) @ encoder.T
    deviation = code.std(0)
    assert abs((deviation**2).mean() - 1) < 0.01
    assert (np.diff(deviation) < 0).all()
    own = np.sqrt(np.sort(np.linalg.eigvalsh(np.cov(blocks.T)))[::-1][:6])
    assert np.allclose(deviation / deviation[0], (own / own[0]) ** 0.6, atol=0.02)
    assert np.allclose(encoder @ decoder, np.eye(6), atol=1e-8)


def test_training_begins_at_the_linear_code(library: Path) -> None:
    model = new_autoencoder(Crops(library), 16, seed=0)
    image = Crops(library).windows(0, 0, 1, 64, 1)
    with torch.no_grad():
        assert torch.equal(model.decode(model.encode(image).latents).sample, linear_code(model, image))


def test_the_patch_distance_sees_grain_and_not_its_place() -> None:
    noise = torch.rand(1, 3, 64, 64, generator=generator_of(0, 0)) * 2 - 1
    blurred = torch.nn.functional.avg_pool2d(noise, 3, 1, 1)
    moved = patch_distance(noise.roll(7, -1), noise, generator_of(0, 1))
    softened = patch_distance(blurred, noise, generator_of(0, 1))
    assert float(moved) < 0.2 * float(softened)


# --- pairs


@pytest.mark.parametrize("mode", ["replace", "beside"])
def test_the_target_of_a_pair_reads_what_injection_gives_it(mode: str) -> None:
    unet = new_unet(4, (32, 32, 64)).eval()
    condition = {"encoder_hidden_states": torch.zeros(1, 1, 64)}
    target, exemplar = torch.randn(2, 1, 4, 16, 16, generator=generator_of(0, 0))
    with torch.no_grad(), tapped(unet, condition) as tap:
        with tap.pairing(mode):  # type: ignore[arg-type]
            pair = tap(torch.cat([target, exemplar]), torch.tensor([100, 100]))
        layers = [n.removesuffix(".processor") for n in unet.attn_processors if "attn1" in n]
        layers.sort(key=lambda name: (("down", "mid", "up").index(name.split("_")[0]), name))
        read = exemplar_key_values(tap, [exemplar], 100, layers)
        with tap.injecting(read, mode):  # type: ignore[arg-type]
            injected = tap(target, 100)
        alone = tap(exemplar, 100)
    assert torch.allclose(pair[:1], injected, atol=1e-5)
    assert torch.allclose(pair[1:], alone, atol=1e-5)
    assert not torch.allclose(pair[:1], alone, atol=1e-2)


def test_what_a_sampler_leaves_is_nearer_to_the_latents_than_its_noise(mini: UNetModel, stationary: Path) -> None:
    image = images.read(stationary)[..., :128, :128] * 2 - 1
    latents = mini.autoencoder.encode(image).latents
    for seed in range(3):
        left, again = (as_sampled(mini, latents, generator_of(seed, 0)) for _ in range(2))
        assert torch.equal(left, again)
        generator = generator_of(seed, 0)
        steps = int(torch.randint(1, MOST + 1, (), generator=generator))
        schedule = mini.schedule(STEPS)
        timestep = schedule.last(steps / STEPS)[0]
        level = unit_contrast(latents.flatten(2))
        noise = normal(latents.shape, generator)
        noisy = level.lowered(schedule.noised(level.raised(latents), noise, timestep))
        assert float((left - latents).square().mean()) < 0.98 * float((noisy - latents).square().mean())


def test_the_second_stage_sees_what_the_sampler_leaves(library: Path, mini: UNetModel) -> None:
    latents = torch.randn(2, 16, 8, 8, generator=generator_of(0, 0))
    seen = []
    for share in (0.0, 1.0):
        settings = AutoencoderSettings(batch=2, side=64, patches=1.0, sampled=share)
        codec = copy.deepcopy(mini.autoencoder)
        stage = AutoencoderObjective(Crops(library), codec, settings, 0, torch.device("cpu"), mini)
        seen.append(stage.varied(latents, generator_of(2, 0)))
    generator = generator_of(2, 0)
    torch.rand((), generator=generator)
    assert torch.equal(seen[1], as_sampled(mini, latents, generator)) and not torch.equal(*seen)


# --- the loop


def objective(library: Path, kind: str) -> AutoencoderObjective | UNetObjective:
    crops, cpu = Crops(library), torch.device("cpu")
    torch.manual_seed(0)
    codec = TextureAutoencoder(4, 8, 8, 8, 1, 1)
    if kind == "autoencoder":
        return AutoencoderObjective(crops, codec, AutoencoderSettings(batch=2, side=64), 0, cpu)
    settings = UNetSettings(batch=1, side=64, large_share=0.3)
    return UNetObjective(crops, new_unet(4, (32, 32)), codec, settings, 0, cpu)


@pytest.mark.parametrize("kind", ["autoencoder", pytest.param("unet", marks=pytest.mark.slow)])
def test_a_resumed_run_ends_where_an_unbroken_one_does(library: Path, tmp_path: Path, kind: str) -> None:
    settings = Settings(steps=6, warmup=2, look_every=3)

    def state(out: Path, step: int) -> dict[str, torch.Tensor]:
        saved = torch.load(out / "state.pt", weights_only=True)
        assert saved["step"] == step
        return {**saved["module"], **{str(i): p for i, p in enumerate(saved["average"]["shadow_params"])}}

    seldom = replace(settings, look_every=6)
    train(objective(library, kind), tmp_path / "whole", seldom, resume=False, log=lambda _: None)
    with pytest.raises(KeyboardInterrupt):
        interrupt = lambda _: signal.raise_signal(signal.SIGINT)  # noqa: E731
        train(objective(library, kind), tmp_path / "broken", settings, resume=False, log=interrupt)
    state(tmp_path / "broken", 3)
    train(objective(library, kind), tmp_path / "broken", settings, resume=True, log=lambda _: None)
    whole, resumed = state(tmp_path / "whole", 6), state(tmp_path / "broken", 6)
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
    for name in ("log.csv", "log.png", "sheet.png", "model"):
        assert (tmp_path / "broken" / name).exists()
    with (tmp_path / "broken/log.csv").open() as file:
        assert {row["step"] for row in csv.DictReader(file)} >= {"3", "6"}


def test_training_lowers_the_loss(library: Path, tmp_path: Path) -> None:
    one = objective(library, "autoencoder")
    before = one.validate()["PSNR/autoencoder"]
    train(one, tmp_path, Settings(steps=40, warmup=5, lr=3e-3, look_every=100), resume=False, log=lambda _: None)
    assert one.validate()["PSNR/autoencoder"] > before + 0.2


def test_a_folder_in_use_is_not_trained_over(library: Path, tmp_path: Path) -> None:
    settings = Settings(steps=1, warmup=1)
    train(objective(library, "autoencoder"), tmp_path, settings, resume=False, log=lambda _: None)
    with pytest.raises(OptionError, match="add --resume"):
        train(objective(library, "autoencoder"), tmp_path, settings, resume=False)
    with pytest.raises(InputError, match="of another network"):
        train(objective(library, "unet"), tmp_path, settings, resume=True)


def test_crops_remember_where_they_came_from(library: Path) -> None:
    rows = read_manifest(library / "manifest.csv")
    assert {row.source for row in rows} == {"in"}
    assert all(isinstance(row, Crop) and row.side == 512 and row.scale == 1.0 for row in rows)
    image = Image.open(library.parent / "in" / rows[3].path)
    assert np.array_equal(np.asarray(Image.open(library / rows[3].file)), np.asarray(image))


def test_patches_of_equal_pictures_are_at_no_distance() -> None:
    image = torch.rand(1, 3, 32, 32, generator=generator_of(0, 0))
    assert float(patch_distance(image, image, generator_of(0, 1))) == 0
    assert psnr(image, image) == pytest.approx(80)


# --- the command


def test_a_studio_trains_a_base_of_its_own_and_expands_with_it(library: Path, tmp_path: Path, capsys) -> None:  # type: ignore[no-untyped-def]
    common = ["--data", library, "--look-every", "1", "--side", "64", "--batch", "1", "--steps", "1"]
    vae, network = tmp_path / "vae", tmp_path / "unet"
    assert run_training(capsys, "autoencoder", *common, "--out", vae, "--channels", "8")[0] == 0
    small = ["--autoencoder", vae / "model", "--widths", "32,32,32"]
    assert run_training(capsys, "unet", *common, "--out", network, *small)[0] == 0
    last = ["--out", tmp_path / "vae2", "--init", vae / "model", "--patches", "1", "--sampler", network / "model"]
    assert run_training(capsys, "autoencoder", *common, *last)[0] == 0
    assert "PSNR/sampled" in (tmp_path / "vae2" / "log.csv").read_text()
    weights = "unet/diffusion_pytorch_model.safetensors"
    assert (tmp_path / "vae2/model" / weights).read_bytes() == (network / "model" / weights).read_bytes()
    result = texgen.expand(
        texture(99, 128), 128, model=str(tmp_path / "vae2" / "model"), seed=1, strength=0.1, steps=10
    )
    assert result.image.size == (128, 128)


def test_the_command_refuses_before_training(library: Path, sd_folder: Path, tmp_path: Path, capsys) -> None:  # type: ignore[no-untyped-def]
    out, data = ["--out", tmp_path / "out"], ["--data", library]
    cases = [
        (["data", *out], 2, "no source"),
        (["autoencoder", "--data", tmp_path, *out], 3, "no manifest.csv"),
        (["autoencoder", *data, *out, "--side", "100"], 2, "multiple of 8"),
        (["autoencoder", *data, *out, "--init", "mini", "--sampler", "mini"], 2, "second stage"),
        (["autoencoder", *data, *out, "--init", sd_folder, "--patches", "1", "--sampler", "mini"], 4, "vae"),
        (
            ["autoencoder", *data, *out, "--init", "mini", "--patches", "1", "--sampler", sd_folder],
            2,
            "other latents",
        ),
        (["unet", *data, *out, "--autoencoder", "mini", "--modes", "1,2"], 2, "3 numbers"),
        (["unet", *data, *out, "--autoencoder", "mini", "--widths", "a"], 2, "must be numbers"),
        (["unet", *data, *out, "--autoencoder", tmp_path], 4, "no .safetensors weights"),
    ]
    for arguments, code, message in cases:
        got, _, stderr = run_training(capsys, *arguments)
        assert got == code and message in stderr, (arguments, got, stderr)
    assert not (tmp_path / "out").exists()
