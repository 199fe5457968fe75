"""The plan of an export: what it will write, checked and named before any work."""

from __future__ import annotations

import string
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from texgen.errors import OptionError
from texgen.exports.profiles import MISSING, PROFILES, Channel, Output, Profile

FIRST_UDIM, UDIM_COLUMNS = 1001, 10
FIELDS = ("name", "map", "size", "size_lower", "width", "height")
"""Fields of a template of names; the size is spelled like `4K` or `1000x500`."""


@dataclass(frozen=True)
class Texture:
    """A texture that will be written.

    Attributes:
        output: The texture's entry in the profile.
        file: Name of its file.
        channels: Its channels, without optional ones whose map the material lacks.
        part: The part of the material that it shows, (top, left, height, width) in pixels; None for all.
    """

    output: Output
    file: str
    channels: tuple[Channel, ...]
    part: tuple[int, int, int, int] | None = None

    def constants(self, maps: Collection[str]) -> dict[str, float]:
        """Constants that the channels hold instead of maps that the material lacks, by map."""
        return {each.map: MISSING[each.map] for each in self.channels if each.map and each.map not in maps}


@dataclass(frozen=True, kw_only=True)
class Plan:
    """An export of a material by one profile.

    Attributes:
        name: Name of the profile.
        profile: The profile.
        material: Name of the material.
        size: (height, width) in pixels.
        size_m: Width of the surface that the maps show, in metres; None if unknown.
        height_m: Difference in height between 0 and 1 of the height map, in metres; None if unknown.
        maps: Names of the material's maps.
        textures: Textures that will be written.
        left_out: Names of textures for which the material has no map.
        unused: Maps that the profile has no place for.
    """

    name: str
    profile: Profile
    material: str
    size: tuple[int, int]
    size_m: float | None
    height_m: float | None
    maps: frozenset[str]
    textures: tuple[Texture, ...]
    left_out: tuple[str, ...]
    unused: tuple[str, ...]

    @property
    def sidecar(self) -> str:
        return f"{self.material}.json"

    @property
    def side_file(self) -> str | None:
        return None if self.profile.side_file is None else f"{self.material}{self.profile.side_file}"

    @property
    def files(self) -> tuple[str, ...]:
        """Names of all files, without their folder."""
        loose = [] if self.profile.embedded else [texture.file for texture in self.textures]
        return (*loose, *([] if self.side_file is None else [self.side_file]), self.sidecar)

    @property
    def extent(self) -> tuple[float, float]:
        """(width, height) of one repeat, in metres if known, else relative to the width."""
        height, width = self.size
        across = 1.0 if self.size_m is None else self.size_m
        return across, across * height / width

    @property
    def density(self) -> float | None:
        """Pixels per metre; None if unknown."""
        return None if self.size_m is None else self.size[1] / self.size_m


def planned(
    name: str,
    *,
    material: str,
    size: tuple[int, int],
    maps: Collection[str],
    template: str | None = None,
    size_m: float | None = None,
    height_m: float | None = None,
    split: int | None = None,
) -> Plan:
    """Plan the export of a material by a profile.

    Args:
        name, material, size, size_m, height_m: See `Plan`.
        maps: Names of the material's maps, see `pack.sources_of`.
        template: Template of the textures' names, with fields of `FIELDS`; the profile's own by default.
        split: Largest side of a texture in pixels; larger ones are cut into a grid, see `udims`.

    Raises:
        OptionError: The material is too large for the engine or cannot be cut evenly, the template gives an invalid name or one name twice,
            or there is no texture to write.
    """
    profile, parts = PROFILES[name], udims(size, split or max(size))
    height, width = size if len(parts) == 1 else parts[FIRST_UDIM][2:]
    if profile.cap is not None and max(height, width) > profile.cap:
        raise OptionError(
            f"{material} is {size[1]}x{size[0]} px; {name} takes at most {profile.cap} px a side ({profile.cap_reason}): "
            f"make or resize the maps to {profile.cap} px or less, or cut them into UDIM tiles with split={profile.cap}."
        )
    if len(parts) > 1 and profile.side_file is not None:
        raise OptionError(
            f"split={split}: {name} is a material of whole textures; leave it out, or choose another profile."
        )
    textures, left_out = [], []
    for output in profile.outputs:
        channels = [Channel.of(text) for text in output.channels]
        if not any(channel.map in maps and not channel.optional for channel in channels):
            left_out.append(output.name)
            continue
        kept = tuple(channel for channel in channels if channel.map in maps or not channel.optional)
        stem = file_name(template or profile.template, material, output.name, size)
        if len(parts) == 1:
            textures.append(Texture(output, stem + output.suffix, kept))
        else:
            textures += [
                Texture(output, f"{stem}.{number}{output.suffix}", kept, part) for number, part in parts.items()
            ]
    used = {channel.map for texture in textures for channel in texture.channels}
    plan = Plan(
        name=name, profile=profile, material=material, size=size, size_m=size_m, height_m=height_m, maps=frozenset(maps),
        textures=tuple(textures), left_out=tuple(left_out), unused=tuple(sorted(set(maps) - used)),
    )  # fmt: skip
    _check(plan, template or profile.template)
    return plan


def udims(size: tuple[int, int], most: int) -> dict[int, tuple[int, int, int, int]]:
    """The parts (top, left, height, width) of a picture by their UDIM: 1001 is at the bottom left, 1002 to its right, 1011 above it.

    Args:
        size: (height, width) in pixels.
        most: Largest side of a part.

    Raises:
        OptionError: There would be more than ten columns, or parts of different sizes.

    Example:
        >>> udims((512, 1024), 512)
        {1001: (0, 0, 512, 512), 1002: (0, 512, 512, 512)}
    """
    rows, columns = (-(-side // most) for side in size)
    if columns > UDIM_COLUMNS or size[0] % rows or size[1] % columns:
        raise OptionError(
            f"split={most}: {size[1]}x{size[0]} px cannot be cut into at most {UDIM_COLUMNS} columns of equal parts; choose another."
        )
    height, width = size[0] // rows, size[1] // columns
    return {
        FIRST_UDIM + column + UDIM_COLUMNS * (rows - 1 - row): (row * height, column * width, height, width)
        for row in range(rows)
        for column in range(columns)
    }


def _check(plan: Plan, template: str) -> None:
    if not plan.textures:
        raise OptionError(f"{plan.material}: has no map that {plan.name} takes, only {', '.join(sorted(plan.maps))}.")
    file_name("{name}", plan.material, "", plan.size)
    names = [texture.file.lower() for texture in plan.textures]
    if len(set(names)) < len(names):
        raise OptionError(f"template={template!r} gives two textures one name; put {{map}} in it.")


def file_name(template: str, material: str, texture: str, size: tuple[int, int]) -> str:
    """A texture's name, without suffix, from a template.

    Raises:
        OptionError: The template has unknown fields, or gives an invalid file name.

    Example:
        >>> file_name("T_{name}_{map}_{size}", "wall", "BC", (4096, 4096))
        'T_wall_BC_4K'
    """
    height, width = size
    said = size_name(size)
    values: dict[str, Any] = {
        "name": material, "map": texture, "size": said, "size_lower": said.lower(), "width": width, "height": height
    }  # fmt: skip
    try:
        fields = {field for _, field, _, _ in string.Formatter().parse(template) if field is not None}
        made = string.Formatter().vformat(template, (), values) if fields <= set(FIELDS) else None
    except (ValueError, TypeError):
        made = None
    if made is None:
        raise OptionError(f"template={template!r} may hold the fields {', '.join(f'{{{f}}}' for f in FIELDS)} only.")
    if not made or made.startswith(".") or any(letter in '/\\:*?"<>|' or not letter.isprintable() for letter in made):
        raise OptionError(
            f'template={template!r} makes {made!r}, which is no file name on every system; leave / \\ : * ? " < > | out.'
        )
    return made


def size_name(size: tuple[int, int]) -> str:
    """A size as it is spelled in the names of textures.

    Example:
        >>> size_name((4096, 4096)), size_name((512, 512)), size_name((1024, 2048))
        ('4K', '512x512', '2048x1024')
    """
    height, width = size
    return f"{width // 1024}K" if height == width and width % 1024 == 0 else f"{width}x{height}"
