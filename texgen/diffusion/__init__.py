"""Texture synthesis with diffusion models: plan, stages of a run, and the two algorithms of attention distillation."""
