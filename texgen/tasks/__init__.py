"""The verbs of texgen, such as `expand`, one per file."""
