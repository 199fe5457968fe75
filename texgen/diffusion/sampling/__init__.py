"""Sampling of latents: starts, Algorithms 1 and 2 of attention distillation over tiles, checkpoints."""
