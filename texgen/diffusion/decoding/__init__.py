"""From latents to pixels: tiled, with the swatch's fine detail, by a decoder that knows the swatch."""
