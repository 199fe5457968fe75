"""The folder of an unfinished run: its job, its pixels so far, and which bands of them are done."""

from __future__ import annotations

import json
import secrets
import shutil
import tempfile
import weakref
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy.typing as npt

from texgen.errors import OptionError, ResourceError, disk_errors
from texgen.files.pixels import PixelFile
from texgen.files.publish import save_json
from texgen.runs.torchrun import Team

JOB, SAVING = "job.json", "saving.json"
FIELD_BYTES, GIB = 12, 2**30
"""Bytes on disk per pixel besides its channels: its origins at all scales."""


class RunFolder:
    """A run on disk.

    Args:
        folder: Its folder. None uses a temporary folder, and only for data that is too large for memory.
        job: Description of the work, as JSON. With `resume`, a folder of a different job is refused; otherwise the folder is emptied.
        resume: Whether to continue with what the folder holds.
        owner: Whether this process may empty the folder. Other processes only read it, and write pixels.

    Raises:
        OptionError: With `resume`, the folder belongs to a different job, cannot be read, or holds links.
        ResourceError: The disk is full or not writable.
    """

    def __init__(self, folder: Path | None, job: Mapping[str, Any], *, resume: bool, owner: bool = True) -> None:
        self.kept = folder is not None
        with disk_errors(folder or Path(tempfile.gettempdir())):
            self.folder = folder or Path(tempfile.mkdtemp(prefix="texgen-"))
        if folder is None:
            weakref.finalize(self, shutil.rmtree, self.folder, ignore_errors=True)
        self.owner = owner
        wanted = json.loads(json.dumps(job))
        if resume and (self.folder / JOB).exists():
            _check_same(self.folder, _read_job(self.folder), wanted)
        elif owner and self.kept:
            self.remove()
            with disk_errors(self.folder):
                self.folder.mkdir()
            save_json(self.folder / JOB, wanted)

    def pixels(self, shape: tuple[int, int, int], dtype: npt.DTypeLike, name: str = "pixels") -> PixelFile:
        """File of pixels, by its name. Pixels of an earlier run stay in it."""
        found = PixelFile(self.folder / name, shape, dtype)
        found.keeper = self  # a temporary folder lives as long as any of its pixels
        return found

    def bands(self, count: int, name: str = "bands") -> Bands:
        """Record of which bands of a file of pixels are finished."""
        return Bands(self.folder / name, count)

    def remove(self) -> None:
        """Delete the folder."""
        shutil.rmtree(self.folder, ignore_errors=True)


class Bands:
    """A file with one byte per band, 1 if the band is finished. Several processes may mark different bands."""

    def __init__(self, path: Path, count: int) -> None:
        self.path = path
        with disk_errors(path), path.open("ab") as file:
            if file.tell() < count:
                file.write(bytes(count - file.tell()))

    def finished(self, index: int) -> bool:
        return self.path.read_bytes()[index] == 1

    def finish(self, index: int) -> None:
        """Mark a band as finished. Call this once its pixels are on disk."""
        with disk_errors(self.path), self.path.open("r+b") as file:
            file.seek(index)
            file.write(b"\x01")


def check_run_folder(folder: Path | None, resume: bool, team: Team) -> None:
    """Refuse a folder that cannot hold a run, before any work.

    Raises:
        OptionError: A folder is needed but None is given, its parent is missing, or it holds something else.
    """
    if folder is None:
        if resume or team.size > 1:
            raise OptionError(
                f"{'resume' if resume else 'a team of processes'} needs checkpoint, the folder of the run."
            )
        return
    if not folder.parent.is_dir():
        raise OptionError(f"{folder.parent}: no such folder; make it first.")
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        raise OptionError(f"{folder}: is no folder, where an unfinished run goes; remove it.")
    if folder.exists() and not (folder / JOB).exists() and any(folder.iterdir()):
        raise OptionError(f"{folder}: holds something else than an unfinished run; choose another checkpoint.")


def check_room(folder: Path | None, height: int, width: int, pixel_bytes: int) -> None:
    """Check, before any work, that the disk has room for a run.

    Args:
        folder: Folder of the run; None is a temporary one.
        height, width: Size of the result in pixels.
        pixel_bytes: Bytes per pixel.

    Raises:
        ResourceError: There is too little room.
    """
    place = Path(tempfile.gettempdir()) if folder is None else folder.parent
    needed, free = height * width * (pixel_bytes + FIELD_BYTES), shutil.disk_usage(place).free
    if needed > free:
        raise ResourceError(
            f"{place}: {width}x{height} px take about {needed / GIB:.1f} GiB of disk while they are made, {free / GIB:.1f} are free; "
            "make room, or ask for less."
        )


def agreed_seed(seed: int | None, folder: Path | None, team: Team) -> int:
    """The seed of a run, the same in every process: the given one, else that of the unfinished run in `folder`, else a random one."""
    if seed is None and folder is not None:
        seed = unfinished_seed(folder)
    return team.shared(lambda: secrets.randbits(32) if seed is None else seed)


def unfinished_seed(folder: Path) -> int | None:
    """The seed of the unfinished run in a folder; None if there is none."""
    try:
        return int(json.loads((folder / JOB).read_text())["seed"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def tell_saving(folder: Path, files: Iterable[Path]) -> None:
    """Note in the folder of a run which outputs are about to be written, for `saved_names`. Call this before writing them."""
    save_json(folder / SAVING, {"files": sorted(file.name for file in files)})


def saved_names(folder: Path) -> frozenset[str]:
    """Names of the outputs that the unfinished run in a folder had started to write."""
    try:
        return frozenset(json.loads((folder / SAVING).read_text())["files"])
    except (OSError, ValueError, KeyError, TypeError):
        return frozenset()


def differing(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[str]:
    """Keys of `wanted` whose values are missing in `found`, which comes from JSON, or differ there."""
    wanted = json.loads(json.dumps(wanted))
    return sorted(key for key in wanted if key not in found or found[key] != wanted[key])


def _read_job(folder: Path) -> dict[str, Any]:
    """The job of the unfinished run in a folder. A folder that holds links is refused, because texgen writes none."""
    if links := [path for path in folder.rglob("*") if path.is_symlink()]:
        raise OptionError(
            f"{links[0]}: is a link in the folder of an unfinished run; leave --resume out to begin anew."
        )
    try:
        found = json.loads((folder / JOB).read_text())
    except (OSError, ValueError) as error:
        raise OptionError(f"{folder / JOB}: cannot be read; leave --resume out to begin anew.") from error
    if not isinstance(found, dict):
        raise OptionError(f"{folder / JOB}: tells of no run; leave --resume out to begin anew.")
    return found


def _check_same(folder: Path, found: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    others = sorted({*differing(found, wanted), *differing(wanted, found)})
    if others:
        raise OptionError(
            f"{folder}: the unfinished run has other {', '.join(others)}; give the same options, or leave --resume out."
        )
