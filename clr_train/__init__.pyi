from .batch import ParticleBatch
from .config import TrainConfig
from .export.arrays import embed
from .export.encoder import Encoder
from .export.files import export_encoder, load_encoder
from .learner import Learner
from .loss import contrastive_loss
from .probe.classifiers import project_to_plane
from .probe.features import Features, collect
from .probe.figures import draw_classes
from .probe.handcrafted import handcrafted_features
from .probe.probes import linear_probe, nearest_neighbours
from .stream.config import StreamConfig
from .stream.stream import ParticleStream, open_stream
from .train import TrainResult, pretrain
from .training.checkpoint import load_checkpoint
from .training.pretrained import load_learner
from .views.config import ViewConfig
from .views.make import as_sites, make_views

__all__ = [
    "Encoder",
    "Features",
    "Learner",
    "ParticleBatch",
    "ParticleStream",
    "StreamConfig",
    "TrainConfig",
    "TrainResult",
    "ViewConfig",
    "as_sites",
    "collect",
    "contrastive_loss",
    "draw_classes",
    "embed",
    "export_encoder",
    "handcrafted_features",
    "linear_probe",
    "load_checkpoint",
    "load_encoder",
    "load_learner",
    "make_views",
    "nearest_neighbours",
    "open_stream",
    "pretrain",
    "project_to_plane",
]
