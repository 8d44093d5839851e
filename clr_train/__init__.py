"""Contrastive pretraining of a sparse network on the particle shards of ``pilarnet_convert``.

=========  ====================================================================================
stream     shards to ragged batches of particles (``batch``): planned, filtered, read
views      two augmented views of each particle, as sites of a sparse tensor
network    a sparse ConvNeXt V2 and its projection head, built on the convolutions of ``sparse``
loss       NT-Xent and its supervised form, over blocks and processes
learner    the network with its engine, device, precision and views
train      the training loop of the command ``clr-train`` (``cli``, ``config``)
training   gradients of a step, optimizer, checkpoints, validation, output
probe      probes and other measures of features, and hand-made features to compare with
runtime    devices, processes and signals
keys       random numbers, keyed by seed, epoch, particle and use
=========  ====================================================================================

To pretrain from Python, and to use the encoder::

    from clr_train import TrainConfig, collect, load_learner, open_stream, pretrain

    config = TrainConfig(shards="shards/", out="runs/first", epochs=5)
    result = pretrain(config)
    learner = load_learner(result.checkpoint)
    stream = open_stream(config, split="test")
    features = collect(stream.sequential(256), features=learner.represent)
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from clr_train.config import TrainConfig as TrainConfig
    from clr_train.learner import Learner as Learner
    from clr_train.probe.features import Features as Features
    from clr_train.probe.features import collect as collect
    from clr_train.probe.handcrafted import handcrafted_features as handcrafted_features
    from clr_train.probe.probes import linear_probe as linear_probe
    from clr_train.probe.probes import nearest_neighbours as nearest_neighbours
    from clr_train.stream.config import StreamConfig as StreamConfig
    from clr_train.stream.stream import ParticleStream as ParticleStream
    from clr_train.stream.stream import open_stream as open_stream
    from clr_train.train import TrainResult as TrainResult
    from clr_train.train import pretrain as pretrain
    from clr_train.training.checkpoint import load_checkpoint as load_checkpoint
    from clr_train.training.pretrained import load_learner as load_learner

_HOMES = {
    "Features": "probe.features",
    "Learner": "learner",
    "ParticleStream": "stream.stream",
    "StreamConfig": "stream.config",
    "TrainConfig": "config",
    "TrainResult": "train",
    "collect": "probe.features",
    "handcrafted_features": "probe.handcrafted",
    "linear_probe": "probe.probes",
    "load_checkpoint": "training.checkpoint",
    "load_learner": "training.pretrained",
    "nearest_neighbours": "probe.probes",
    "open_stream": "stream.stream",
    "pretrain": "train",
}
__all__ = list(_HOMES)


def __getattr__(name: str) -> Any:
    # Modules are imported on first use: --help and options need no torch.
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value
