"""What a checkpoint takes from a run, and how a run goes on from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from clr_train.config import SHAPE_OPTIONS, TrainConfig
from clr_train.learner import Learner
from clr_train.stream.stream import ParticleStream
from clr_train.training.checkpoint import CheckpointError, load_checkpoint
from pilarnet_convert.options import flag

__all__ = ["Progress", "capture", "load_for_resume", "restore"]


@dataclass(kw_only=True)
class Progress:
    """How far a run has come.

    Parameters
    ----------
    step : int
        Steps done.
    seconds : float
        Time spent on them, evaluations excluded.
    best_loss : float
        The lowest loss on the validation split.
    baselines : dict of str to float
        What the probes read before training, by the columns of metrics.csv.
    """

    step: int = 0
    seconds: float = 0.0
    best_loss: float = float("inf")
    baselines: dict[str, float] = field(default_factory=dict)


def capture(
    progress: Progress,
    *,
    learner: Learner,
    optimizer: torch.optim.Optimizer,
    stream: ParticleStream,
    config: TrainConfig,
) -> dict[str, Any]:
    """Gather the fields of a checkpoint, see `clr_train.training.checkpoint`."""
    epoch, batch = divmod(progress.step, stream.num_batches)
    return {
        "model": learner.model.state_dict(),
        "encoder": learner.describe(),
        "optimizer": optimizer.state_dict(),
        "step": progress.step,
        "stream": {"epoch": epoch, "batch": batch, **_identity(stream)},
        "random": {
            "cpu": torch.get_rng_state(),
            "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        },
        "config": config.to_dict(),
        "progress": {
            "seconds": progress.seconds,
            "best_loss": progress.best_loss,
            "baselines": dict(progress.baselines),
        },
    }


def _identity(stream: ParticleStream) -> dict[str, int]:
    """Name the figures that change when a stream is of other particles, or cut otherwise."""
    return {"num_batches": stream.num_batches, "num_particles": stream.num_particles}


def load_for_resume(
    path: str | Path, *, config: TrainConfig, stream: ParticleStream
) -> dict[str, Any]:
    """Read a checkpoint and make sure that a run of this configuration continues it.

    Raises
    ------
    CheckpointError
        Not a readable checkpoint, or one of another model, other options or other shards.
    """
    state = load_checkpoint(path)
    saved = TrainConfig.from_dict(state["config"])
    for name in config.differences(saved):
        raise CheckpointError(
            "the checkpoint is of another "
            + ("model" if name in ("model", *SHAPE_OPTIONS) else "run"),
            file=path,
            field=flag(name),
            expected=getattr(saved, name),
            found=getattr(config, name),
            advice="leave the option away, or train into another folder",
        )
    found = {name: state["stream"][name] for name in _identity(stream)}
    if found != _identity(stream):
        raise CheckpointError(
            "the checkpoint was trained on other shards",
            file=path,
            field="--shards",
            expected=_words(found),
            found=_words(_identity(stream)),
            advice="name the shards of the run, or train into another folder",
        )
    return state


def _words(identity: Mapping[str, int]) -> str:
    return f"{identity['num_particles']} particles in {identity['num_batches']} batches"


def restore(
    state: Mapping[str, Any],
    *,
    learner: Learner,
    optimizer: torch.optim.Optimizer,
    file: Path | None = None,
) -> Progress:
    """Put model, optimizer and random states where they were; return how far the run had come.

    Raises
    ------
    CheckpointError
        The state, of `file`, is of another model.
    """
    learner.load(state, file=file)
    optimizer.load_state_dict(state["optimizer"])
    torch.set_rng_state(state["random"]["cpu"])
    if len(state["random"]["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(state["random"]["cuda"])
    return Progress(step=state["step"], **state["progress"])
