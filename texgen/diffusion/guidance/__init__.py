"""Guidance of a diffusion model: attention distillation towards an exemplar, attention by regions, prompts."""
