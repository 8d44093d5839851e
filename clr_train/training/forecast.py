"""How long work will take, measured on a few particles before it begins."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

import torch

from clr_train.batch import ParticleBatch

if TYPE_CHECKING:
    from clr_train.stream.stream import ParticleStream
    from clr_train.training.resume import TrainingRun

__all__ = ["SAMPLE", "forecast", "forecast_training", "seconds_per_particle"]

#: Particles that take less than an hour on any machine: for them nothing is measured.
_FEW: Final = 3000
#: Particles to read for a measurement.
SAMPLE: Final = 64
#: Seconds that a measurement takes at least.
_MEASURED_SECONDS: Final = 0.3
#: Cost of one encoding of a particle in parts of a training step of it, which has two views and
#: takes three times as long as its forward pass alone; and of a second forward pass.
_ENCODING: Final = 1 / 6
_SECOND_PASS: Final = 1 / 3


def seconds_per_particle(
    work: Callable[[ParticleBatch], object], sample: ParticleBatch, *, most: int
) -> float:
    """Measure what `work` takes for a particle, on ever larger batches of those of `sample`.

    The batches have 8, 32, 128, ... particles, those of `sample` repeated, until one takes 0.3
    seconds or has `most` particles.
    """
    count = min(8, most)
    work(_repeated(sample, count))  # the first takes longer: what it needs is loaded or compiled
    while True:
        batch = _repeated(sample, count)
        start = time.perf_counter()
        work(batch)
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        seconds = time.perf_counter() - start
        if seconds >= _MEASURED_SECONDS or count == most:
            return seconds / count
        count = min(4 * count, most)


def _repeated(sample: ParticleBatch, count: int) -> ParticleBatch:
    return sample.take(torch.arange(count) % sample.num_particles)


def forecast(
    cost: float,
    *,
    work: Callable[[ParticleBatch], object],
    sample: Callable[[], ParticleBatch],
    most: int,
) -> float:
    """Estimate the seconds that work takes; 0, without a measurement, if it is certainly short.

    Parameters
    ----------
    cost : float
        In units of what `work` takes for a particle.
    work, most
        As for `seconds_per_particle`.
    sample : callable
        Reads particles to measure on.
    """
    return 0.0 if cost < _FEW else cost * seconds_per_particle(work, sample(), most=most)


def forecast_training(run: TrainingRun, *, train: ParticleStream) -> float:
    """Estimate the seconds that a run takes from here on, as `forecast`.

    A few particles of `train`, the training split, are passed through the network and back.
    """
    config = run.config
    steps = run.total_steps - run.progress.step
    share = -(-run.stream.batch_size // run.num_processes)
    cost = steps * share * (1 + (_SECOND_PASS if config.micro_batch_size else 0))
    cost += _ENCODING * 2 * config.eval_particles * (steps // config.eval_every)
    cost += _ENCODING * 2 * train.num_particles * config.final_probe

    def pass_through(batch: ParticleBatch) -> None:
        run.learner.project(batch, epoch=0).sum().backward()  # type: ignore[no-untyped-call]

    seconds = forecast(
        cost,
        work=pass_through,
        sample=lambda: train.sample(SAMPLE),
        most=min(share, config.micro_batch_size or share),
    )
    run.optimizer.zero_grad(set_to_none=True)
    return seconds
