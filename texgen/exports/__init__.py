"""Export of materials to engines: names, channel packing, formats, and files that hold a whole material."""
