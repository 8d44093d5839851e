from .conversion import convert, convert_part
from .shards.reader import open_shards
from .shards.statistics import statistics
from .shards.verify import verify

__version__: str

__all__ = [
    "convert",
    "convert_part",
    "open_shards",
    "statistics",
    "verify",
]
