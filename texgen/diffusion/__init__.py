"""Diffusion models as makers of textures: a plan, its stages, the two loops of attention distillation."""
