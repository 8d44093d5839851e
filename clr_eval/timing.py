"""How long work takes for each particle, measured on a few particles before it begins."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

import torch

from clr_train.batch import ParticleBatch

__all__ = ["seconds_per_particle"]

#: Least duration of a measurement, seconds.
_MEASURED_SECONDS: Final = 0.3


def seconds_per_particle(
    work: Callable[[ParticleBatch], object], sample: ParticleBatch, *, most: int
) -> float:
    """Measure how many seconds `work` takes for each particle of a batch.

    It is called with batches of 8, 32, 128, ... particles, those of `sample` repeated, until one
    takes 0.3 seconds or has `most` particles.
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
