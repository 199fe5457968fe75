"""Latents on their way: starts, Algorithms 1 and 2 of attention distillation through the tiles, what is kept of an unfinished run."""
