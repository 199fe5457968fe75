"""The table of export profiles: which files each engine or library takes, and what their channels hold."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np

from texgen.errors import OptionError

MISSING = {"ao": 1.0, "roughness": 0.5, "metalness": 0.0}
"""Constants that a packed texture holds in place of a map that the material lacks."""
SPELLING = re.compile(r"(?P<inverted>1-)?(?P<map>[a-z]+)(\.(?P<letter>[rgb]))?(?P<optional>\?)?")


class Channel(NamedTuple):
    """What one channel of a texture holds.

    Attributes:
        map: Name of a map; empty for a constant.
        place: Index of the map's channel: 0, 1 or 2 for r, g or b.
        inverted: Whether the channel is 1 minus that of the map.
        optional: Whether the channel is dropped if the material lacks the map.
        constant: Value of a constant.
    """

    map: str
    place: int = 0
    inverted: bool = False
    optional: bool = False
    constant: float = 0.0

    @classmethod
    def of(cls, text: str) -> Channel:
        """Parse the spelling of a channel in the table.

        Example:
            >>> Channel.of("1-roughness")
            Channel(map='roughness', place=0, inverted=True, optional=False, constant=0.0)
            >>> Channel.of("color.b").place, Channel.of("opacity?").optional, Channel.of("1").constant
            (2, True, 1.0)
        """
        found = SPELLING.fullmatch(text)
        if found is None:
            return cls("", constant=float(text))
        place = "rgb".index(found["letter"] or "r")
        return cls(found["map"], place, bool(found["inverted"]), bool(found["optional"]))


@dataclass(frozen=True)
class Output:
    """One texture of a profile.

    Attributes:
        name: Name that replaces `{map}` in the file name.
        channels: What each channel holds, see `Channel.of`. The texture is left out if the material has none of the maps
            that are not optional.
        dtype: Dtype of the file: an integer type for PNG, a float type for EXR.
        space: Colour space: `srgb` for colours, `linear` for data.
    """

    name: str
    channels: tuple[str, ...]
    dtype: str = "uint8"
    space: Literal["srgb", "linear"] = "linear"

    @property
    def suffix(self) -> str:
        return ".exr" if np.dtype(self.dtype).kind == "f" else ".png"


@dataclass(frozen=True, kw_only=True)
class Profile:
    """What one engine or library takes.

    Attributes:
        engine: Name for users.
        template: Template of the textures' names, see `texgen.exports.plan.FIELDS`.
        outputs: Textures that it takes.
        normal: Whether y points up (`gl`) or down (`dx`) in normals.
        cap: Most pixels per side; None for no limit.
        cap_reason: Reason for the limit, for the error message.
        side_file: Suffix of the file that holds the whole material, if there is one.
        embedded: Whether the textures are only inside that file.
    """

    engine: str
    template: str
    outputs: tuple[Output, ...]
    normal: Literal["gl", "dx"] = "gl"
    cap: int | None = None
    cap_reason: str = ""
    side_file: str | None = None
    embedded: bool = False


D3D = "the largest texture of Direct3D 11 and 12"
VECTORS = {name: tuple(f"{name}.{letter}" for letter in "rgb") for name in ("color", "normal", "emission")}
"""Channels of those maps that have three."""
DEPTHS = {"8": "uint8", "16": "uint16", "float": "float32"}


def _outputs(text: str) -> tuple[Output, ...]:
    """Parse textures as the table spells them: name, maps joined by +, and the depth if it is not 8 bits."""
    found = []
    for each in text.split(","):
        name, maps, depth = [*each.split(), "8"][:3]
        channels = [channel for part in maps.split("+") for channel in VECTORS.get(part, (part,))]
        space: Literal["srgb", "linear"] = "srgb" if maps.startswith(("color", "emission")) else "linear"
        found.append(Output(name, tuple(channels), DEPTHS[depth], space))
    return tuple(found)


PROFILES = {
    "standard": Profile(
        engine="texgen's own names, in 16 bits",
        template="{name}_{map}",
        outputs=_outputs(
            "color color 16, normal normal 16, height height 16, roughness roughness 16, ao ao 16, metalness metalness 16, "
            "opacity opacity 16, emission emission 16"
        ),
    ),
    "polyhaven": Profile(
        engine="Poly Haven's names",
        template="{name}_{map}_{size_lower}",
        outputs=_outputs(
            "diff color, nor_gl normal 16, disp height 16, rough roughness, ao ao, metal metalness, "
            "arm ao+roughness+metalness, opacity opacity, emission emission"
        ),
    ),
    "ambientcg": Profile(
        engine="ambientCG's names",
        template="{name}_{size}_{map}",
        outputs=_outputs(
            "Color color, NormalGL normal 16, Displacement height 16, Roughness roughness, AmbientOcclusion ao, "
            "Metalness metalness, Opacity opacity, Emission emission"
        ),
    ),
    "unreal": Profile(
        engine="Unreal Engine 5",
        template="T_{name}_{map}",
        normal="dx",
        cap=8192,
        cap_reason="practical in Unreal, which ends at 16384",
        outputs=_outputs("BC color, N normal, ORM ao+roughness+metalness, H height 16, A opacity, E emission"),
    ),
    "unity-urp": Profile(
        engine="Unity, Universal Render Pipeline (Lit)",
        template="{name}_{map}",
        cap=16384,
        cap_reason=D3D,
        outputs=_outputs(
            "BaseMap color+opacity?, MetallicSmoothness metalness+metalness+metalness+1-roughness, Normal normal, "
            "Height height 16, Occlusion ao, Emission emission"
        ),
    ),
    "unity-hdrp": Profile(
        engine="Unity, High Definition Render Pipeline (Lit)",
        template="{name}_{map}",
        cap=16384,
        cap_reason=D3D,
        outputs=_outputs(
            "BaseColorMap color+opacity?, MaskMap metalness+ao+1+1-roughness, NormalMap normal, HeightMap height 16, "
            "EmissiveColorMap emission"
        ),
    ),
    "godot": Profile(
        engine="Godot 4 (ORMMaterial3D)",
        template="{name}_{map}",
        cap=16384,
        cap_reason="the largest texture of most GPUs",
        outputs=_outputs(
            "albedo color+opacity?, normal normal, orm ao+roughness+metalness, height height float, emission emission"
        ),
    ),
    "gltf": Profile(
        engine="glTF 2.0, three.js, viewers",
        template="{name}_{map}",
        cap=8192,
        cap_reason="the largest texture of many phones and browsers",
        side_file=".glb",
        embedded=True,
        outputs=_outputs(
            "baseColor color+opacity?, occlusionRoughnessMetallic ao+roughness+metalness, normal normal, emissive emission"
        ),
    ),
    "materialx": Profile(
        engine="MaterialX, standard_surface",
        template="{name}_{map}",
        side_file=".mtlx",
        outputs=_outputs(
            "base_color color, specular_roughness roughness, metalness metalness, normal normal 16, opacity opacity, "
            "emission_color emission, height height 16"
        ),
    ),
    "usd": Profile(
        engine="USD, UsdPreviewSurface",
        template="{name}_{map}",
        side_file=".usda",
        outputs=_outputs(
            "diffuseColor color, roughness roughness, metallic metalness, normal normal, occlusion ao, opacity opacity, "
            "emissiveColor emission, displacement height 16"
        ),
    ),
}


def profiles_of(names: str | Sequence[str]) -> dict[str, Profile]:
    """Profiles by name, for one name or several, which may be separated by commas.

    Raises:
        OptionError: A name is unknown, or none is given.

    Example:
        >>> list(profiles_of("unreal,godot"))
        ['unreal', 'godot']
    """
    given = [names] if isinstance(names, str) else names
    wanted = [name.strip() for each in given for name in each.split(",") if name.strip()]
    for name in wanted:
        if name not in PROFILES:
            raise OptionError(f"profile={name!r} is not known; choose from {', '.join(PROFILES)}.")
    if not wanted:
        raise OptionError(f"profile: none is given; choose from {', '.join(PROFILES)}.")
    return {name: PROFILES[name] for name in wanted}
