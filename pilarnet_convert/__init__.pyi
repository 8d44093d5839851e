from .conversion import convert
from .shards.reader import open_shards
from .shards.statistics import statistics
from .shards.verify import verify

__version__: str

__all__ = [
    "convert",
    "open_shards",
    "statistics",
    "verify",
]
