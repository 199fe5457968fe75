"""Look at a material: a picture or a page."""

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
            overwrite: Whether to replace a file that exists; never one of the material's.

        Raises:
            OptionError: The file exists, or cannot be written there.
            ResourceError: The disk is full.
        """
        path = Path(path)
        targets.check_new(path, SUFFIXES, overwrite, self.material.inputs)
        if path.suffix.lower() == ".html":
            publish.publish(path, self.html.encode(errors="replace"))  # a name may be no UTF-8
        else:
            publish.save_image(path, np.asarray(self.image))


@verb(Knobs)
def preview(
    material: Material | Result | str | Path, width: int = 1536, light: float = 135.0, depth: float | None = None
) -> Preview:
    """Show a material on a sphere and on a plane, and how it repeats.

    It is rendered from all maps there are: `color`, `normal` or `normal_dx`, `roughness`, `metalness`, `ao`, `height`, `opacity`, `emission`. Without them it is grey, flat, of
    roughness 0.6, no metal and opaque. A height map raises the surface and casts shadows; if there are no normals or no occlusion, they follow from the height.

    Args:
        material: A material, a result with its maps, one of the pictures of a material, or the folder that holds them.
        width, light, depth: See `texgen.previews.knobs.Knobs`.

    Raises:
        InputError: No such material, or maps that do not belong together.
        OptionError: A value out of its range.

    Example:
        >>> preview("wall.png").save("look.png")  # doctest: +SKIP
        >>> preview(texgen.expand("swatch.png")).save("look.html")  # doctest: +SKIP
    """
    if isinstance(material, Result):
        material = material.material("texture")
    elif not isinstance(material, Material):
        material = read_material(material)
    return Preview(material=material, width=width, light=light, depth=depth)
