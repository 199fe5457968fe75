"""The result of a verb: pixels on disk, companion maps, the coordinate map, the recipe."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from texgen.errors import OptionError
from texgen.files import publish, targets
from texgen.files.encoding import Encoding
from texgen.files.pixels import Pixels
from texgen.files.row_writers import Tags
from texgen.materials.material import Material, map_name
from texgen.runs.resume import RunFolder

if TYPE_CHECKING:
    from torch import Tensor

    from texgen.model import Field


@dataclass(frozen=True, kw_only=True)
class Result:
    """A finished texture.

    Attributes:
        pixels: (height, width, channels), with the 1 to 4 channels of the swatch, sRGB-encoded integers or linear floats. They are on disk; slice rows as of an array to read them.
        latents: The canvas that the pixels were decoded from, (1, C, h, w); None with the swatch model.
        coordinates: Origins: exemplar number, y and x in exemplar pixels. With the swatch model (3, height, width), int32, for every
            pixel; with a diffusion model (3, h, w), int64, for every latent pixel of its start, -1 for given pixels that are not from
            the swatch. None if it was not asked for or does not exist.
        recipe: Everything needed to make the texture again; equal runs have equal recipes.
        timings: Seconds per stage.
        unfinished: Folder that held the run. `discard` deletes it; a temporary one is deleted together with this object.
        maps: Companion maps by their names, (height, width, C) at their own depth, on disk like the pixels.
        field: Origins of every pixel, with the swatch model only; more maps can be rendered through it later.
        size_m: Width of the surface that the pixels show, in metres; None if unknown.
        inputs: Files that the texture was made from; no method replaces them.
    """

    pixels: Pixels
    latents: Tensor | None
    coordinates: np.ndarray | Tensor | None
    recipe: dict[str, Any]
    timings: dict[str, float] = dataclasses.field(default_factory=dict)
    unfinished: RunFolder | None = None
    maps: Mapping[str, Pixels] = dataclasses.field(default_factory=dict)
    field: Field | None = None
    size_m: float | None = None
    inputs: frozenset[Path] = frozenset()

    @property
    def density(self) -> float | None:
        """Pixels per metre; None if unknown."""
        return None if self.size_m is None else self.pixels.shape[1] / self.size_m

    def material(self, name: str) -> Material:
        """The picture as a material, with those of its maps whose names are known, such as `normal` or `rough`."""
        maps = {"color": self.pixels}
        for each, values in self.maps.items():
            kind = map_name(f"{name}_{each}")[1]
            if kind is not None:
                maps.setdefault(kind, values)
        return Material(name=name, maps=maps, size_m=self.size_m, inputs=self.inputs)

    @property
    def image(self) -> Image.Image:
        """The whole picture in memory, sRGB-encoded, with 8 bits per channel (Pillow supports no more)."""
        whole = self.pixels[0 : self.pixels.shape[0]]
        if whole.dtype == np.uint16:
            whole = ((whole.astype(np.uint32) + 128) // 257).astype(np.uint8)
        elif whole.dtype != np.uint8:
            own = Encoding.of(whole.dtype, whole.shape[2])
            whole = replace(own, depth="8").stored(own.seen(whole))
        return Image.fromarray(whole[..., 0] if whole.shape[2] == 1 else whole)

    def save(self, path: str | Path, metadata: bool = True, pyramid: bool = False, overwrite: bool = False) -> None:
        """Write the picture with the recipe inside it, a JSON sidecar (`out.png.json`) with recipe and timings, and each map as `out_NAME.png`.

        A map is written in the picture's format if that can hold its depth; otherwise floats are written as EXR and integers as PNG.

        Args:
            path: PNG, TIFF, EXR, JPEG or WebP, by suffix. The first three are written row by row, so that memory does not grow with the picture.
            metadata: Whether to write the recipe.
            pyramid: Whether to add levels of half the size to a TIFF, for viewers.
            overwrite: Whether to replace existing files; those in `inputs` are never replaced.

        Raises:
            OptionError: The suffix is unknown, a file cannot be written there or exists, or the format cannot hold the depth or transparency.
            ResourceError: The disk is full.
        """
        path = Path(path)
        height, width, channels = self.pixels.shape
        targets.check_target(path, height, width, dtype=self.pixels.dtype, channels=channels, pyramid=pyramid)
        sidecar = targets.sidecar_path(path)
        stale = not metadata and targets.is_recipe(sidecar)
        files = targets.files_of(path, self.maps, metadata or stale)
        targets.check_free(files, overwrite, self.inputs)
        tags = Tags(recipe=publish.recipe_text(self.recipe if metadata else None), density=self.density)
        with publish.all_or_none(files):
            publish.save_maps(path, self.maps, tags, pyramid)
            publish.save_image(path, self.pixels, tags, pyramid)
            if stale:
                sidecar.unlink()
            if metadata:
                publish.save_json(sidecar, {**self.recipe, "timings": self.timings})

    def discard(self) -> None:
        """Delete the folder that held the run, and the pixels with it. Call this when everything is saved."""
        if self.unfinished is not None:
            self.unfinished.remove()

    def save_map(self, path: str | Path, overwrite: bool = False) -> None:
        """Write `coordinates` as a float32 TIFF of three pages: exemplar number, y, x.

        Raises:
            OptionError: There is no map, as it was not asked for or the canvas did not start from the swatch; the suffix is not TIFF, or the file exists.
        """
        if self.coordinates is None:
            raise OptionError("there is no coordinate map; ask for it by with_map=True, and do not start from noise.")
        targets.check_new(Path(path), targets.TIFF, overwrite, self.inputs)
        publish.save_map(Path(path), np.asarray(self.coordinates))

    def save_field(self, path: str | Path, overwrite: bool = False) -> None:
        """Write the field as a compressed TIFF, for `texgen render`.

        Raises:
            OptionError: There is no field, because a diffusion model made the texture; the suffix is not TIFF, or the file exists.
        """
        if self.field is None:
            raise OptionError("there is no field; only the swatch model has one.")
        targets.check_new(Path(path), targets.TIFF, overwrite, self.inputs)
        self.field.save(Path(path), self.recipe)
