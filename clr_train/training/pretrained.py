"""Loading a pretrained encoder from a checkpoint."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from clr_train.config import TrainConfig
from clr_train.learner import Learner
from clr_train.runtime.processes import pick_device
from clr_train.training.checkpoint import Checkpoint, CheckpointError, read_checkpoint
from pilarnet_convert.options import OptionError

__all__ = ["config_of", "load_learner", "load_weights", "make_learner"]


def load_learner(
    path: str | Path, *, device: str = "auto", engine: str = "auto", precision: str = "auto"
) -> Learner:
    """Load a pretrained encoder from a checkpoint of ``clr-train``.

    Parameters
    ----------
    path : path
        A checkpoint file, or a run folder: its best checkpoint, else its latest.
    device, engine, precision : str
        As the options of ``clr-train``; they may differ from those of the training.

    Returns
    -------
    Learner
        In evaluation mode.

    Raises
    ------
    CheckpointError
        The checkpoint cannot be read, or its model does not exist in this version.
    """
    return make_learner(read_checkpoint(path), device=device, engine=engine, precision=precision)


def make_learner(
    checkpoint: Checkpoint, *, device: str = "auto", engine: str = "auto", precision: str = "auto"
) -> Learner:
    """Make the encoder of a checkpoint that has been read, as `load_learner` does."""
    path, _, state = checkpoint
    config = dataclasses.replace(
        config_of(state, file=path), device=device, engine=engine, precision=precision
    )
    learner = Learner(config, device=pick_device(device))
    load_weights(learner, state, file=path)
    learner.model.eval()
    return learner


def config_of(state: Mapping[str, Any], *, file: str | Path | None = None) -> TrainConfig:
    """Return the options of the run of a checkpoint, read from `file`.

    A CheckpointError is raised if they are not options of this version.
    """
    try:
        return TrainConfig.from_dict(state["config"])
    except (TypeError, ValueError, AttributeError, RecursionError, OptionError) as error:
        raise CheckpointError(
            "checkpoint with options of another version",
            file=file,
            field="config",
            found=error,
            advice="use the release of pilarnet-clr that wrote it, or train anew",
        ) from error


def load_weights(
    learner: Learner, state: Mapping[str, Any], *, file: str | Path | None = None
) -> None:
    """Load the weights of a checkpoint, read from `file`, into a learner.

    A CheckpointError is raised if the encoder has other sizes, or the weights do not fit.
    """
    advice = "use the release of pilarnet-clr that wrote it, or train anew"
    expected, found = learner.describe(), state["encoder"]
    names = sorted(expected.keys() | found.keys())
    if differing := [name for name in names if expected.get(name) != found.get(name)]:
        raise CheckpointError(
            "checkpoint of another model",
            file=file,
            field="encoder",
            expected={name: expected.get(name) for name in differing},
            found={name: found.get(name) for name in differing},
            advice=advice,
        )
    try:
        learner.model.load_state_dict(state["model"])
    except (RuntimeError, TypeError, AttributeError) as error:
        raise CheckpointError(
            "checkpoint of another model: its weights do not fit",
            file=file,
            field="model",
            found=" ".join(str(error).split()),
            advice=advice,
        ) from None
