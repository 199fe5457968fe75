"""Frozen records that describe the texture to make. Tasks build and check them; models read them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from texgen.files.encoding import Encoding
from tiling import Size, Tile, Wrap

if TYPE_CHECKING:
    import numpy as np

    from texgen.materials.exemplar import Exemplar
    from texgen.materials.guides import Guide
    from texgen.materials.labels import Target
    from texgen.materials.maps import Map
    from texgen.materials.orientation import Orientation

TransferMode = Literal["style", "appearance"]


@dataclass(frozen=True)
class Canvas:
    """The area to fill with texture.

    Attributes:
        size: In pixels.
        wrap: Axes along which the texture repeats without a seam.
    """

    size: Size
    wrap: Wrap


@dataclass(frozen=True)
class Layout:
    """A rough plan of the result.

    Attributes:
        image: (H, W, 3), float32, in [0, 1], of any size.
        weight: Weight of its low frequencies when patches are chosen.
    """

    image: np.ndarray
    weight: float


@dataclass(frozen=True)
class Content:
    """A picture whose structure a diffusion model shows in the exemplars' style or appearance.

    Attributes:
        image: (H, W, 3), float32, in [0, 1], of any size.
        mode: `style` or `appearance`: how closely its structure is kept if `content_weight` is not given.
    """

    image: np.ndarray
    mode: TransferMode


@dataclass(frozen=True)
class Prompt:
    """A prompt for a diffusion model.

    Attributes:
        text: What to show.
        negative: What to avoid; None takes the model's default.
        guidance_scale: Scale of classifier-free guidance; 1 turns guidance off, None takes the model's default.
    """

    text: str
    negative: str | None
    guidance_scale: float | None


@dataclass(frozen=True)
class Control:
    """A picture for a ControlNet: edges, depth, poses or whatever the network was trained on.

    Attributes:
        image: (H, W, 3), float32, in [0, 1], of any size; stretched over the canvas.
        weight: Weight of the ControlNet.
    """

    image: np.ndarray
    weight: float


@dataclass(frozen=True)
class Kept:
    """A picture on the canvas, some of whose pixels stay as they are.

    Attributes:
        image: (h, w, 3) or (h, w, 4), float32, encoded like the exemplars; outside the mask it is continued smoothly, see `texgen.materials.holes`.
        mask: (h, w), bool: True where pixels are kept.
        place: Its place on the canvas, in px; lies inside the canvas.
        is_swatch: Whether the picture is the first swatch, as it was given.
    """

    image: np.ndarray
    mask: np.ndarray
    place: Tile
    is_swatch: bool = False


@dataclass(frozen=True, kw_only=True)
class Constraints:
    """Constraints on the contents of a canvas.

    Attributes:
        layout: A rough plan of the canvas.
        content: A picture to show in the exemplars' style.
        prompt: What to show in the exemplars' style.
        controls: A picture for each ControlNet of the model.
        content_weight: How closely a diffusion model follows the layout, the content or the painted start; None takes the model's default.
        target: The label wanted at each place.
        kept: Pixels that are given.
        place: (left, top) in pixels where the first exemplar itself appears unchanged.
        guides: Pairs of maps, of the exemplars and of the canvas, that should agree.
        orientation: Direction of the exemplars at each place.
    """

    layout: Layout | None = None
    content: Content | None = None
    prompt: Prompt | None = None
    controls: Sequence[Control] = ()
    content_weight: float | None = None
    target: Target | None = None
    kept: Kept | None = None
    place: tuple[int, int] | None = None
    guides: Sequence[Guide] = ()
    orientation: Orientation | None = None


@dataclass(frozen=True, kw_only=True)
class Job:
    """A texture to make.

    Attributes:
        canvas: The area to fill.
        exemplars: The swatches that the texture is made of.
        shares: Share of each exemplar on the canvas, summing to 1; None lets the model choose.
        constraints: Constraints on the contents of the canvas.
        maps: Companion maps of the exemplars, to be synthesised in register with the colours.
        seed: Seed of all random numbers.
        encoding: Encoding of the pixels.
        with_map: Whether to return the coordinate map, which says where each pixel came from.
    """

    canvas: Canvas
    exemplars: Sequence[Exemplar]
    shares: tuple[float, ...] | None = None
    constraints: Constraints = field(default_factory=Constraints)
    maps: Sequence[Map] = ()
    seed: int = 0
    encoding: Encoding = field(default_factory=Encoding)
    with_map: bool = False
