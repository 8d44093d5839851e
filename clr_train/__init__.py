"""Contrastive pretraining of a sparse network on the particle shards of ``pilarnet_convert``.

The path of the data, and the module of each stretch:

============  ================================================================================
stream        shards to ragged batches; planned by ``sampling``, filtered by ``selection``, read
              by ``reader`` in ``spans``, over the processes of ``loading``
views         batches to augmented voxels; what may be done to a ``cloud`` is in ``augmentations``,
              draws are in ``rng``; ``host`` says where the CPU has a faster way
voxels        the two batches that pass between these and the network
sparse        sparse convolutions, one interface with two engines
encoder       sparse ConvNeXt V2 and projection head; its parts are in ``layers``, its sizes by name
              in ``sizes``, the particle's own in ``boxes``
loss          NT-Xent and its supervised form, over blocks and processes
============  ================================================================================

A run, from the outside in:

============  ================================================================================
cli           the command ``clr-train``
config        its options, checked, and their TOML file
train         the loop, to be read from top to bottom
step          gradients of a batch, in pieces if need be; learning rate; what decays
learner       the network with engine, device, precision, views; loading a pretrained one
recorder      metrics, evaluations and checkpoints as they fall due, in the folder of ``run``
state         what a checkpoint takes from a run and gives back; the file is ``checkpoint``'s
validate      figures of the validation split; the probe of the test split
evaluate      probes, alignment and uniformity of any features; ``handmade`` ones to compare
describe      what a run would be, for ``--dry-run``
distributed   one process or many; ``signals`` ends them in order
============  ================================================================================

To pretrain from Python, and to use what came of it::

    from clr_train import TrainConfig, collect, load_learner, open_stream, pretrain

    config = TrainConfig(shards="shards/", out="runs/first", epochs=5)
    result = pretrain(config)
    learner = load_learner(result.checkpoint)
    features = collect(
        open_stream(config, split="test").sequential(256), features=learner.represent
    )
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
    # Imported when asked for: the command's --help does not wait for torch and scikit-learn.
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value
