"""Denoising networks: UNets and joint transformers with access to their attention, ControlNets, compilation, memory estimates."""
