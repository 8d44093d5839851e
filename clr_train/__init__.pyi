from .config import TrainConfig
from .learner import Learner
from .probe.features import Features, collect
from .probe.handcrafted import handcrafted_features
from .probe.probes import linear_probe, nearest_neighbours
from .stream.config import StreamConfig
from .stream.stream import ParticleStream, open_stream
from .train import TrainResult, pretrain
from .training.checkpoint import load_checkpoint
from .training.pretrained import load_learner

__all__ = [
    "Features",
    "Learner",
    "ParticleStream",
    "StreamConfig",
    "TrainConfig",
    "TrainResult",
    "collect",
    "handcrafted_features",
    "linear_probe",
    "load_checkpoint",
    "load_learner",
    "nearest_neighbours",
    "open_stream",
    "pretrain",
]
