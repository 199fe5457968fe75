"""Models: one `Backbone` shape, loaded from the package, a folder, a file or a hub."""

from texgen.diffusion.models.backbone import Backbone
from texgen.diffusion.models.load import load

__all__ = ["Backbone", "load"]
