"""What a user asks for: one verb a file, each check, start, run, decode, recipe."""
