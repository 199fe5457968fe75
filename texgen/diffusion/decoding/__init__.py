"""From latents to pixels: tiled decoding, transfer of the swatch's fine detail, tuning of the decoder to the swatch."""
