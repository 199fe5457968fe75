"""Materials: swatches, their labels, maps and guides, and maps estimated from a colour."""
