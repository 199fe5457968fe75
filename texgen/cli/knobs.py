"""Options of the command line only: outputs and messages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from texgen.exports.profiles import PROFILES
from texgen.knobs import Table, knob


@dataclass(frozen=True, kw_only=True)
class Outputs(Table):
    """Options for the files that are written and the messages on stderr."""

    out: Path = knob(
        Path(), "PNG, TIFF, EXR, JPEG or WebP file, by suffix; or a folder, for a file named after the swatch; or - for standard output.", kind="path", everyday=True
    )  # fmt: skip
    variations: int = knob(
        1, "Write OUT-1 ... OUT-N, with consecutive seeds.", kind="int", low=1, high=1000, everyday=True
    )
    save_map: Path | None = knob(
        None, "Also write a TIFF of where in the swatch each pixel came from; each latent pixel with a diffusion model.", kind="path"
    )  # fmt: skip
    save_field: Path | None = knob(
        None, "Also write a TIFF of where all pixels came from, for texgen render (swatch model).", kind="path"
    )
    preview: bool = knob(
        False, "Also write OUT_preview.png: the texture and its maps on a sphere and a plane, and 2x2 repeats.", kind="flag", everyday=True
    )  # fmt: skip
    overwrite: bool = knob(False, "Replace outputs that exist; never an input.", kind="flag", everyday=True)
    profile: Sequence[str] = knob(
        (), f"Also write the textures that an engine takes, to the folder OUT_PROFILE: {', '.join(PROFILES)}.", several=True, everyday=True
    )  # fmt: skip
    pyramid: bool = knob(False, "Add levels of half the size to a TIFF, for viewers.", kind="flag")
    no_metadata: bool = knob(False, "Write no recipe into the picture and no JSON beside it.", kind="flag")
    progress: str = knob(
        "auto", "Progress on stderr: a bar, JSON lines or none.", choices=("auto", "bar", "json", "none")
    )
    quiet: bool = knob(False, "Print only errors on stderr.", kind="flag")
