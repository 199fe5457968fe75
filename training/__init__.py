"""Train a base model: gather textures, then the autoencoder, then the UNet. Used by `python -m training`."""
