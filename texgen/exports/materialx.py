"""Write a MaterialX document: a standard surface whose inputs are images.

References:
    MaterialX Specification 1.38, https://materialx.org/Specification.html
"""

from __future__ import annotations

import re
from pathlib import Path
from xml.sax.saxutils import quoteattr

from texgen.exports.plan import Plan
from texgen.exports.profiles import MISSING

VERSION = "1.38"
"""Newer versions read this one, too."""
TYPES = {
    "base_color": "color3",
    "specular_roughness": "float",
    "metalness": "float",
    "normal": "vector3",
    "opacity": "float",
    "emission_color": "color3",
    "height": "float",
}
"""Type of the image for each input."""


def write(path: Path, plan: Plan) -> None:
    """Write a `.mtlx` that refers to the textures beside it.

    If the physical size is known, images are `tiledimage` nodes with a real-world size, and texture coordinates are metres.
    The height is connected only if `height_m` is known, as a displacement is a length.
    """
    path.write_text(document(plan), encoding="utf-8")


def document(plan: Plan) -> str:
    """The text of the document."""
    name = identifier(plan.material)
    files = {texture.output.name: texture.file for texture in plan.textures}
    wired = [each for each in files if each != "height" or plan.height_m is not None]
    lines = ['<?xml version="1.0" encoding="UTF-8"?>', f'<materialx version="{VERSION}" colorspace="lin_rec709">']
    if plan.size_m is not None:
        lines.append(f"  <!-- One repeat is {plan.extent[0]:g} m x {plan.extent[1]:g} m. -->")
    lines.append(f'  <nodegraph name="NG_{name}">')
    for each in wired:
        lines += _image(plan, each, files[each])
    lines += [f'    <output name="out_{each}" type="{_end(each)[1]}" nodename="{_end(each)[0]}" />' for each in wired]
    lines += ["  </nodegraph>", f'  <standard_surface name="SR_{name}" type="surfaceshader">']
    lines += ['    <input name="base" type="float" value="1" />']
    if "emission_color" in files:
        lines.append('    <input name="emission" type="float" value="1" />')
    if "specular_roughness" not in files:
        lines.append(f'    <input name="specular_roughness" type="float" value="{MISSING["roughness"]:g}" />')
    lines += [_wire(each, _end(each)[1], each, name) for each in wired if each != "height"]
    lines.append("  </standard_surface>")
    shaders = {"surfaceshader": f"SR_{name}"}
    if "height" in wired:
        shaders["displacementshader"] = f"DS_{name}"
        lines += [
            f'  <displacement name="DS_{name}" type="displacementshader">',
            _wire("displacement", "float", "height", name),
            f'    <input name="scale" type="float" value="{plan.height_m:.9g}" />',
            "  </displacement>",
        ]
    lines.append(f'  <surfacematerial name="{name}" type="material">')
    lines += [f'    <input name="{kind}" type="{kind}" nodename="{node}" />' for kind, node in shaders.items()]
    return "\n".join([*lines, "  </surfacematerial>", "</materialx>", ""])


def identifier(name: str) -> str:
    """A name changed to a valid name of a node or prim.

    Example:
        >>> identifier("old wall-2"), identifier("7up")
        ('old_wall_2', '_7up')
    """
    plain = re.sub(r"[^A-Za-z0-9_]", "_", name)
    return plain if not plain[:1].isdigit() else f"_{plain}"


def _wire(input_name: str, kind: str, output: str, name: str) -> str:
    return f'    <input name="{input_name}" type="{kind}" nodegraph="NG_{name}" output="out_{output}" />'


def _end(each: str) -> tuple[str, str]:
    """Name and type of the last node for an input."""
    if each == "normal":
        return "normal_map", "vector3"
    return ("opacity_color", "color3") if each == "opacity" else (f"image_{each}", TYPES[each])


def _image(plan: Plan, each: str, file: str) -> list[str]:
    kind, node = TYPES[each], "image" if plan.size_m is None else "tiledimage"
    space = ' colorspace="srgb_texture"' if kind == "color3" else ""
    lines = [
        f'    <{node} name="image_{each}" type="{kind}">',
        f'      <input name="file" type="filename" value={quoteattr(file)}{space} />',
    ]
    if plan.size_m is None:
        modes = ("uaddressmode", "vaddressmode")
        lines += [f'      <input name="{mode}" type="string" value="periodic" />' for mode in modes]
    else:
        unit = 'unittype="distance" unit="meter"'
        width, height = plan.extent
        sizes = {"realworldimagesize": f"{width:.9g}, {height:.9g}", "realworldtilesize": "1, 1"}
        lines += [f'      <input name="{key}" type="vector2" value="{size}" {unit} />' for key, size in sizes.items()]
    lines.append(f"    </{node}>")
    if each == "normal":
        lines += _after("normalmap", "normal_map", "vector3", "vector3", f"image_{each}")
    elif each == "opacity":
        lines += _after("convert", "opacity_color", "color3", "float", f"image_{each}")
    return lines


def _after(node: str, name: str, kind: str, input_kind: str, source: str) -> list[str]:
    return [
        f'    <{node} name="{name}" type="{kind}">',
        f'      <input name="in" type="{input_kind}" nodename="{source}" />',
        f"    </{node}>",
    ]
