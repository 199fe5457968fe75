"""Gathering of training crops: decode images, cut and filter crops, drop near-duplicates, write a manifest."""

from __future__ import annotations

import io
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image

from texgen.files.publish import publish
from training.manifest import Crop, read_manifest, write_manifest
from training.sources import SUFFIXES, SourceImage, images, origin
from training.suitable import NOT_TEXTURES, cuts, decode, shifted_likeness, thumbnail, unsuitable

Candidates = tuple[list[tuple[Crop, np.ndarray]], Counter[str]]


def gather(
    sources: Iterable[Path],
    out: Path,
    unseen: Iterable[np.ndarray] = (),
    *,
    workers: int = 2,
    log: Callable[[str], None] = print,
) -> list[Crop]:
    """Write the crops of `sources` as PNG files into `out`, and `manifest.csv` with the origin of each.

    If killed, a second call continues after the last finished source.

    Args:
        sources: Folders of images and Debian packages.
        out: Folder; created if missing.
        unseen: Swatches (H, W, 3), uint8, that no crop may show.
        workers: Processes that decode and filter.
        log: Called with a line per source: number of crops kept, and of those left out by reason.

    Returns:
        The rows of the manifest.
    """
    out.mkdir(parents=True, exist_ok=True)
    manifest = out / "manifest.csv"
    rows = read_manifest(manifest) if manifest.exists() else []
    finished = {(row.source, row.version) for row in rows}
    swatches = [thumbnail(image) for image in unseen]
    seen = [thumbnail(np.asarray(Image.open(out / row.file))) for row in rows]
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        for source in sources:
            name, version, _ = origin(source)
            if (name, version) in finished:
                log(f"{name}: done before")
                continue
            reasons: Counter[str] = Counter()
            for kept, left in _ahead(pool, candidates, images(source), 4 * workers):
                reasons.update(left)
                for crop, pixels in kept:
                    small = thumbnail(pixels)
                    reason = _known(small, seen, swatches)
                    reasons[reason] += 1
                    if reason == "kept":
                        seen.append(small)
                        rows.append(replace(crop, file=f"{len(rows):06d}.png"))
                        _save(out / rows[-1].file, pixels)
            write_manifest(manifest, rows)
            log(f"{name}: " + ", ".join(f"{reason} {count}" for reason, count in reasons.most_common()))
    return rows


def read_swatches(folder: Path) -> list[np.ndarray]:
    """All images of a folder, (H, W, 3) uint8."""
    files = sorted(p for p in folder.iterdir() if p.suffix.lower() in SUFFIXES)
    return [np.array(Image.open(p).convert("RGB")) for p in files]


def candidates(image: SourceImage) -> tuple[list[tuple[Crop, np.ndarray]], Counter[str]]:
    """The crops of one image that are usable textures, and counts of the reasons why others are not."""
    if NOT_TEXTURES.search(PurePosixPath(image.path).with_suffix("").as_posix()):
        return [], Counter(["name"])
    pixels = decode(image.content)
    if isinstance(pixels, str):
        return [], Counter([pixels])
    kept, reasons = [], Counter[str]()
    for left, top, scale, period, crop in cuts(pixels):
        if reason := unsuitable(crop):
            reasons[reason] += 1
        else:
            about = (image.source, image.version, image.licence, image.path)
            kept.append((Crop("", *about, left, top, crop.shape[0], scale, period), crop))
    return kept, reasons


def _ahead(
    pool: ProcessPoolExecutor, function: Callable[[SourceImage], Candidates], items: Iterable[SourceImage], depth: int
) -> Iterator[Candidates]:
    """Like `pool.map`, in order, with at most `depth` items in memory."""
    waiting: deque[Future[Candidates]] = deque()
    for item in items:
        waiting.append(pool.submit(function, item))
        if len(waiting) >= depth:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


def _known(small: np.ndarray, seen: list[np.ndarray], swatches: list[np.ndarray]) -> str:
    if any(shifted_likeness(small, swatch) > 0.8 for swatch in swatches):
        return "shows an unseen swatch"
    if seen and float((np.asarray(seen).reshape(len(seen), -1) @ small.ravel()).max()) > 0.97:
        return "near-duplicate"
    return "kept"


def _save(path: Path, pixels: np.ndarray) -> None:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", compress_level=1)
    publish(path, buffer.getvalue())
