"""Pretraining: read a batch, make two views, contrast them, update the weights, evaluate, save.

The configuration determines the run: order, views, dropped paths and initial weights are keyed by
the seed, and the learning rate by the step. A checkpoint holds the rest, so that a resumed run ends
with the same weights as one that was never stopped.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path

import torch

from clr_train.batch import ParticleBatch
from clr_train.config import TrainConfig
from clr_train.probe.probes import Scores
from clr_train.runtime.processes import World, join_world
from clr_train.runtime.signals import StopRequest
from clr_train.stream.mixed import MixedStream
from clr_train.stream.stream import ParticleStream
from clr_train.training.gradient_cache import backpropagate
from clr_train.training.optimizer import set_learning_rate
from clr_train.training.recorder import NullRecorder, Recorder
from clr_train.training.resume import TrainingRun, start_run
from pilarnet_convert.console.progress import print_line
from pilarnet_convert.errors import PilarnetError, listed

__all__ = ["TrainResult", "TrainingError", "pretrain"]


class TrainingError(PilarnetError):
    """A loss or a gradient is not finite."""


@dataclass(frozen=True, kw_only=True)
class TrainResult:
    """How a run ended.

    Parameters
    ----------
    step, total_steps : int
        Steps done, and steps of the whole run.
    checkpoint : path or None
        The last one written; None in a process that writes none.
    stopped_by : int
        The signal that ended the run early, 0 if none did.
    probe : dict of str to Scores
        Scores of the final probe; empty if it was not made.
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
    say: Callable[[str], object] = print_line,
) -> TrainResult:
    """Pretrain an encoder.

    This seeds torch's random generators, or sets them to the state in a checkpoint.

    Parameters
    ----------
    config : TrainConfig
        The options of the run.
    resume : bool
        Continue from the latest checkpoint in ``config.out``, if there is one.
    overwrite : bool
        Replace an earlier run in ``config.out``.
    show_progress : bool
        Draw a bar on standard error if that is a terminal.
    say : callable
        Receives each line for the user.

    Raises
    ------
    PilarnetError
        Shards, options, device or checkpoint cannot be used, the output folder is in use, or (a
        `TrainingError`) a loss or gradient is not finite.
    """
    with join_world(config.device) as world, StopRequest() as stop:
        run = start_run(config, world=world)
        recorder = NullRecorder()
        if world.is_main:
            recorder = Recorder(
                run,
                stop=stop,
                resume=resume,
                overwrite=overwrite,
                show_progress=show_progress,
                say=say,
            )
        with recorder:
            # Training draws nothing from this generator, but a checkpoint holds its state.
            torch.manual_seed(config.seed)
            state = world.share(recorder.load())
            if state is not None:
                run.restore(state, file=recorder.last_checkpoint)
            recorder.begin()
            stopped_by = _train(run, world=world, stop=stop, recorder=recorder)
            probe = {} if stopped_by else recorder.finish()
            return TrainResult(
                step=run.progress.step,
                total_steps=run.total_steps,
                checkpoint=recorder.last_checkpoint,
                stopped_by=stopped_by or stop.signal,
                probe=probe,
            )


def _train(run: TrainingRun, *, world: World, stop: StopRequest, recorder: NullRecorder) -> int:
    """Train until the last step or a signal; return the signal, 0 if there was none."""
    progress = run.progress
    stopped_by = world.largest(stop.signal)
    batches = _batches(run.stream, begin=progress.step, end=run.total_steps)
    while progress.step < run.total_steps and not stopped_by:
        start = time.perf_counter()
        epoch, batch = next(batches)
        waited = time.perf_counter() - start
        figures = _compute_gradients(run, batch, epoch=epoch, world=world)
        if not all(map(math.isfinite, figures.values())):
            raise _nonfinite_error(figures, batch, step=progress.step + 1, recorder=recorder)
        run.optimizer.step()
        seconds = time.perf_counter() - start
        progress.step += 1
        progress.seconds += seconds
        stopped_by = world.largest(stop.signal)
        particles = batch.num_particles * world.size
        figures |= {
            "epoch": epoch,
            "particles": particles,
            "seconds": progress.seconds,
            "particles_per_second": particles / seconds,
            "data_wait_share": waited / seconds,
        }
        recorder.record(figures, stopping=bool(stopped_by))
        if run.is_evaluated or run.is_pictured:  # which a signal may have ended
            stopped_by = world.largest(stop.signal)
    return stopped_by


def _compute_gradients(
    run: TrainingRun, batch: ParticleBatch, *, epoch: int, world: World
) -> dict[str, float]:
    """Set the learning rate and compute the gradients of a batch; return figures of the step."""
    config, learner = run.config, run.learner
    rate = run.next_rate()
    set_learning_rate(run.optimizer, rate)
    run.optimizer.zero_grad(set_to_none=True)
    loss = backpropagate(
        batch.to(world.device, non_blocking=True),
        project=partial(learner.project, epoch=epoch),
        loss=learner.loss,
        micro_batch_size=config.micro_batch_size,
    )
    # The loss is that of the joined batch: its gradient is the sum over the processes.
    world.sum_gradients(run.parameters)
    norm = torch.nn.utils.clip_grad_norm_(run.parameters, config.clip_norm)
    found = torch.stack([loss, norm]).tolist()  # one synchronisation with the GPU
    return {"loss": found[0], "learning_rate": rate, "gradient_norm": found[1]}


def _batches(
    stream: ParticleStream | MixedStream, *, begin: int, end: int
) -> Iterator[tuple[int, ParticleBatch]]:
    """Read the batches of the steps from `begin` to `end`, each with its epoch."""
    step = begin
    while step < end:
        epoch, start = divmod(step, stream.num_batches)
        batches = stream.batches(epoch, start_batch=start)
        for batch in islice(batches, end - step):
            yield epoch, batch
            step += 1


def _nonfinite_error(
    figures: dict[str, float], batch: ParticleBatch, *, step: int, recorder: NullRecorder
) -> TrainingError:
    particles = batch.particle.tolist()
    file = recorder.write_nonfinite(particles)
    loss, norm = figures["loss"], figures["gradient_norm"]
    return TrainingError(
        f"the {'gradient' if math.isfinite(loss) else 'loss'} of step {step} is not finite",
        found=f"loss {loss}, gradient norm {norm}, in a batch of the particles "
        f"{listed(map(str, particles))}" + (f" (all in {file})" if file else ""),
        advice=f"the last good checkpoint is {recorder.last_checkpoint or 'none: none was due yet'}"
        "; try a lower --lr or --precision fp32, and look at these particles",
    )
