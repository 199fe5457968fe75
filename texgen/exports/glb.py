"""Write a binary glTF: one file with the material on a plane of 2x2 repeats.

References:
    Khronos, glTF 2.0 Specification, https://registry.khronos.org/glTF/specs/2.0/glTF-2.0.html
"""

from __future__ import annotations

import json
import shutil
import struct
from pathlib import Path
from typing import Any

import numpy as np

from texgen.errors import OptionError
from texgen.exports.plan import Plan
from texgen.exports.profiles import MISSING

CELLS = 8
"""Cells along each side of the plane."""
REPEATS = 2
FLOAT, UINT16 = 5126, 5123
VERTICES, INDICES = 34962, 34963
LINEAR, LINEAR_MIPMAP_LINEAR, REPEAT = 9729, 9987, 10497
HEADER, CHUNK = struct.Struct("<4sII"), struct.Struct("<I4s")
TRANSFORM = "KHR_texture_transform"


def write(path: Path, plan: Plan) -> None:
    """Write a `.glb` with the textures that lie beside it. They are copied one at a time, in chunks.

    If the physical size is known, texture coordinates are metres, and `KHR_texture_transform` converts them to repeats.

    Raises:
        OptionError: The file would exceed 4 GiB, the most that the format holds.
    """
    arrays = plane(*plan.extent, metric=plan.size_m is not None)
    if "normal" not in plan.maps:
        del arrays["TANGENT"]
    textures = [path.with_name(texture.file) for texture in plan.textures]
    lengths = [array.nbytes for array in arrays.values()] + [texture.stat().st_size for texture in textures]
    offsets = np.cumsum([0, *(_padded(length) for length in lengths)]).tolist()
    content = _document(plan, arrays, lengths, offsets)
    text = json.dumps(content, separators=(",", ":")).encode()
    text += b" " * (_padded(len(text)) - len(text))
    total = HEADER.size + 2 * CHUNK.size + len(text) + offsets[-1]
    if total >= 2**32:
        raise OptionError(f"{path.name}: {total} bytes are more than the 4 GiB that glTF holds; make the maps smaller.")
    with path.open("wb") as file:
        file.write(HEADER.pack(b"glTF", 2, total))
        file.write(CHUNK.pack(len(text), b"JSON") + text)
        file.write(CHUNK.pack(offsets[-1], b"BIN\0"))
        for array in arrays.values():
            file.write(array.tobytes() + bytes(_padded(array.nbytes) - array.nbytes))
        for texture, length in zip(textures, lengths[len(arrays) :], strict=True):
            with texture.open("rb") as source:
                shutil.copyfileobj(source, file)
            file.write(bytes(_padded(length) - length))


def _padded(length: int) -> int:
    return -(-length // 4) * 4


def plane(width: float, height: float, metric: bool) -> dict[str, np.ndarray]:
    """A plane that faces +z, with its lower left corner at the origin and `REPEATS` repeats along each side.

    Args:
        width, height: Size of one repeat.
        metric: Whether texture coordinates are lengths; otherwise they count repeats. Their v points down, as in glTF.

    Returns:
        `POSITION`, `NORMAL`, `TANGENT` and `TEXCOORD_0`, (vertices, 3, 3, 4 or 2), float32, and `indices`, uint16.

    Example:
        >>> {name: array.shape for name, array in plane(1, 1, False).items()}["POSITION"]
        (81, 3)
    """
    steps = np.linspace(0, REPEATS, CELLS + 1)
    v, u = np.meshgrid(steps[::-1], steps, indexing="ij")
    zeros, ones = np.zeros_like(u), np.ones_like(u)
    scale = (width, height) if metric else (1, 1)
    arrays = {
        "POSITION": (u * width, (REPEATS - v) * height, zeros),
        "NORMAL": (zeros, zeros, ones),
        "TANGENT": (ones, zeros, zeros, ones),
        "TEXCOORD_0": (u * scale[0], v * scale[1]),
    }
    row, column = (cell.ravel() for cell in np.mgrid[:CELLS, :CELLS])
    corner, line = row * (CELLS + 1) + column, CELLS + 1
    triangles = np.stack([corner, corner + 1, corner + line + 1, corner, corner + line + 1, corner + line], -1)
    found = {name: np.stack(parts, -1).reshape(-1, len(parts)).astype("<f4") for name, parts in arrays.items()}
    return {**found, "indices": triangles.ravel().astype("<u2")}


def _document(plan: Plan, arrays: dict[str, np.ndarray], lengths: list[int], offsets: list[int]) -> dict[str, Any]:
    views: list[dict[str, Any]] = [
        {"buffer": 0, "byteOffset": offset, "byteLength": length}
        for offset, length in zip(offsets, lengths, strict=False)
    ]
    for view, name in zip(views, arrays, strict=False):
        view["target"] = INDICES if name == "indices" else VERTICES
    names = [*arrays]
    attributes = {name: number for number, name in enumerate(names) if name != "indices"}
    primitive = {"attributes": attributes, "indices": names.index("indices"), "material": 0}
    textures = plan.textures
    return {
        "asset": {"version": "2.0", "generator": "texgen"},
        **({} if plan.size_m is None else {"extensionsUsed": [TRANSFORM]}),
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0, "name": plan.material}],
        "meshes": [{"name": plan.material, "primitives": [primitive]}],
        "materials": [_material(plan)],
        "textures": [{"sampler": 0, "source": number, "name": each.output.name} for number, each in enumerate(textures)],
        "images": [
            {"bufferView": len(arrays) + number, "mimeType": "image/png", "name": Path(each.file).stem}
            for number, each in enumerate(textures)
        ],
        "samplers": [{"magFilter": LINEAR, "minFilter": LINEAR_MIPMAP_LINEAR, "wrapS": REPEAT, "wrapT": REPEAT}],
        "accessors": [_accessor(number, name, array) for number, (name, array) in enumerate(arrays.items())],
        "bufferViews": views,
        "buffers": [{"byteLength": offsets[-1]}],
    }  # fmt: skip


def _accessor(view: int, name: str, array: np.ndarray) -> dict[str, Any]:
    if name == "indices":
        return {"bufferView": view, "componentType": UINT16, "count": array.size, "type": "SCALAR"}
    found: dict[str, Any] = {
        "bufferView": view, "componentType": FLOAT, "count": len(array), "type": f"VEC{array.shape[1]}"
    }  # fmt: skip
    if name == "POSITION":
        found |= {"min": array.min(0).tolist(), "max": array.max(0).tolist()}
    return found


def _material(plan: Plan) -> dict[str, Any]:
    width, height = plan.extent
    info: dict[str, Any] = {}
    if plan.size_m is not None:
        info = {"extensions": {TRANSFORM: {"scale": [1 / width, 1 / height]}}}
    index = {texture.output.name: {"index": number, **info} for number, texture in enumerate(plan.textures)}
    surface: dict[str, Any] = {}
    packed = index.get("occlusionRoughnessMetallic")
    if "baseColor" in index:
        surface["baseColorTexture"] = index["baseColor"]
    if packed:
        surface["metallicRoughnessTexture"] = packed
    else:
        surface |= {"metallicFactor": MISSING["metalness"], "roughnessFactor": MISSING["roughness"]}
    found: dict[str, Any] = {"name": plan.material, "pbrMetallicRoughness": surface}
    if "normal" in index:
        found["normalTexture"] = index["normal"]
    if packed and "ao" in plan.maps:
        found["occlusionTexture"] = packed
    if "emissive" in index:
        found |= {"emissiveTexture": index["emissive"], "emissiveFactor": [1, 1, 1]}
    if "opacity" in plan.maps and "baseColor" in index:
        found["alphaMode"] = "BLEND"
    return found
