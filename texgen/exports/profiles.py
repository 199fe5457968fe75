"""The table of profiles: which files each engine or library takes, and what their channels hold."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np

from texgen.errors import OptionError

MISSING = {"ao": 1.0, "roughness": 0.5, "metalness": 0.0}
"""What a packed texture holds where the material has no such map."""
SPELLING = re.compile(r"(?P<inverted>1-)?(?P<map>[a-z]+)(\.(?P<letter>[rgb]))?(?P<optional>\?)?")


class Channel(NamedTuple):
    """What one channel of a texture holds.

    Attributes:
        map: A map's name; empty for a constant.
        place: Which of its channels r, g, b.
        inverted: Whether it is 1 minus that.
        optional: Whether the channel is dropped where there is no such map.
        constant: The value of a constant.
    """

    map: str
    place: int = 0
    inverted: bool = False
    optional: bool = False
    constant: float = 0.0

    @classmethod
    def of(cls, text: str) -> Channel:
        """From its spelling in the table.

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
        name: Takes the place of `{map}` in the file's name.
        channels: What each holds, see `Channel.of`. The texture is left out where the material has none of the maps
            that are not optional.
        dtype: Of the file: an integer type for PNG, a float type for EXR.
        space: `srgb` for colours, `linear` for data.
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
        engine: Its name in plain words.
        template: Of the textures' names, see `texgen.exports.plan.FIELDS`.
        outputs: The textures.
        normal: Whether y points up (`gl`) or down (`dx`).
        cap: Most pixels a side; None for no limit.
        cap_reason: Why, for the message.
        side_file: Suffix of the file that carries the material as a whole, if there is one.
        embedded: Whether the textures are inside that file, and nowhere else.
    """

    engine: str
    template: str
    outputs: tuple[Output, ...]
    normal: Literal["gl", "dx"] = "gl"
    cap: int | None = None
    cap_reason: str = ""
    side_file: str | None = None
    embedded: bool = False


COLOR = ("color.r", "color.g", "color.b")
COLOR_ALPHA = (*COLOR, "opacity?")
NORMAL = ("normal.r", "normal.g", "normal.b")
EMISSION = ("emission.r", "emission.g", "emission.b")
ORM = ("ao", "roughness", "metalness")
D3D = "the largest texture of Direct3D 11 and 12"

PROFILES = {
    "standard": Profile(
        engine="texgen's own names, in 16 bits",
        template="{name}_{map}",
        outputs=(
            Output("color", COLOR, "uint16", "srgb"),
            Output("normal", NORMAL, "uint16"),
            Output("height", ("height",), "uint16"),
            Output("roughness", ("roughness",), "uint16"),
            Output("ao", ("ao",), "uint16"),
            Output("metalness", ("metalness",), "uint16"),
            Output("opacity", ("opacity",), "uint16"),
            Output("emission", EMISSION, "uint16", "srgb"),
        ),
    ),
    "polyhaven": Profile(
        engine="Poly Haven's names",
        template="{name}_{map}_{size_lower}",
        outputs=(
            Output("diff", COLOR, "uint8", "srgb"),
            Output("nor_gl", NORMAL, "uint16"),
            Output("disp", ("height",), "uint16"),
            Output("rough", ("roughness",)),
            Output("ao", ("ao",)),
            Output("metal", ("metalness",)),
            Output("arm", ORM),
            Output("opacity", ("opacity",)),
            Output("emission", EMISSION, "uint8", "srgb"),
        ),
    ),
    "ambientcg": Profile(
        engine="ambientCG's names",
        template="{name}_{size}_{map}",
        outputs=(
            Output("Color", COLOR, "uint8", "srgb"),
            Output("NormalGL", NORMAL, "uint16"),
            Output("Displacement", ("height",), "uint16"),
            Output("Roughness", ("roughness",)),
            Output("AmbientOcclusion", ("ao",)),
            Output("Metalness", ("metalness",)),
            Output("Opacity", ("opacity",)),
            Output("Emission", EMISSION, "uint8", "srgb"),
        ),
    ),
    "unreal": Profile(
        engine="Unreal Engine 5",
        template="T_{name}_{map}",
        normal="dx",
        cap=8192,
        cap_reason="practical in Unreal, which ends at 16384",
        outputs=(
            Output("BC", COLOR, "uint8", "srgb"),
            Output("N", NORMAL),
            Output("ORM", ORM),
            Output("H", ("height",), "uint16"),
            Output("A", ("opacity",)),
            Output("E", EMISSION, "uint8", "srgb"),
        ),
    ),
    "unity-urp": Profile(
        engine="Unity, Universal Render Pipeline (Lit)",
        template="{name}_{map}",
        cap=16384,
        cap_reason=D3D,
        outputs=(
            Output("BaseMap", COLOR_ALPHA, "uint8", "srgb"),
            Output("MetallicSmoothness", ("metalness", "metalness", "metalness", "1-roughness")),
            Output("Normal", NORMAL),
            Output("Height", ("height",), "uint16"),
            Output("Occlusion", ("ao",)),
            Output("Emission", EMISSION, "uint8", "srgb"),
        ),
    ),
    "unity-hdrp": Profile(
        engine="Unity, High Definition Render Pipeline (Lit)",
        template="{name}_{map}",
        cap=16384,
        cap_reason=D3D,
        outputs=(
            Output("BaseColorMap", COLOR_ALPHA, "uint8", "srgb"),
            Output("MaskMap", ("metalness", "ao", "1", "1-roughness")),
            Output("NormalMap", NORMAL),
            Output("HeightMap", ("height",), "uint16"),
            Output("EmissiveColorMap", EMISSION, "uint8", "srgb"),
        ),
    ),
    "godot": Profile(
        engine="Godot 4 (ORMMaterial3D)",
        template="{name}_{map}",
        cap=16384,
        cap_reason="the largest texture of most GPUs",
        outputs=(
            Output("albedo", COLOR_ALPHA, "uint8", "srgb"),
            Output("normal", NORMAL),
            Output("orm", ORM),
            Output("height", ("height",), "float32"),
            Output("emission", EMISSION, "uint8", "srgb"),
        ),
    ),
    "gltf": Profile(
        engine="glTF 2.0, three.js, viewers",
        template="{name}_{map}",
        cap=8192,
        cap_reason="the largest texture of many phones and browsers",
        side_file=".glb",
        embedded=True,
        outputs=(
            Output("baseColor", COLOR_ALPHA, "uint8", "srgb"),
            Output("occlusionRoughnessMetallic", ORM),
            Output("normal", NORMAL),
            Output("emissive", EMISSION, "uint8", "srgb"),
        ),
    ),
    "materialx": Profile(
        engine="MaterialX, standard_surface",
        template="{name}_{map}",
        side_file=".mtlx",
        outputs=(
            Output("base_color", COLOR, "uint8", "srgb"),
            Output("specular_roughness", ("roughness",)),
            Output("metalness", ("metalness",)),
            Output("normal", NORMAL, "uint16"),
            Output("opacity", ("opacity",)),
            Output("emission_color", EMISSION, "uint8", "srgb"),
            Output("height", ("height",), "uint16"),
        ),
    ),
    "usd": Profile(
        engine="USD, UsdPreviewSurface",
        template="{name}_{map}",
        side_file=".usda",
        outputs=(
            Output("diffuseColor", COLOR, "uint8", "srgb"),
            Output("roughness", ("roughness",)),
            Output("metallic", ("metalness",)),
            Output("normal", NORMAL),
            Output("occlusion", ("ao",)),
            Output("opacity", ("opacity",)),
            Output("emissiveColor", EMISSION, "uint8", "srgb"),
            Output("displacement", ("height",), "uint16"),
        ),
    ),
}


def profiles_of(names: str | Sequence[str]) -> dict[str, Profile]:
    """Profiles by name, from one name, several, or several separated by commas.

    Raises:
        OptionError: An unknown name, or none.

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
