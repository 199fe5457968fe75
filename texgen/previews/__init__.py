"""Previews of a material, as a picture or a page: a lit sphere, a plane in perspective, and repeats."""
