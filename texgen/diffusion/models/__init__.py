"""Models: one `Backbone` shape, loaded from the package, a folder, a file or a hub."""

from texgen.diffusion.models.backbone import Backbone
from texgen.diffusion.models.load import BUNDLED, load

__all__ = ["BUNDLED", "Backbone", "load"]
