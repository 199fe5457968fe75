"""Sources of training images: folders, Debian packages, and archives inside them."""

from __future__ import annotations

import io
import subprocess
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from texgen.errors import InputError, ResourceError

SUFFIXES = (".png", ".jpg", ".jpeg", ".tga", ".bmp", ".webp", ".tif", ".tiff", ".dds", ".rgb", ".pat")
ARCHIVES = (".zip", ".pk3", ".pk4", ".wz")

PACKAGES = {
    "0ad-data": "CC-BY-SA-3.0",
    "colobot-common-textures": "GPL-3+",
    "extremetuxracer-data": "GPL-2+",
    "flightgear-data-base": "GPL-2+",
    "gimp-data": "GPL-3+",
    "krita-data": "GPL-2+, LGPL-2+, CC0-1.0, CC-BY-SA-3.0",
    "mate-backgrounds": "CC-BY-SA-4.0, GPL-2+",
    "megaglest-data": "CC-BY-SA-3.0",
    "mypaint-data-extras": "CC0-1.0, GPL-2+",
    "nexuiz-textures": "GPL-2+",
    "openarena-081-textures": "GPL-2+",
    "openarena-088-data": "GPL-2+",
    "plasma-workspace-wallpapers": "GPL-2+",
    "redeclipse-data": "CC-BY-SA-3.0, CC-BY-3.0, CC0-1.0",
    "scorched3d-data": "GPL-2+, CC-BY-SA-3.0, public domain",
    "torcs-data": "GPL-2+, Free Art License",
    "ufoai-textures": "GPL-2+, GPL-3+, CC-BY-SA-3.0, CC-BY-3.0, public domain",
    "warzone2100-data": "GPL-2+, CC-BY-SA-3.0, CC0-1.0",
}
"""Debian packages with textures under free licences, and the licences according to their copyright files. supertuxkart-data is
left out on purpose: the test swatches come from it."""


class SourceImage(NamedTuple):
    """One image file and its origin."""

    source: str
    """Package or folder."""
    version: str
    licence: str
    path: str
    """Path in the source; `archive!/member` in an archive."""
    content: bytes


def fetch(folder: Path) -> list[Path]:
    """Download the packages of `PACKAGES` that are not in `folder` yet, with apt.

    Raises:
        ResourceError: apt-get is missing or failed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    missing = [name for name in PACKAGES if not any(folder.glob(f"{name}_*.deb"))]
    if missing:
        try:
            done = subprocess.run(["apt-get", "download", *missing], cwd=folder, capture_output=True, text=True)
        except FileNotFoundError as error:
            raise ResourceError("apt-get was not found; give folders of images or .deb files instead.") from error
        if done.returncode:
            raise ResourceError(f"apt-get download failed: {done.stderr.strip().splitlines()[-1]}")
    return sorted(path for name in PACKAGES for path in folder.glob(f"{name}_*.deb"))


def images(source: Path) -> Iterator[SourceImage]:
    """Every image file of a folder or a Debian package, including those in archives.

    Raises:
        InputError: The source is neither a folder nor a .deb file, or dpkg-deb cannot open it.
    """
    about = origin(source)
    files: Iterator[tuple[str, bytes]]
    if source.is_dir():
        files = ((str(p.relative_to(source)), p.read_bytes()) for p in sorted(source.rglob("*")) if p.is_file())
    else:
        files = _package_files(source)
    for path, content in files:
        yield from (SourceImage(*about, member, data) for member, data in _opened(path, content))


def origin(source: Path) -> tuple[str, str, str]:
    """Name, version and licence of a source; the last two are empty for a folder.

    Raises:
        InputError: The source is neither a folder nor a .deb file.
    """
    if source.is_dir():
        return source.name, "", ""
    if source.suffix == ".deb" and source.is_file():
        name, version = source.name.split("_")[:2]
        return name, version.replace("%3a", ":"), PACKAGES.get(name, "unknown")
    raise InputError(f"{source}: give a folder of images or a Debian package (.deb).")


def _package_files(package: Path) -> Iterator[tuple[str, bytes]]:
    with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", package], stdout=subprocess.PIPE) as unpacked:
        try:
            with tarfile.open(fileobj=unpacked.stdout, mode="r|") as archive:
                for member in archive:
                    wanted = PurePosixPath(member.name).suffix.lower() in SUFFIXES + ARCHIVES
                    file = archive.extractfile(member) if member.isfile() and wanted else None
                    if file is not None:
                        yield member.name.removeprefix("./"), file.read()
        except tarfile.TarError as error:
            raise InputError(f"{package}: dpkg-deb cannot open it ({error}).") from error


def _opened(path: str, content: bytes) -> Iterator[tuple[str, bytes]]:
    suffix = PurePosixPath(path).suffix.lower()
    if suffix in SUFFIXES:
        yield path, content
    elif suffix in ARCHIVES and zipfile.is_zipfile(io.BytesIO(content)):
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            for member in archive.infolist():
                if PurePosixPath(member.filename).suffix.lower() in SUFFIXES:
                    yield f"{path}!/{member.filename}", archive.read(member)
