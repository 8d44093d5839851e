"""How long a study will take, measured on a few particles before it begins."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

import torch

from clr_eval.embedding.split import read_split
from clr_eval.study.config import StudyConfig
from clr_train.batch import ParticleBatch
from clr_train.learner import Learner
from clr_train.runtime.processes import pick_device

__all__ = ["seconds_per_cost", "seconds_per_particle"]

#: Particles to read for a measurement, and seconds that it takes at least.
_SAMPLE: Final = 64
_MEASURED_SECONDS: Final = 0.3


def seconds_per_cost(config: StudyConfig) -> float:
    """Measure what a particle of the nominal set takes in a step of pretraining, seconds."""
    learner = Learner(config.train, device=pick_device(config.train.device))

    def pass_through(batch: ParticleBatch) -> None:
        learner.project(batch, epoch=0).sum().backward()  # type: ignore[no-untyped-call]

    sample = read_split(config.nominal, split="train", max_particles=_SAMPLE).batch
    return seconds_per_particle(pass_through, sample, most=config.train.batch_size)


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
