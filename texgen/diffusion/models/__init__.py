"""Latent diffusion models: loading, networks, autoencoders and prompts behind the interface of `LatentModel`."""

from texgen.diffusion.models.latent_model import LatentModel
from texgen.diffusion.models.loading.load import load
from texgen.diffusion.models.unet_model import UNetModel

__all__ = ["LatentModel", "UNetModel", "load"]
