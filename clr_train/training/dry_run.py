"""A description of a run that is not started: model, batches, and an estimate of memory."""

from __future__ import annotations

import dataclasses
import resource
import sys

import torch
from torch import Tensor

from clr_train.batch import ParticleBatch
from clr_train.config import TrainConfig
from clr_train.learner import Learner
from clr_train.loss import loss_bytes
from clr_train.runtime.processes import World, pick_device
from clr_train.training.optimizer import learning_rate
from clr_train.training.resume import TrainingRun, start_run
from clr_train.training.validation import describe_missing, open_evaluated

__all__ = ["describe", "saved_bytes"]

#: Bytes of a weight and its gradient, and of the two moments of AdamW, float32.
_BYTES_PER_WEIGHT = 2 * 4
_BYTES_PER_MOMENTS = 2 * 4


def describe(config: TrainConfig) -> str:
    """Describe a run in lines for the user.

    Its first batch, or as much of it as is embedded at once, is passed through the network and
    back, and the memory that this takes is measured.

    Raises
    ------
    PilarnetError
        Whatever would end the run before its first step.
    """
    world = World(rank=0, size=1, device=pick_device(config.device))
    run = start_run(dataclasses.replace(config, workers=0), world=world)
    val, test = open_evaluated(config)
    learner, stream, total = run.learner, run.stream, run.total_steps
    encoder, head = (
        sum(weight.numel() for weight in module.parameters())
        for module in (learner.model.encoder, learner.model.head)
    )
    rates = (
        learning_rate(i, total_steps=total, epoch_steps=stream.num_batches, config=config)
        for i in range(total)
    )
    return "\n".join(
        [
            f"model      {config.model}: {encoder:,} parameters in the encoder, {head:,} in the "
            "projection head",
            f"device     {learner.device}, engine {learner.engine.name}, {learner.precision}",
            *(f"particles  {line}" for line in stream.lines()),
            *(f"particles  {line}" for line in describe_missing(config, val=val, test=test)),
            f"batches    {stream.num_batches:,} of {stream.batch_size:,} particles an epoch, "
            f"{total:,} steps in all, rate up to {max(rates):.2g}",
            f"views      {config.num_augmentations} of {', '.join(config.augmentations)}; energy "
            f"as {config.energy_transform}",
            f"memory     {_describe_memory(run)}",
        ]
    )


def _describe_memory(run: TrainingRun) -> str:
    config = run.config
    batch = next(run.stream.batches(0))
    piece = next(batch.split(config.micro_batch_size or batch.num_particles))
    num_weights = sum(weight.numel() for weight in run.parameters)
    moments = _BYTES_PER_MOMENTS * num_weights
    weights = _BYTES_PER_WEIGHT * num_weights + moments
    activations = saved_bytes(run.learner, piece.to(run.learner.device))
    contrast = loss_bytes(run.stream.batch_size)
    total = _peak_bytes(run, piece) + moments + contrast
    return (
        f"about {_mib(total)} of the {'GPU' if run.learner.device.type == 'cuda' else 'process'}, "
        f"of which {_mib(weights)} for weights, gradients and AdamW, {_mib(activations)} for the "
        f"activations of {piece.num_particles} particles ({piece.num_voxels:,} voxels) in two "
        f"views, {_mib(contrast)} for the loss"
    )


def _peak_bytes(run: TrainingRun, piece: ParticleBatch) -> int:
    """Measure the most memory that the gradients of a batch take, on a GPU or of this process."""
    run.learner.project(piece.to(run.learner.device), epoch=0).sum().backward()  # type: ignore[no-untyped-call]
    run.optimizer.zero_grad(set_to_none=True)
    if run.learner.device.type == "cuda":
        return torch.cuda.max_memory_reserved(run.learner.device)
    # Linux counts in KiB, macOS in bytes.
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _mib(num_bytes: int) -> str:
    return f"{num_bytes / 2**20:,.0f} MiB"


def saved_bytes(learner: Learner, batch: ParticleBatch) -> int:
    """Count the bytes that a forward pass keeps for the backward pass, without weights.

    `batch` is on the device of the learner. Each storage is counted once, however often it is
    saved.
    """
    weights = {weight.untyped_storage().data_ptr() for weight in learner.model.parameters()}
    # Keeping the tensors prevents an address from being reused.
    kept: dict[int, Tensor] = {}

    def pack(tensor: Tensor) -> Tensor:
        address = tensor.untyped_storage().data_ptr()
        if address not in weights:
            kept[address] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        learner.project(batch, epoch=0)
    return sum(tensor.untyped_storage().nbytes() for tensor in kept.values())
