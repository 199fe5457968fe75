"""Autoencoders: the bundled one, and Stable Diffusion's on tiles of a canvas."""
