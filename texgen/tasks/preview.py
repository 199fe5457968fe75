"""The verb `preview`: show a material as a rendered picture or as a web page."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from PIL import Image

from texgen.files import publish, targets
from texgen.materials.material import Material, read_material
from texgen.previews.html import page
from texgen.previews.knobs import Knobs
from texgen.previews.render import picture
from texgen.tasks.checks import verb
from texgen.tasks.result import Result

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".html")
PANELS = 3


@dataclass(frozen=True, kw_only=True)
class Preview:
    """The preview of a material, rendered on first use.

    Attributes:
        material: The material shown.
        width, light, depth: See `preview`.
    """

    material: Material
    width: int
    light: float
    depth: float | None

    @cached_property
    def image(self) -> Image.Image:
        """A sphere, a plane in perspective, and the unlit colours repeated 2x2, side by side."""
        return Image.fromarray(picture(self.material, self.width - self.width % PANELS, self.light, self.depth))

    @cached_property
    def html(self) -> str:
        """A page that shows the material offline in any browser with WebGL. Its maps are 8-bit JPEGs of at most 2048 px a side."""
        return page(self.material, self.light, self.depth)

    def save(self, path: str | Path, overwrite: bool = False) -> None:
        """Write the image, or the page if the suffix is `.html`.

        Args:
            path: PNG, JPEG, WebP or HTML, by suffix.
            overwrite: Whether to replace an existing file; the material's own files are never replaced.

        Raises:
            OptionError: The file exists, or cannot be written there.
            ResourceError: The disk is full.
        """
        path = Path(path)
        targets.check_new(path, SUFFIXES, overwrite, self.material.inputs)
        if path.suffix.lower() == ".html":
            publish.publish(path, self.html.encode(errors="replace"))  # a name may not be valid UTF-8
        else:
            publish.save_image(path, np.asarray(self.image))


@verb(Knobs)
def preview(
    material: Material | Result | str | Path, width: int = 1536, light: float = 135.0, depth: float | None = None
) -> Preview:
    """Show a material on a sphere and on a plane, and how it repeats.

    All of these maps are used if present: `color`, `normal` or `normal_dx`, `roughness`, `metalness`, `ao`, `height`, `opacity`, `emission`. Without them the surface is grey,
    flat, opaque, not metallic, and has roughness 0.6. A height map displaces the surface and casts shadows; missing normals and occlusion are computed from it.

    Args:
        material: A material, a result with its maps, one of the pictures of a material, or the folder that holds them.
        width, light, depth: See `texgen.previews.knobs.Knobs`.

    Raises:
        InputError: There is no such material, or its maps do not belong together.
        OptionError: A value is out of range.

    Example:
        >>> preview("wall.png").save("look.png")  # doctest: +SKIP
        >>> preview(texgen.expand("swatch.png")).save("look.html")  # doctest: +SKIP
    """
    if isinstance(material, Result):
        material = material.material("texture")
    elif not isinstance(material, Material):
        material = read_material(material)
    return Preview(material=material, width=width, light=light, depth=depth)
