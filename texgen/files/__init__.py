"""Reading pictures, encoding them, and publishing files whole or not at all."""
