"""What may be set on the command line alone: where outputs go."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from texgen.exports.profiles import PROFILES
from texgen.knobs import Table, knob


@dataclass(frozen=True, kw_only=True)
class Outputs(Table):
    """What is written, and what is said meanwhile."""

    out: Path = knob(
        Path(), "PNG, TIFF, EXR, JPEG or WebP, by suffix; a folder, for a file of the swatch's name; or - for standard output.", kind="path", everyday=True
    )  # fmt: skip
    variations: int = knob(
        1, "Write OUT-1 ... OUT-N, with seeds that count up.", kind="int", low=1, high=1000, everyday=True
    )
    save_map: Path | None = knob(
        None, "A TIFF of where each pixel, of a diffusion model each latent pixel, came from in the swatch.", kind="path"
    )  # fmt: skip
    save_field: Path | None = knob(
        None, "A TIFF of where all pixels are from, for texgen render (swatch model).", kind="path"
    )
    preview: bool = knob(
        False, "Also write OUT_preview.png: the texture and its maps on a sphere and a plane, and 2x2 repeats.", kind="flag", everyday=True
    )  # fmt: skip
    overwrite: bool = knob(False, "Replace outputs that exist; never an input.", kind="flag", everyday=True)
    profile: Sequence[str] = knob(
        (), f"Also write the textures that an engine takes, to the folder OUT_PROFILE: {', '.join(PROFILES)}.", several=True, everyday=True
    )  # fmt: skip
    pyramid: bool = knob(False, "Halved levels inside a TIFF, for viewers.", kind="flag")
    no_metadata: bool = knob(False, "No recipe in the picture and no JSON beside it.", kind="flag")
    progress: str = knob("auto", "On stderr: a bar, JSON lines or none.", choices=("auto", "bar", "json", "none"))
    quiet: bool = knob(False, "Say nothing on stderr but errors.", kind="flag")
