"""Models: one `LatentModel` shape, loaded from the package, a folder, a file or a hub."""

from texgen.diffusion.models.backbone import Backbone
from texgen.diffusion.models.latent import LatentModel
from texgen.diffusion.models.load import load

__all__ = ["Backbone", "LatentModel", "load"]
