"""Look at a material: a picture or a page."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from PIL import Image

from texgen.errors import OptionError, check_range
from texgen.files import publish
from texgen.materials.material import Material, map_name, read_material
from texgen.previews.html import page
from texgen.previews.render import picture
from texgen.tasks.result import Result

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".html")
PANELS = 3
SMALLEST, LARGEST = 192, 6144
"""Widths of the picture."""


@dataclass(frozen=True, kw_only=True)
class Preview:
    """A material to look at.

    Attributes:
        material: What is shown.
        width, light, depth: See `preview`.
    """

    material: Material
    width: int
    light: float
    depth: float | None

    @cached_property
    def image(self) -> Image.Image:
        """A sphere, a plane in perspective, and the unlit colours 2x2 times, side by side; rendered when first asked for."""
        return Image.fromarray(picture(self.material, self.width - self.width % PANELS, self.light, self.depth))

    @cached_property
    def html(self) -> str:
        """A page that shows the material in any browser with WebGL, offline. Its maps are JPEG with 8 bits and at most 2048 px a side."""
        return page(self.material, self.light, self.depth)

    def save(self, path: str | Path, overwrite: bool = False) -> None:
        """Write the image, or the page if the suffix is `.html`.

        Args:
            path: PNG, JPEG, WebP or HTML, by suffix.
            overwrite: Whether to replace a file that exists.

        Raises:
            OptionError: The file exists, or cannot be written there.
            ResourceError: The disk is full.
        """
        path = Path(path)
        if overwrite:
            publish.check_place(path, SUFFIXES)
        else:
            check_new(path)
        if path.suffix.lower() == ".html":
            publish.publish(path, self.html.encode(errors="replace"))  # a name may be no UTF-8
        else:
            publish.save_image(path, np.asarray(self.image), None)


def preview(
    material: Material | Result | str | Path, width: int = 1536, light: float = 135.0, depth: float | None = None
) -> Preview:
    """Show a material on a sphere and on a plane, and how it repeats.

    It is rendered from all maps there are: `color`, `normal` or `normal_dx`, `roughness`, `metalness`, `ao`, `height`, `opacity`, `emission`. Without them it is grey, flat, of
    roughness 0.6, no metal and opaque. A height map raises the surface and casts shadows; if there are no normals or no occlusion, they follow from the height.

    Args:
        material: A material, a result with its maps, one of the pictures of a material, or the folder that holds them.
        width: Of the image, in pixels, rounded down to a multiple of 3; the height is a third of it.
        light: Where the key light is, in degrees counterclockwise from the right of the texture: 135 is at the top left.
        depth: From the lowest to the highest point of the height map, as a share of the texture's width, at most 0.5. None fits it to the normal map;
            without one, slopes are kept gentle.

    Raises:
        InputError: No such material, or maps that do not belong together.
        OptionError: A value out of its range.

    Example:
        >>> preview("wall.png").save("look.png")  # doctest: +SKIP
        >>> preview(texgen.expand("swatch.png")).save("look.html")  # doctest: +SKIP
    """
    check_range("width", width, SMALLEST, LARGEST)
    check_range("depth", depth, 0, 0.5)
    if isinstance(material, Result):
        material = _material(material)
    elif not isinstance(material, Material):
        material = read_material(material)
    return Preview(material=material, width=width, light=light, depth=depth)


def check_new(path: Path) -> None:
    """Refuse a place that cannot be written, or holds a file already.

    Raises:
        OptionError: Saying why.
    """
    publish.check_place(path, SUFFIXES)
    if path.exists():
        raise OptionError(f"{path}: exists already; choose another name or remove it first.")


def preview_path(path: Path) -> Path:
    """Where the preview of a picture goes.

    Example:
        >>> preview_path(Path("wall.tif")).name
        'wall_preview.png'
    """
    return path.with_name(f"{path.stem}_preview.png")


def _material(result: Result) -> Material:
    """The picture of a result and those of its maps whose names are known, such as `normal` or `rough`."""
    maps = {"color": result.pixels}
    for name, values in result.maps.items():
        _, kind = map_name(f"texture_{name}")
        if kind is not None:
            maps.setdefault(kind, values)
    return Material(name="texture", maps=maps)
