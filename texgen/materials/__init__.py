"""What belongs to a material beside its colour."""
