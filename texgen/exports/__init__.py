"""Materials for engines: names, packings, formats, and the files that carry a material as a whole."""
