"""texgen: a small material swatch becomes a large, seamless texture.

Example:
    >>> import texgen
    >>> texgen.expand("swatch.png", size=(1024, 1024), seed=7).save("out.png")  # doctest: +SKIP
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from texgen.errors import InputError, LockedError, ModelError, OptionError, ResourceError, TexgenError

if TYPE_CHECKING:
    from texgen.diffusion.models import UNetModel, load
    from texgen.tasks.expand import expand
    from texgen.tasks.export import export
    from texgen.tasks.fill import fill
    from texgen.tasks.inspect import Inspected, inspect
    from texgen.tasks.layout import layout
    from texgen.tasks.material import Estimated, material
    from texgen.tasks.options import Options
    from texgen.tasks.paint import paint
    from texgen.tasks.preview import preview
    from texgen.tasks.render import render
    from texgen.tasks.result import Result
    from texgen.tasks.synthesize import synthesize
    from texgen.tasks.text import text
    from texgen.tasks.tile import tile
    from texgen.tasks.transfer import transfer
    from texgen.tasks.wang import wang

__all__ = [
    "Estimated",
    "InputError",
    "Inspected",
    "LockedError",
    "ModelError",
    "OptionError",
    "Options",
    "ResourceError",
    "Result",
    "TexgenError",
    "UNetModel",
    "expand",
    "export",
    "fill",
    "inspect",
    "layout",
    "load",
    "material",
    "paint",
    "preview",
    "render",
    "synthesize",
    "text",
    "tile",
    "transfer",
    "wang",
]

_ELSEWHERE = {
    "UNetModel": "texgen.diffusion.models",
    "load": "texgen.diffusion.models",
    "Estimated": "texgen.tasks.material",
    "Inspected": "texgen.tasks.inspect",
}
"""Modules of the names that are not in a module of `texgen.tasks` called after them."""


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def __getattr__(name: str) -> Any:
    """Import torch and diffusers only when a name that needs them is used."""
    if name == "__version__":
        from texgen.runs.digests import package_version

        return package_version("texgen")
    if name in __all__:
        from importlib import import_module

        return getattr(import_module(_ELSEWHERE.get(name, f"texgen.tasks.{name.lower()}")), name)
    raise AttributeError(f"module 'texgen' has no attribute {name!r}")
