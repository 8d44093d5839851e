"""Features of a split: `split` reads it, `features` embeds it, `files` writes the result."""
