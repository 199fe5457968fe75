"""The folder of an unfinished run: what is made, pixels so far, which bands of them are done."""

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
"""What is kept on the disk beside each pixel: where it is from, at all scales."""


class RunFolder:
    """A run on disk.

    Args:
        folder: Where; None keeps nothing but what is too large for memory, in a temporary folder.
        job: What is made, as JSON. A folder of another job is refused on `resume`, else emptied.
        resume: Go on with what the folder holds.
        owner: Whether this process may empty the folder; others only read, and write pixels.

    Raises:
        OptionError: `resume` with a folder of another job, or one that cannot be read or holds links.
        ResourceError: The disk is full, or not writable.
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
        """Finished pixels by their name; those of an earlier run are kept."""
        found = PixelFile(self.folder / name, shape, dtype)
        found.keeper = self  # a temporary folder stays as long as any of its pixels
        return found

    def bands(self, count: int, name: str = "bands") -> Bands:
        """Which bands of some pixels are finished."""
        return Bands(self.folder / name, count)

    def remove(self) -> None:
        """Take the folder away."""
        shutil.rmtree(self.folder, ignore_errors=True)


class Bands:
    """A byte a band on disk, 1 where it is finished; several processes may mark different bands."""

    def __init__(self, path: Path, count: int) -> None:
        self.path = path
        with disk_errors(path), path.open("ab") as file:
            if file.tell() < count:
                file.write(bytes(count - file.tell()))

    def finished(self, index: int) -> bool:
        return self.path.read_bytes()[index] == 1

    def finish(self, index: int) -> None:
        """To be called when the band's pixels are on the disk."""
        with disk_errors(self.path), self.path.open("r+b") as file:
            file.seek(index)
            file.write(b"\x01")


def check_run_folder(folder: Path | None, resume: bool, team: Team) -> None:
    """Refuse, before any work, a folder that cannot hold a run.

    Raises:
        OptionError: None where one is needed, a missing parent, or a folder that holds something else.
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
    """Refuse, before any work, what the disk has no room for.

    Args:
        folder: Of the run; None is a temporary one.
        height, width: Of the result in pixels.
        pixel_bytes: Of each.

    Raises:
        ResourceError: As said.
    """
    place = Path(tempfile.gettempdir()) if folder is None else folder.parent
    needed, free = height * width * (pixel_bytes + FIELD_BYTES), shutil.disk_usage(place).free
    if needed > free:
        raise ResourceError(
            f"{place}: {width}x{height} px take about {needed / GIB:.1f} GiB of disk while they are made, {free / GIB:.1f} are free; "
            "make room, or ask for less."
        )


def agreed_seed(seed: int | None, folder: Path | None, team: Team) -> int:
    """The given seed, else that of the run that `folder` holds, else a new one; the same in every process."""
    if seed is None and folder is not None:
        seed = unfinished_seed(folder)
    return team.shared(lambda: secrets.randbits(32) if seed is None else seed)


def unfinished_seed(folder: Path) -> int | None:
    """The seed of the run that a folder holds, if any."""
    try:
        return int(json.loads((folder / JOB).read_text())["seed"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def tell_saving(folder: Path, files: Iterable[Path]) -> None:
    """To be called before the outputs of the run which a folder holds are written; see `saved_names`."""
    save_json(folder / SAVING, {"files": sorted(file.name for file in files)})


def saved_names(folder: Path) -> frozenset[str]:
    """Names of the outputs that the run which a folder holds had begun to write when it was cut off."""
    try:
        return frozenset(json.loads((folder / SAVING).read_text())["files"])
    except (OSError, ValueError, KeyError, TypeError):
        return frozenset()


def differing(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[str]:
    """Entries of what is wanted that are others, or missing, in what was found as JSON."""
    wanted = json.loads(json.dumps(wanted))
    return sorted(key for key in wanted if key not in found or found[key] != wanted[key])


def _read_job(folder: Path) -> dict[str, Any]:
    """What is made in a folder: only files that a run of texgen has written there are gone on with."""
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
