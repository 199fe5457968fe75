"""Textures of the swatch model: options checked, swatches read, field made, pixels shown through it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from texgen import image as images
from texgen import recipe
from texgen.errors import OptionError
from texgen.image import ImageLike
from texgen.interrupt import StopSignals
from texgen.pixels import DTYPES, PixelFile
from texgen.run_folder import RunFolder, agreed_seed, check_folder
from texgen.swatch import settings as presets
from texgen.tasks.checks import check_bits, check_place, check_range, check_tileable, shares_of
from texgen.tasks.clock import Clock
from texgen.tasks.result import Result
from texgen.tasks.size import WRAPS, Tileable, size_of
from texgen.team import join
from tiling import Size

if TYPE_CHECKING:
    from texgen.swatch.bank import Bank
    from texgen.swatch.synthesis import Synthesis

NAME = "swatch"
BAND = 128


def synthesize(
    swatch: ImageLike,
    size: Any,
    *,
    tileable: Tileable = "both",
    preset: str = "standard",
    seed: int | None = None,
    exemplars: Sequence[ImageLike] = (),
    exemplar_weights: Sequence[float] | None = None,
    crop: Sequence[int] | None = None,
    rotate: int = 0,
    exemplar_scale: float = 1.0,
    exemplar_size: int | None = None,
    flatten_light: bool = False,
    symmetry: str = "none",
    start: str | None = None,
    keep: tuple[int, int] | None = None,
    with_map: bool = False,
    bits: int = 8,
    checkpoint: str | Path | None = None,
    resume: bool = False,
    callback: Callable[[Any], None] | None = None,
) -> Result:
    """A texture of a swatch by the swatch model; the keyword arguments are those of `texgen.Options`.

    Raises:
        OptionError, InputError, ResourceError, KeyboardInterrupt: As `texgen.expand`.
    """
    clock, team, wanted = Clock(), join(), size_of(size)
    if team.size > 1:
        raise OptionError(
            "the swatch model uses all cores of one process; leave torchrun out, or choose another --model."
        )
    chosen = presets.choose(preset, start)
    _check(wanted, tileable, symmetry, bits, seed)
    folder = None if checkpoint is None else Path(checkpoint)
    seed = agreed_seed(seed, folder if resume else None, team)
    check_folder(folder, resume, team)
    sources = [swatch, *exemplars]
    shares = shares_of([1] * len(sources) if exemplar_weights is None else exemplar_weights, len(sources))
    preparation = {
        "crop": crop,
        "rotate": rotate,
        "scale": exemplar_scale,
        "size": exemplar_size,
        "flatten_light": flatten_light,
    }
    pictures = [_prepared(s, {**preparation, "crop": crop if i == 0 else None}) for i, s in enumerate(sources)]
    if keep is not None:
        check_place(keep, Size(*pictures[0].shape[:2]), wanted)
    clock.lap("read")

    from texgen.swatch.bank import bank_of  # numba is loaded when everything was checked
    from texgen.swatch.synthesis import Kept, Synthesis, torus_of

    canvas = torus_of(wanted, WRAPS[tileable])
    job = {
        "task": "expand",
        "texgen": recipe.package_version("texgen"),
        "numba": recipe.package_version("numba"),
        "model": NAME,
        "seed": seed,
        "size": list(wanted),
        "tileable": tileable,
        "preset": preset,
        "settings": asdict(chosen),
        "symmetry": symmetry,
        "exemplars": [recipe.swatch_entry(s, p) for s, p in zip(sources, pictures, strict=True)],
        "exemplar_weights": None if exemplar_weights is None else shares,
        "preparation": preparation,
        "bits": bits,
        **({} if keep is None else {"keep": list(keep)}),
    }
    run = RunFolder(folder, job, resume=resume)
    bank = bank_of(pictures, shares, canvas, chosen.patch, symmetry)
    kept = None if keep is None else Kept(0, keep[1], keep[0])
    synthesis = Synthesis(bank, canvas, chosen, seed, run.folder, kept=kept, durable=run.kept)
    clock.lap("load")
    with StopSignals() if run.kept else nullcontext(StopSignals()) as stop:
        for state in synthesis.run():
            if callback is not None:
                callback(state)
            if run.kept and stop.asked:
                raise KeyboardInterrupt
        clock.lap("search")
        pixels = run.pixels((*wanted, 3), bits)
        _render(synthesis, pixels, run, pictures[0], keep, stop)
    clock.lap("render")
    coordinates = _coordinates(synthesis, wanted) if with_map else None
    energy = {name: synthesis.history[name] for name in ("levels", "candidates", "chosen")}
    return Result(
        pixels=pixels,
        latents=None,
        coordinates=coordinates,
        recipe={**job, "repeat": _repeats(bank), "ad_energy": energy},
        timings=clock.laps,
        unfinished=run,
    )


def _check(size: Size, tileable: str, symmetry: str, bits: int, seed: int | None) -> None:
    if min(size) < images.MIN_SIDE:
        raise OptionError(f"size={size} is too small; at least {images.MIN_SIDE} px a side.")
    check_tileable(tileable)
    if symmetry not in presets.SYMMETRIES:
        raise OptionError(f"symmetry={symmetry!r} is not known; choose one of {', '.join(presets.SYMMETRIES)}.")
    check_bits(bits, list(DTYPES))
    check_range("seed", seed, 0, 2**63 - 1)


def _prepared(source: ImageLike, preparation: dict[str, Any]) -> np.ndarray:
    """A swatch as it is used, (H, W, 3), float32, in [0, 1]."""
    pixels = images.read_pixels(source)
    name = Path(source).name if isinstance(source, str | Path) else "swatch"
    if any(preparation[key] for key in ("crop", "rotate", "size", "flatten_light")) or preparation["scale"] != 1:
        import torch

        tensor = torch.from_numpy(np.array(pixels)).permute(2, 0, 1)[None]
        pixels = images.prepare(tensor, name=name, **preparation)[0].permute(1, 2, 0).numpy()
    images.check_side(name, *pixels.shape[:2])
    return np.ascontiguousarray(pixels)


def _render(
    synthesis: Synthesis,
    pixels: PixelFile,
    run: RunFolder,
    swatch: np.ndarray,
    keep: tuple[int, int] | None,
    stop: StopSignals,
) -> None:
    """Show the bank through the field, a band of rows after the other; bands of an earlier run are kept."""
    height, width, channels = pixels.shape
    most = np.iinfo(pixels.dtype).max
    tops = range(0, height, BAND)
    done = run.bands(len(tops))

    def band(index: int) -> None:
        top = tops[index]
        bottom = min(top + BAND, height)
        values = synthesis.shown(top, bottom)[:, :width, :channels]
        if keep is not None:
            first, last = max(top, keep[1]), min(bottom, keep[1] + swatch.shape[0])
            if first < last:
                values[first - top : last - top, keep[0] : keep[0] + swatch.shape[1]] = swatch[
                    first - keep[1] : last - keep[1]
                ]
        pixels.write(top, np.rint(np.clip(values, 0, 1) * most).astype(pixels.dtype))
        done.finish(index)

    missing = [index for index in range(len(tops)) if not done.finished(index)]
    with ThreadPoolExecutor(synthesis.workers) as pool:
        for start in range(0, len(missing), 4 * synthesis.workers):
            list(pool.map(band, missing[start : start + 4 * synthesis.workers]))
            if run.kept and stop.asked:
                raise KeyboardInterrupt


def _repeats(bank: Bank) -> list[dict[str, Any] | None]:
    """What each swatch was found to repeat of itself; None for one of which windows are used."""
    found = {source.exemplar: source.repeat for source in bank.sources if source.turn == 0}
    return [None if repeat is None else {**repeat._asdict(), "wrap": list(repeat.wrap)} for repeat in found.values()]


def _coordinates(synthesis: Synthesis, size: Size) -> np.ndarray:
    """Exemplar, y and x (3, H, W) of every pixel."""
    places = synthesis.bank.origins()
    field = np.asarray(synthesis.result)[: size.height, : size.width]
    return places[:, field >> 16, field & 0xFFFF]
