"""Pictures in and out: read, encoded, published whole or not at all."""
