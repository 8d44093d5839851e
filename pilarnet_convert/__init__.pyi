from .config import ConvertConfig
from .conversion import convert, convert_part
from .errors import InputError, PilarnetError, ShardError
from .options import OptionError
from .shards.particle import Particle, ParticleSequence
from .shards.reader import Shards, open_shards
from .shards.shard import Shard
from .shards.statistics import statistics
from .shards.verify import verify

__version__: str

__all__ = [
    "ConvertConfig",
    "InputError",
    "OptionError",
    "Particle",
    "ParticleSequence",
    "PilarnetError",
    "Shard",
    "ShardError",
    "Shards",
    "convert",
    "convert_part",
    "open_shards",
    "statistics",
    "verify",
]
