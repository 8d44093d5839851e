"""PILArNet to particle shards."""

__version__ = "0.1.0"
