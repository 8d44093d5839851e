"""Shards: the format, writing, reading, checking and counting."""
