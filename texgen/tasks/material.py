"""The verb `material`: estimate the missing maps of a material from its colour."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from texgen.errors import InputError, OptionError
from texgen.files import image as images
from texgen.files import publish, targets
from texgen.files.image import ImageLike
from texgen.files.inputs import noted
from texgen.files.lock import locked
from texgen.files.pixels import Pixels, as_float, rounded
from texgen.files.row_writers import Tags
from texgen.materials import estimate
from texgen.materials.estimate import Surface
from texgen.materials.knobs import Knobs
from texgen.materials.maps import Map, is_signed
from texgen.materials.material import Material, map_name, read_material
from texgen.materials.preparation import check_side
from texgen.runs.digests import package_version
from texgen.swatch.bank.repeat import carries_on
from texgen.tasks.checks import verb
from texgen.tasks.size import WRAPS
from tiling import Wrap

BLANKS: dict[str, Pixels] = {
    "height": np.zeros((1, 1, 1), np.uint16),
    "normal": np.zeros((1, 1, 3), np.uint16),
    "roughness": np.zeros((1, 1, 1), np.uint8),
    "ao": np.zeros((1, 1, 1), np.uint8),
}
"""Maps that can be estimated, each with one pixel that shows its channels and depth."""


@dataclass(frozen=True)
class Estimated:
    """A material with its maps completed.

    Attributes:
        material: The material with all its maps, given and estimated.
        estimated: Names of the estimated maps.
        recipe: What they were estimated from, and how.
        source: File of the picture; None if it did not come from a file.
    """

    material: Material
    estimated: tuple[str, ...]
    recipe: dict[str, Any]
    source: Path | None = None

    @property
    def maps(self) -> Mapping[str, Pixels]:
        """All maps of the material, by their names."""
        return self.material.maps

    def save(self, path: str | Path, metadata: bool = True, overwrite: bool = False) -> None:
        """Write the material as the picture `path` with its maps beside it; either all files are written or none.

        The maps of `wall.png` are called `wall_height.png` and so on, its recipe `wall.json`; those of `wall_color.png` have the same names. If
        `path` is the picture that the material was read from, only the estimated maps and the recipe are written.

        Raises:
            OptionError: A file cannot be written there, or exists and must not be replaced.
            LockedError: Another run is writing the same files.
            ResourceError: The disk is full.
        """
        path = Path(path)
        places = _places(path, self.source, self.material, metadata, self.estimated, overwrite)
        recipe = publish.recipe_text(self.recipe if metadata else None)
        with locked(path), publish.all_or_none(places):
            for place, name in places.items():
                if name == "recipe":
                    publish.save_json(place, self.recipe)
                else:
                    tags = Tags(recipe=recipe, data=name not in ("color", "emission"), density=self.material.density)
                    publish.save_image(place, self.maps[name], tags)


@verb(more=[Knobs], out="file", metadata="flag", overwrite="flag")
def material(
    image: ImageLike | Material,
    out: str | Path | None = None,
    *,
    metadata: bool = True,
    overwrite: bool = False,
    **options: Any,
) -> Estimated:
    """Estimate height, normal, roughness and ambient occlusion of a colour texture, on the assumption that dark is deep.

    The maps agree with each other: the normals are the slopes of the height, and the occlusion is computed from it. A map that already exists, beside
    the picture's file or in the material, is kept, and the maps that depend on it are computed from it.

    Args:
        image: A colour picture or a `Material`. If it is a file, the maps beside it belong to it (`wall.png`, `wall_normal.png`).
        out: Where to write the picture and its maps, see `Estimated.save`; None writes nothing.
        metadata: Whether to write the recipe, too.
        overwrite: Whether to replace existing files, except the picture and maps that are used. Maps beside the picture that were estimated before are then estimated again.
        **options: See `texgen.materials.knobs.Knobs`.

    Raises:
        InputError: The picture cannot be read, has a side under 64 px, or differs in size from its maps.
        OptionError: An option is out of range, there is nothing to estimate, or a file to be written exists.

    Example:
        >>> made = material(np.full((64, 64, 3), 128, np.uint8))
        >>> made.estimated, made.maps["normal"].shape
        (('height', 'normal', 'roughness', 'ao'), (64, 64, 3))
    """
    knobs = Knobs(**options)
    source = Path(image) if isinstance(image, str | Path) else None
    found = _read(image)
    if overwrite and source is not None:
        before = _estimated_before(source)
        kept = {name: pixels for name, pixels in found.maps.items() if name not in before}
        inputs = frozenset(file for file in found.inputs if map_name(file.stem)[1] not in before)
        found = replace(found, maps=kept, inputs=inputs)
    check_side(found.name, *found.size)
    wanted = _wanted(found, knobs)
    if out is not None:
        blank = replace(found, maps={**found.maps, **{name: BLANKS[name] for name in wanted}})
        _places(Path(out), source, blank, metadata, wanted, overwrite)
    made, about = _estimated(found, wanted, knobs)
    whole = replace(found, maps={**found.maps, **made})
    name = images.name_of(image) if not isinstance(image, Material) else image.name
    height, width = found.size
    recipe = {
        "task": "material",
        "texgen": package_version("texgen"),
        "picture": {"name": name, "width": width, "height": height},
        "given": {each: Map(each, [_whole(pixels)]).entry() for each, pixels in found.maps.items()},
        "estimated": list(wanted),
        **({} if found.size_m is None else {"size_m": found.size_m}),
        **about,
    }
    result = Estimated(whole, wanted, recipe, source)
    if out is not None:
        result.save(out, metadata, overwrite)
    return result


def _wanted(found: Material, knobs: Knobs) -> tuple[str, ...]:
    """Names of the maps to estimate."""
    has_normal = "normal" in found.maps or "normal_dx" in found.maps
    wanted = tuple(name for name in BLANKS if name not in found.maps and not (name == "normal" and has_normal))
    if not wanted:
        raise OptionError(
            f"{found.name}: has all of {', '.join(BLANKS)}; take those away that are to be estimated, or replace earlier estimates with overwrite."
        )
    if has_normal and "height" in wanted and knobs.relief is not None:
        raise OptionError(f"relief={knobs.relief:g}: the given normals say how deep the surface is; leave it out.")
    return wanted


def _read(image: ImageLike | Material) -> Material:
    """The material of a picture: if that is a file, with the maps beside it."""
    if isinstance(image, Material):
        if "color" not in image.maps:
            raise InputError(f"{image.name}: has no colour to estimate from.")
        return image
    if not isinstance(image, str | Path):
        values = images.read_pixels(image)
        deep = getattr(image, "dtype", np.uint8) != np.uint8
        return Material(
            name="material", maps={"color": rounded(values, np.uint16 if deep else np.uint8)}, inputs=noted()
        )
    path = Path(image)
    kind = map_name(path.stem)[1] or "color"
    if not path.is_dir() and kind != "color":
        raise InputError(f"{path}: is a map of {kind} by its name; give the colour picture.")
    found = read_material(path)
    if "color" not in found.maps:
        raise InputError(f"{path}: has no colour to estimate from.")
    if path.is_dir() or found.maps["color"].dtype != np.uint8:
        return found
    colour = rounded(images.read_pixels(path), np.uint8)  # upright and in sRGB
    if len(found.maps) > 1 and colour.shape[:2] != found.size:
        raise InputError(f"{path}: is turned by its EXIF tag, its maps are not; save it upright.")
    return replace(found, maps={**found.maps, "color": colour})


def _estimated_before(path: Path) -> frozenset[str]:
    """Names of the maps beside a picture that an earlier run estimated."""
    try:
        return frozenset(json.loads(_base(path).with_suffix(".json").read_text())["estimated"])
    except (OSError, ValueError, KeyError, TypeError):
        return frozenset()


def _base(path: Path) -> Path:
    """The path of a picture without `_color`; the names of its maps begin with this name."""
    stem, kind = map_name(path.stem)
    if kind not in (None, "color"):
        raise OptionError(f"{path.name}: would be a map of {kind} by its name; give the name of the colour picture.")
    return path.with_name(f"{stem if kind else path.stem}{path.suffix}")


def _whole(pixels: Pixels) -> np.ndarray:
    return pixels[0 : pixels.shape[0]]


def _estimated(found: Material, wanted: tuple[str, ...], knobs: Knobs) -> tuple[dict[str, Pixels], dict[str, Any]]:
    """The wanted maps, and the settings used, for the recipe."""
    brightness = estimate.brightness(_whole(found.maps["color"]))
    if knobs.invert:
        np.negative(brightness, out=brightness)
    if knobs.tileable is None:
        wrap = Wrap(carries_on(brightness[..., None]), carries_on(brightness.T[..., None]))
    else:
        wrap = WRAPS[knobs.tileable]
    surface = _surface(found, brightness, wrap, knobs)
    made: dict[str, Pixels] = {}
    if "height" in wanted:
        made["height"] = rounded(surface.height, np.uint16)[..., None]
        surface = Surface(
            as_float(made["height"])[..., 0], surface.relief, surface.bump_size
        )  # rounded as in the file, so that the other maps match it
    if "normal" in wanted:
        made["normal"] = estimate.normal_of(surface, wrap)
    if "roughness" in wanted:
        rough = estimate.roughness_of(brightness, surface.height, wrap, knobs.roughness, knobs.roughness_contrast)
        made["roughness"] = rounded(rough, np.uint8)[..., None]
    del brightness
    if "ao" in wanted:
        made["ao"] = rounded(estimate.occlusion_of(surface, wrap, knobs.ao), np.uint8)[..., None]
    tileable = next(name for name, axes in WRAPS.items() if axes == wrap)
    used = {"tileable": tileable, "relief": round(surface.relief, 4), "bump_size": round(surface.bump_size, 4)}
    return made, {**asdict(knobs), **used}


def _surface(found: Material, brightness: np.ndarray, wrap: Wrap, knobs: Knobs) -> Surface:
    """The surface: from the given height, else from the given normals, else estimated."""
    size = estimate.bump_size(brightness, wrap) if knobs.bump_size is None else knobs.bump_size
    normal = found.maps.get("normal", found.maps.get("normal_dx"))
    if "height" in found.maps:
        height = as_float(found.maps["height"])[..., 0]
        if found.maps["height"].dtype.kind == "f":
            height = (height - height.min()) / max(float(np.ptp(height)), 1e-6)
        relief = estimate.relief_of(height, wrap) if knobs.relief is None else knobs.relief
        return Surface(height, relief, size)
    if normal is not None:
        vectors = as_float(normal)[..., :3]
        if not is_signed(normal):
            vectors = vectors * 2 - 1
        if "normal" not in found.maps:
            vectors = vectors * np.array([1, -1, 1], np.float32)
        return Surface(*estimate.height_from_normal(vectors, wrap), size)
    surface = estimate.height_of(brightness.copy(), wrap, size)
    return surface if knobs.relief is None else Surface(surface.height, knobs.relief, size)


def _places(
    path: Path, source: Path | None, material: Material, metadata: bool, estimated: tuple[str, ...], overwrite: bool
) -> dict[Path, str]:
    """The files to write and the map in each, last the recipe.

    Raises:
        OptionError: A file cannot be written, or exists and must not be replaced.
    """
    own = source is not None and path.exists() and source.is_file() and path.samefile(source)
    base, maps = _base(path), material.maps
    height, width = material.size
    targets.check_target(path, height, width, dtype=np.uint8 if own else maps["color"].dtype)
    written = {name: maps[name] for name in maps if name != "color" and (name in estimated or not own)}
    targets.check_maps(base, height, width, written)
    found = {targets.map_path(base, name, each.dtype, each.shape[2]): name for name, each in written.items()}
    if not own:
        found[path] = "color"
    if metadata:
        found[base.with_suffix(".json")] = "recipe"
    targets.check_free(list(found), overwrite, material.inputs)
    return found
