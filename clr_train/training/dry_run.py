"""What a run would be, without running it: model, batches, and an estimate of memory."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
from torch import Tensor

from clr_train.config import TrainConfig
from clr_train.learner import Learner
from clr_train.runtime.devices import pick_device
from clr_train.stream.stream import ParticleStream, open_stream
from clr_train.train import count_steps
from clr_train.training.gradient_cache import learning_rate

__all__ = ["describe", "saved_bytes"]

#: Weights, their gradients, and the two moments of AdamW, float32.
_BYTES_PER_WEIGHT = 4 * 4


def describe(config: TrainConfig) -> str:
    """Say what a run is made of.

    Parameters
    ----------
    config : TrainConfig
        The run. Its first batch is read and passed through the network once.

    Returns
    -------
    str
        Lines for the user.

    Raises
    ------
    PilarnetError
        What would stop the run before its first step.
    """
    stream = ParticleStream(dataclasses.replace(config, workers=0))
    for split in (config.val_split, *((config.test_split,) if config.final_probe else ())):
        open_stream(config, split=split)
    learner = Learner(config, device=pick_device(config.device))
    total = count_steps(config, stream=stream)
    encoder, head = (
        sum(weight.numel() for weight in module.parameters())
        for module in (learner.model.encoder, learner.model.head)
    )
    peak = max(learning_rate(i, total_steps=total, config=config) for i in range(total))
    return "\n".join(
        [
            f"model      {config.model}: {encoder:,} parameters in the encoder, {head:,} in the "
            "projection head",
            f"device     {learner.device}, engine {learner.engine.name}, {learner.precision}",
            *(f"particles  {line}" for line in stream.summary.lines()),
            f"batches    {stream.num_batches:,} of {config.batch_size:,} particles an epoch, "
            f"{total:,} steps in all, rate up to {peak:.2g}",
            f"views      {config.num_augmentations} of {', '.join(config.augmentations)}; energy "
            f"as {config.energy_transform}",
            f"memory     {_memory(learner, stream=stream)}",
        ]
    )


def _memory(learner: Learner, *, stream: ParticleStream) -> str:
    config = learner.config
    batch = next(stream.batches(0))
    piece = next(batch.split(config.micro_batch_size or batch.num_particles))
    weights = _BYTES_PER_WEIGHT * sum(w.numel() for w in learner.model.parameters())
    activations = saved_bytes(learner, piece.to(learner.device))
    # Similarities, their exponentials, and the positives of all anchors, in float32.
    contrast = 3 * 4 * (2 * config.batch_size) ** 2
    total = weights + activations + contrast
    return (
        f"about {_mib(total)}: {_mib(weights)} for weights, gradients and AdamW, "
        f"{_mib(activations)} for the activations of {piece.num_particles} particles "
        f"({piece.num_voxels:,} voxels) in two views, {_mib(contrast)} for the loss"
    )


def _mib(count: int) -> str:
    return f"{count / 2**20:,.0f} MiB"


def saved_bytes(learner: Learner, batch: Any) -> int:
    """Count the bytes that a forward pass keeps for the backward pass, weights excluded.

    Parameters
    ----------
    learner : Learner
    batch : ParticleBatch
        On the learner's device.

    Returns
    -------
    int
        Each storage counted once, however often it is saved.
    """
    weights = {weight.untyped_storage().data_ptr() for weight in learner.model.parameters()}
    # Held while counting, so that no address is used twice.
    kept: dict[int, Tensor] = {}

    def pack(tensor: Tensor) -> Tensor:
        address = tensor.untyped_storage().data_ptr()
        if address not in weights:
            kept[address] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        learner.project(batch, epoch=0)
    return sum(tensor.untyped_storage().nbytes() for tensor in kept.values())
