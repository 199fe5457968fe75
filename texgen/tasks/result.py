"""What a task gives back: pixels on disk, latents, the map, the recipe."""

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
    """An expanded texture.

    Attributes:
        pixels: (height, width, channels), of 1 to 4 channels as the swatch has them, integers sRGB-encoded or floats of linear light, on disk: slices of rows read it, as they would an array.
        latents: The canvas it was decoded from, (1, C, h, w); None of the swatch model, which has none.
        coordinates: Where it came from: exemplar number, y and x in exemplar pixels. Of the swatch model (3, height, width), int32, for every
            pixel; of a diffusion model (3, h, w), int64, for every latent pixel of its start, -1 for what was given and is not the
            swatch's own. None where it was not asked for, or there is none.
        recipe: Everything needed to make it again; equal for equal runs.
        timings: Seconds per stage.
        unfinished: The folder that held the run; it goes with `discard`, or with this object where it is temporary.
        maps: Companion maps by their names, (height, width, C) at their own depth, on disk like the pixels.
        field: Of the swatch model: where every pixel is from, to show more maps through later.
        size_m: Width of the surface that the pixels show, in metres; None where it is not known.
        inputs: The files that it was made from, which nothing that is saved replaces.
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
        """Pixels a metre; None where that is not known."""
        return None if self.size_m is None else self.pixels.shape[1] / self.size_m

    def material(self, name: str) -> Material:
        """The picture, and those of its maps whose names are known, such as `normal` or `rough`."""
        maps = {"color": self.pixels}
        for each, values in self.maps.items():
            kind = map_name(f"{name}_{each}")[1]
            if kind is not None:
                maps.setdefault(kind, values)
        return Material(name=name, maps=maps, size_m=self.size_m, inputs=self.inputs)

    @property
    def image(self) -> Image.Image:
        """The whole picture in memory, as it is seen, with 8 bits a channel (Pillow has no more)."""
        whole = self.pixels[0 : self.pixels.shape[0]]
        if whole.dtype == np.uint16:
            whole = ((whole.astype(np.uint32) + 128) // 257).astype(np.uint8)
        elif whole.dtype != np.uint8:
            own = Encoding.of(whole.dtype, whole.shape[2])
            whole = replace(own, depth="8").stored(own.seen(whole))
        return Image.fromarray(whole[..., 0] if whole.shape[2] == 1 else whole)

    def save(self, path: str | Path, metadata: bool = True, pyramid: bool = False, overwrite: bool = False) -> None:
        """Write the picture by suffix, the recipe inside it, a JSON sidecar (`out.png.json`) with timings, and each map as `out_NAME.png`.

        A map goes into the picture's own format where that holds its depth, else floats into EXR and integers into PNG.

        Args:
            path: PNG, TIFF, EXR, JPEG or WebP. The first three are written in rows: memory does not grow with the picture.
            metadata: Whether to write the recipe.
            pyramid: Give a TIFF halved levels, for viewers.
            overwrite: Whether to replace files that exist; never those of `inputs`.

        Raises:
            OptionError: A suffix or place that cannot be written, a file that exists; a depth, or transparency, that the format does not hold.
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
        """Take away the folder that held the run, and the pixels with it; to be called when all is saved."""
        if self.unfinished is not None:
            self.unfinished.remove()

    def save_map(self, path: str | Path, overwrite: bool = False) -> None:
        """Write `coordinates` as a float32 TIFF of three pages: exemplar number, y, x.

        Raises:
            OptionError: It was not asked for, or the canvas did not start from the swatch; no TIFF, or a file that exists.
        """
        if self.coordinates is None:
            raise OptionError("there is no coordinate map; ask for it by with_map=True, and do not start from noise.")
        targets.check_new(Path(path), targets.TIFF, overwrite, self.inputs)
        publish.save_map(Path(path), np.asarray(self.coordinates))

    def save_field(self, path: str | Path, overwrite: bool = False) -> None:
        """Write the field as a compressed TIFF, for `texgen render`.

        Raises:
            OptionError: There is none, as a diffusion model made this; no TIFF, or a file that exists.
        """
        if self.field is None:
            raise OptionError("there is no field; only the swatch model has one.")
        targets.check_new(Path(path), targets.TIFF, overwrite, self.inputs)
        self.field.save(Path(path), self.recipe)
