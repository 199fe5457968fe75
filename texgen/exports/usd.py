"""Write a USD layer as text: a UsdPreviewSurface on a plane of 2x2 repeats.

References:
    UsdPreviewSurface Specification, https://openusd.org/release/spec_usdpreviewsurface.html
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from texgen.exports.glb import plane
from texgen.exports.materialx import identifier
from texgen.exports.plan import Plan
from texgen.exports.profiles import MISSING

SHOWN = {
    "diffuseColor": "color3f",
    "emissiveColor": "color3f",
    "roughness": "float",
    "metallic": "float",
    "normal": "normal3f",
    "occlusion": "float",
    "opacity": "float",
    "displacement": "float",
}
"""Types of the surface's inputs."""
DEFAULTS = {"roughness": MISSING["roughness"], "metallic": MISSING["metalness"]}


def write(path: Path, plan: Plan) -> None:
    """Write a `.usda` that refers to the textures beside it.

    If the physical size is known, texture coordinates are metres, and a UsdTransform2d converts them to repeats. The height is
    connected only if `height_m` is known, as a displacement is a length.
    """
    path.write_text(layer(plan), encoding="utf-8")


def layer(plan: Plan) -> str:
    """The text of the layer."""
    name = identifier(plan.material)
    files = {texture.output.name: texture.file for texture in plan.textures}
    wired = [each for each in SHOWN if each in files and (each != "displacement" or plan.height_m is not None)]
    material = f"/{name}/Materials/Surface"
    surface = ['uniform token info:id = "UsdPreviewSurface"']
    for each in wired:
        end = "rgb" if SHOWN[each] != "float" else "r"
        surface.append(f"{SHOWN[each]} inputs:{each}.connect = <{material}/{each}Texture.outputs:{end}>")
    surface += [f"float inputs:{each} = {value:g}" for each, value in DEFAULTS.items() if each not in wired]
    surface.append("token outputs:surface")
    outputs = [f"token outputs:surface.connect = <{material}/PreviewSurface.outputs:surface>"]
    if "displacement" in wired:
        surface.append("token outputs:displacement")
        outputs.append(f"token outputs:displacement.connect = <{material}/PreviewSurface.outputs:displacement>")
    shaders = [_prim("Shader", "PreviewSurface", surface), *_coordinates(plan, material)]
    shaders += [_texture(plan, each, files[each], material) for each in wired]
    scope = _prim("Scope", "Materials", [_prim("Material", "Surface", [*outputs, *shaders])])
    root = _prim("Xform", name, [_plane(plan, material), scope], ' (\n    kind = "component"\n)')
    head = f'#usda 1.0\n(\n    defaultPrim = "{name}"\n    metersPerUnit = 1\n    upAxis = "Y"\n)\n'
    return f"{head}\n{root}\n"


def _prim(kind: str, name: str, lines: Iterable[str], metadata: str = "") -> str:
    inner = "\n".join(f"    {line}" for part in lines for line in part.split("\n"))
    return f'def {kind} "{name}"{metadata}\n{{\n{inner}\n}}'


def _coordinates(plan: Plan, material: str) -> list[str]:
    width, height = plan.extent if plan.size_m is not None else (1, 1)
    reader = [
        'uniform token info:id = "UsdPrimvarReader_float2"',
        'string inputs:varname = "st"',
        "float2 outputs:result",
    ]
    transform = [
        'uniform token info:id = "UsdTransform2d"',
        f"float2 inputs:in.connect = <{material}/Coordinates.outputs:result>",
        f"float2 inputs:scale = ({1 / width:.9g}, {1 / height:.9g})",
        "float2 outputs:result",
    ]
    return [_prim("Shader", "Coordinates", reader), _prim("Shader", "Repeats", transform)]


def _texture(plan: Plan, each: str, file: str, material: str) -> str:
    space = "sRGB" if SHOWN[each] == "color3f" else "raw"
    lines = [
        'uniform token info:id = "UsdUVTexture"',
        f"asset inputs:file = {asset(file)}",
        f'token inputs:sourceColorSpace = "{space}"',
        f"float2 inputs:st.connect = <{material}/Repeats.outputs:result>",
        'token inputs:wrapS = "repeat"',
        'token inputs:wrapT = "repeat"',
    ]
    if each == "normal":
        lines += ["float4 inputs:scale = (2, 2, 2, 1)", "float4 inputs:bias = (-1, -1, -1, 0)"]
    elif each == "displacement":
        lines.append(f"float4 inputs:scale = ({', '.join([f'{plan.height_m:.9g}'] * 4)})")
    lines.append("float outputs:r" if SHOWN[each] == "float" else "float3 outputs:rgb")
    return _prim("Shader", f"{each}Texture", lines)


def asset(file: str) -> str:
    """The asset path of a file beside the layer.

    Example:
        >>> asset("wall.png"), asset("w@ll.png")
        ('@./wall.png@', '@@@./w@ll.png@@@')
    """
    mark = "@@@" if "@" in file else "@"
    return f"{mark}./{file}{mark}"


def _plane(plan: Plan, material: str) -> str:
    arrays = plane(*plan.extent, metric=plan.size_m is not None)
    points, st, corners = arrays["POSITION"], arrays["TEXCOORD_0"], arrays["indices"]
    st = np.stack([st[:, 0], st[:, 1].max() - st[:, 1]], -1)  # v points up
    lines = [
        'uniform token subdivisionScheme = "none"',
        f"float3[] extent = [{_tuples([points.min(0), points.max(0)])}]",
        f"int[] faceVertexCounts = [{', '.join(['3'] * (len(corners) // 3))}]",
        f"int[] faceVertexIndices = [{', '.join(map(str, corners))}]",
        f"point3f[] points = [{_tuples(points)}]",
        f'normal3f[] normals = [{_tuples(arrays["NORMAL"])}] (\n    interpolation = "vertex"\n)',
        f'texCoord2f[] primvars:st = [{_tuples(st)}] (\n    interpolation = "vertex"\n)',
        f"rel material:binding = <{material}>",
    ]
    return _prim("Mesh", "Plane", lines, ' (\n    prepend apiSchemas = ["MaterialBindingAPI"]\n)')


def _tuples(rows: Iterable[np.ndarray]) -> str:
    return ", ".join(f"({', '.join(f'{value:.9g}' for value in row)})" for row in rows)
