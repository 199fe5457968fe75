"""What is to be made: records that are made once, checked, and passed whole to a model."""

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
    """Where a texture goes.

    Attributes:
        size: In pixels.
        wrap: Axes along which it repeats without a seam.
    """

    size: Size
    wrap: Wrap


@dataclass(frozen=True)
class Layout:
    """A rough plan of the result.

    Attributes:
        image: (H, W, 3), float32, in [0, 1], of any size.
        weight: Of its low frequencies in the choice of patches.
    """

    image: np.ndarray
    weight: float


@dataclass(frozen=True)
class Content:
    """A picture whose structure a diffusion model shows in the exemplars' style or appearance.

    Attributes:
        image: (H, W, 3), float32, in [0, 1], of any size.
        mode: `style` or `appearance`: how closely its structure is kept, where `content_weight` does not say.
    """

    image: np.ndarray
    mode: TransferMode


@dataclass(frozen=True)
class Prompt:
    """What a diffusion model is told to show.

    Attributes:
        text: In words.
        negative: What guidance leads away from; None leaves that to the model.
        guidance_scale: How far (classifier-free guidance); 1 does without, None leaves it to the model.
    """

    text: str
    negative: str | None
    guidance_scale: float | None


@dataclass(frozen=True)
class Control:
    """A picture for a ControlNet: edges, depth, poses, whatever it was trained on.

    Attributes:
        image: (H, W, 3), float32, in [0, 1], of any size; stretched over the canvas.
        weight: Of the ControlNet.
    """

    image: np.ndarray
    weight: float


@dataclass(frozen=True)
class Kept:
    """A picture on the canvas, and which of its pixels stay as they are.

    Attributes:
        image: (h, w, 3) or (h, w, 4), float32, as the exemplars' pixels; carried on smoothly where it is not kept, see `texgen.materials.holes`.
        mask: (h, w), bool: what is kept.
        place: Where on the canvas, in px; inside it.
        is_swatch: Whether it is the first swatch, as it was given.
    """

    image: np.ndarray
    mask: np.ndarray
    place: Tile
    is_swatch: bool = False


@dataclass(frozen=True, kw_only=True)
class Constraints:
    """What steers a canvas.

    Attributes:
        layout: A rough plan of it.
        content: A picture to be shown in the exemplars' style.
        prompt: What to show in the exemplars' style.
        controls: A picture for each ControlNet of the model.
        content_weight: How closely a diffusion model holds on to the layout, the content or the painted start; None leaves that to it.
        target: Which label is wanted where.
        kept: Pixels that are given.
        place: (left, top) in pixels where the first exemplar itself is kept.
        guides: Maps of the exemplars and of the canvas that are to agree.
        orientation: Which way the exemplars lie at each place.
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
    """A texture that is wanted.

    Attributes:
        canvas: Where it goes.
        exemplars: What it is made of.
        shares: Of each exemplar on the canvas, summing to 1; None where that is left to the model.
        constraints: What steers it.
        maps: Of the exemplars, to be shown in register with their colours.
        seed: Of all randomness.
        encoding: Of the pixels.
        with_map: Whether the map of where all came from is wanted.
    """

    canvas: Canvas
    exemplars: Sequence[Exemplar]
    shares: tuple[float, ...] | None = None
    constraints: Constraints = field(default_factory=Constraints)
    maps: Sequence[Map] = ()
    seed: int = 0
    encoding: Encoding = field(default_factory=Encoding)
    with_map: bool = False
