"""Training of a base model for texgen, from data to autoencoder to UNet, as `python -m training`."""
