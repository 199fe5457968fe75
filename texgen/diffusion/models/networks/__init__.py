"""Denoising networks: UNets and joint transformers, their attention read and changed; ControlNets; compilation and memory."""
