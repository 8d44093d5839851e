"""Pretraining, from top to bottom: read, make two views, contrast, learn, judge, keep.

The run is fixed by its configuration: order, views, dropped paths and initial weights are keyed
by the seed, and the learning rate by the step. A checkpoint holds the rest, so that a run that
was stopped at any moment goes on as if it had not been.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass
from functools import partial
from itertools import chain, islice
from pathlib import Path

import torch
from tqdm import tqdm

from clr_train.batch import ParticleBatch
from clr_train.config import TrainConfig
from clr_train.learner import Learner
from clr_train.probe.probes import Scores
from clr_train.runtime.processes import join_world
from clr_train.runtime.signals import StopRequest, hold_signals
from clr_train.stream.stream import ParticleStream
from clr_train.training.gradient_cache import backpropagate, learning_rate, parameter_groups
from clr_train.training.recorder import Recorder
from clr_train.training.resume import Progress, restore
from pilarnet_convert.errors import PilarnetError

__all__ = ["TrainResult", "TrainingError", "count_steps", "pretrain"]

_NAMED_PARTICLES = 8


class TrainingError(PilarnetError):
    """Training that cannot go on: a loss or a gradient that is not finite."""


@dataclass(frozen=True, kw_only=True)
class TrainResult:
    """How a run ended.

    Parameters
    ----------
    step, total_steps : int
        Steps done, and steps of the whole run.
    checkpoint : path or None
        The last one written; None on processes that write none.
    stopped_by : int
        The signal that ended the run early, 0 if none did.
    probe : dict of str to Scores
        What the final probe read; empty when it was not made.
    """

    step: int
    total_steps: int
    checkpoint: Path | None
    stopped_by: int
    probe: dict[str, Scores]


def pretrain(
    config: TrainConfig,
    *,
    resume: bool = False,
    overwrite: bool = False,
    show_progress: bool = False,
    say: Callable[[str], object] = tqdm.write,
) -> TrainResult:
    """Pretrain an encoder.

    Parameters
    ----------
    config : TrainConfig
        The run.
    resume : bool
        Continue from the latest checkpoint in ``config.out``, if there is one.
    overwrite : bool
        Replace an earlier run in ``config.out``.
    show_progress : bool
        Draw a bar on standard error if that is a terminal.
    say : callable
        Takes each line for the user.

    Returns
    -------
    TrainResult

    Raises
    ------
    PilarnetError
        Shards, options, device or checkpoint that cannot be used, or an output folder in use.
    TrainingError
        A loss or gradient that is not finite.
    """
    with join_world(config.device) as world, StopRequest() as stop, ExitStack() as stack:
        stream = ParticleStream(config, rank=world.rank, world_size=world.size, device=world.device)
        total_steps = count_steps(config, stream=stream)
        learner = Learner(config, device=world.device)
        weights = list(learner.model.parameters())
        optimizer = torch.optim.AdamW(
            parameter_groups(weights, weight_decay=config.weight_decay), betas=(0.9, 0.95)
        )
        recorder = state = None
        if world.is_main:
            recorder = stack.enter_context(
                Recorder(
                    config=config,
                    learner=learner,
                    optimizer=optimizer,
                    stream=stream,
                    total_steps=total_steps,
                    resume=resume,
                    overwrite=overwrite,
                    show_progress=show_progress,
                    say=say,
                )
            )
            state = recorder.load()
        state = world.share(state)
        # Nothing here draws from it; what a checkpoint says of it is the run's own all the same.
        torch.manual_seed(config.seed)
        progress = Progress()
        if state is not None:
            file = recorder.last_checkpoint if recorder is not None else None
            progress = restore(state, learner=learner, optimizer=optimizer, file=file)
        if recorder is not None:
            recorder.begin(progress)

        batches = _batches(stream, begin=progress.step, end=total_steps)
        stopped_by = 0
        while progress.step < total_steps and not stopped_by:
            asked = time.perf_counter()
            epoch, batch = next(batches)
            came = time.perf_counter()

            rate = learning_rate(progress.step, total_steps=total_steps, config=config)
            for group in optimizer.param_groups:
                group["lr"] = rate
            optimizer.zero_grad(set_to_none=True)
            loss = backpropagate(
                batch.to(world.device, non_blocking=True),
                project=partial(learner.project, epoch=epoch),
                loss=learner.loss,
                micro_batch_size=config.micro_batch_size,
            )
            # The loss is that of the joined batch: its gradient is the sum over the processes.
            world.sum_gradients(weights)
            norm = torch.nn.utils.clip_grad_norm_(weights, config.clip_norm)
            _require_finite(float(loss), float(norm), progress, batch, recorder)
            optimizer.step()

            progress.step += 1
            done = time.perf_counter()
            progress.seconds += done - asked
            stopped_by = world.largest(stop.signal) if progress.step < total_steps else 0
            if recorder is not None:
                recorder.record(
                    {
                        "epoch": epoch,
                        "loss": float(loss),
                        "learning_rate": rate,
                        "gradient_norm": float(norm),
                        "particles": batch.num_particles * world.size,
                        "seconds": progress.seconds,
                        "particles_per_second": batch.num_particles * world.size / (done - asked),
                        "data_wait_share": (came - asked) / (done - asked),
                    },
                    stopping=bool(stopped_by),
                )

        stop.release()  # nothing is lost any more: a signal ends the probe at once
        finished = recorder is not None and not stopped_by
        return TrainResult(
            step=progress.step,
            total_steps=total_steps,
            checkpoint=recorder.last_checkpoint if recorder else None,
            stopped_by=stopped_by,
            probe=recorder.finish() if recorder and finished else {},
        )


def count_steps(config: TrainConfig, *, stream: ParticleStream) -> int:
    """Count the steps of a run: those of its epochs, or ``max_steps`` if that is fewer."""
    steps = config.epochs * stream.num_batches
    return steps if config.max_steps is None else min(steps, config.max_steps)


def _batches(
    stream: ParticleStream, *, begin: int, end: int
) -> Iterator[tuple[int, ParticleBatch]]:
    """Read the batches of the steps from `begin` to `end`, each with its epoch."""
    step = begin
    while step < end:
        epoch, start = divmod(step, stream.num_batches)
        batches = stream.batches(epoch, start_batch=start)
        # Reading processes, if there are any, start with the first batch.
        with hold_signals() if stream.workers else nullcontext():
            first = list(islice(batches, 1))
        for batch in islice(chain(first, batches), end - step):
            yield epoch, batch
            step += 1


def _require_finite(
    loss: float, norm: float, progress: Progress, batch: ParticleBatch, recorder: Recorder | None
) -> None:
    """Stop before a step that would spoil the weights."""
    if math.isfinite(loss) and math.isfinite(norm):
        return
    particles = batch.particle.tolist()
    named = ", ".join(map(str, particles[:_NAMED_PARTICLES]))
    last = None
    if recorder is not None:
        last = recorder.last_checkpoint
        if len(particles) > _NAMED_PARTICLES:
            named += (
                f", ... in all {len(particles)}, listed in {recorder.note_nonfinite(particles)}"
            )
    raise TrainingError(
        f"the {'gradient' if math.isfinite(loss) else 'loss'} of step {progress.step + 1} is not "
        f"finite, with the particles {named} of the split in the batch",
        found=f"loss {loss}, gradient norm {norm}",
        advice=f"the last good checkpoint is {last or 'none: none was due yet'}; try a lower --lr "
        "or --precision fp32, and look at these particles",
    )
