"""Loading of models from the package, a diffusers folder, a single file or the hub, and of LoRAs from files."""
