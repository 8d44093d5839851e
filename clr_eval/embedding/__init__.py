"""Features of a split, and their files."""
