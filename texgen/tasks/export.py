"""The verb `export`: write a material in the form that game engines and other programs read."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from texgen.exports import glb, materialx, usd
from texgen.exports.knobs import Knobs
from texgen.exports.pack import Packed, Source, sources_of
from texgen.exports.plan import Plan, Texture, planned
from texgen.exports.profiles import Profile, profiles_of
from texgen.files.folders import check_folder, published_folder
from texgen.files.publish import save_json
from texgen.files.row_writers import Tags, write_image
from texgen.files.targets import SUFFIXES
from texgen.materials.maps import open_map
from texgen.materials.material import Material, read_material
from texgen.runs.digests import package_version
from texgen.tasks.checks import verb

SIDE_FILES = {".glb": glb.write, ".mtlx": materialx.write, ".usda": usd.write}


@dataclass(frozen=True)
class Exported:
    """A material that was exported.

    Attributes:
        folder: The folder that it was written to.
        files: All files written.
        sidecars: Contents of the JSON file of each profile, by its name.
    """

    folder: Path
    files: tuple[Path, ...]
    sidecars: Mapping[str, dict[str, Any]]

    def report(self) -> Iterator[str]:
        """A line for each profile: the number of textures, and the maps that were missing or not used."""
        for name, sidecar in self.sidecars.items():
            count = len(sidecar["textures"])
            said = [f"{count} texture{'s' if count > 1 else ''}"]
            constants = {key: value for each in sidecar["textures"] for key, value in each["constants"].items()}
            said += [f"no {map_name}: {value:g} in its place" for map_name, value in sorted(constants.items())]
            said += [f"left out {', '.join(sidecar['left_out'])}"] if sidecar["left_out"] else []
            said += [f"no place for {', '.join(sidecar['unused'])}"] if sidecar["unused"] else []
            yield f"{name}: {'; '.join(said)}"


@verb(folder="folder", overwrite="flag")
def export(
    material: str | Path | Material,
    folder: str | Path,
    profile: str | Sequence[str] = "standard",
    *,
    size_m: float | None = None,
    texel_density: float | None = None,
    height_m: float | None = None,
    template: str | None = None,
    split: int | None = None,
    overwrite: bool = False,
) -> Exported:
    """Write the textures of a material, packed and named for an engine, and a JSON file that describes them.

    Either all files are written or none. The same input gives the same bytes.

    Args:
        material: One of its pictures, the folder that holds it, or a `Material`.
        folder: The folder to write to; created if it does not exist. Other files in it are left alone.
        profile: A name of `texgen.exports.profiles.PROFILES`, or several, each of which is written to a subfolder of its name.
        size_m: Width of the surface that the maps show, in metres; the material's own by default.
        texel_density: The same in pixels per metre.
        height_m: Height difference between 0 and 1 of the height map, in metres. Without it, MaterialX and USD files do not displace.
        template: Template of the textures' names, such as `{name}_{map}_{size}`; the profile's own by default.
        split: Cut maps with a side of more than this many pixels into UDIM tiles.
        overwrite: Whether to replace existing files; the material's own files are never replaced.

    Raises:
        OptionError: The profile is unknown, a map is larger than the engine takes, a file exists, or the template gives
            two textures the same name.
        InputError: There is no such material.
        ResourceError: The disk is full.

    Example:
        >>> export("wall.png", "out", "unreal,godot", size_m=2.0)  # doctest: +SKIP
    """
    extent: dict[str, Any] = {"size_m": size_m, "texel_density": texel_density, "height_m": height_m}
    knobs = Knobs(profile=[profile] if isinstance(profile, str) else profile, template=template, split=split, **extent)
    wanted, folder = profiles_of(knobs.profile), Path(os.path.abspath(folder))  # noqa: PTH100 (".." is taken away)
    check_folder(folder, ())
    if not isinstance(material, Material):
        material = read_material(material, open_map)
    across = knobs.width_m(material.size[1]) or material.size_m
    jobs: dict[Path, tuple[Plan, dict[str, Source]]] = {}
    for name, row in wanted.items():
        sources = sources_of(material, row.normal)
        plan = planned(
            name, material=material.name, size=material.size, maps=sources, template=knobs.template, size_m=across, split=knobs.split,
            height_m=None if knobs.height_m is None else knobs.height_m * float(np.diff(_span(row, sources))[0]),
        )  # fmt: skip
        jobs[Path(name if len(wanted) > 1 else "")] = plan, sources
    files = [str(place / file) for place, (plan, _) in jobs.items() for file in plan.files]
    check_folder(folder, files, overwrite, material.inputs)
    with published_folder(folder, overwrite, material.inputs) as part:
        sidecars = {plan.name: _written(plan, sources, part / place) for place, (plan, sources) in jobs.items()}
    return Exported(folder, tuple(folder / file for file in files), sidecars)


def check_export(
    folder: Path,
    profile: str,
    name: str,
    size: tuple[int, int],
    maps: Collection[str],
    overwrite: bool,
    inputs: Iterable[Path],
) -> None:
    """Refuse, before any work, what `export` to one profile would refuse later.

    Args:
        folder, profile, overwrite: As in `export`.
        name, size, maps, inputs: As the finished material will have them.

    Raises:
        OptionError: As in `export`.
    """
    plan = planned(profile, material=name, size=size, maps=maps)
    check_folder(folder, plan.files, overwrite, inputs)


def _written(plan: Plan, sources: Mapping[str, Source], folder: Path) -> dict[str, Any]:
    """Write all files of a plan; return the contents of its sidecar."""
    folder.mkdir(exist_ok=True)
    entries = [_texture(plan, texture, sources, folder) for texture in plan.textures]
    sidecar = _about(plan, sources) | {"textures": entries}
    if plan.side_file is not None:
        path = folder / plan.side_file
        SIDE_FILES[path.suffix](path, plan)
        sidecar["material_file"] = {"file": path.name, "sha256": _hash(path)}
    if plan.profile.embedded:
        for texture in plan.textures:
            (folder / texture.file).unlink()
    save_json(folder / plan.sidecar, sidecar)
    return sidecar


def _texture(plan: Plan, texture: Texture, sources: Mapping[str, Source], folder: Path) -> dict[str, Any]:
    output, path = texture.output, folder / texture.file
    packed = Packed(texture.channels, sources, output.dtype, texture.part)
    tags = Tags(data=output.space == "linear", density=plan.density)
    write_image(path, SUFFIXES[output.suffix], packed, tags)
    return {
        "map": output.name,
        "file": plan.side_file if plan.profile.embedded else texture.file,
        "channels": [text.removesuffix("?") for text in output.channels[: len(texture.channels)]],
        "constants": texture.constants(sources),
        "dtype": output.dtype,
        "color_space": output.space,
        **({} if texture.part is None else {"part": list(texture.part)}),
        "dithered": packed.dithered,
        "sha256": _hash(path),
    }


def _about(plan: Plan, sources: Mapping[str, Source]) -> dict[str, Any]:
    (height, width), metres = plan.size, plan.extent if plan.size_m is not None else None
    found: dict[str, Any] = {
        "texgen": package_version("texgen"),
        "profile": plan.name,
        "material": plan.material,
        "size_px": [width, height],
        "size_m": None if metres is None else list(metres),
        "texel_density": plan.density,
        "left_out": list(plan.left_out),
        "unused": list(plan.unused),
    }
    if "normal" in sources:
        found["normal"] = {"y": "up" if plan.profile.normal == "gl" else "down", "flipped": sources["normal"].flipped}
    if "height" in sources:
        found["height"] = {"range": list(_span(plan.profile, sources)), "height_m": plan.height_m}
    return found


def _span(profile: Profile, sources: Mapping[str, Source]) -> tuple[float, float]:
    """The heights that 0 and 1 stand for in a profile's texture."""
    dtypes = [output.dtype for output in profile.outputs if "height" in output.channels]
    return sources["height"].span(dtypes[0]) if dtypes and "height" in sources else (0.0, 1.0)


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
