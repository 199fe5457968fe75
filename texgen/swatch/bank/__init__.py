"""The bank: all that a texture can be made of, at every scale.

repeat       what a swatch repeats of itself, and which of its borders meet
sources      the parts of the swatches that are searched
atlas        all of them on one sheet
pyramid      scales of a swatch, the distance to its edges
descriptors  patches as keys and queries
level        one scale of the sheet
bank         all of them
"""
