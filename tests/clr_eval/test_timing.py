"""The time that work takes for a particle, with a clock that the work itself moves."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from clr_eval import timing
from clr_train.batch import ParticleBatch
from clr_train.config import TrainConfig
from clr_train.stream.stream import open_stream


class Work:
    """Takes 10 ms, and 10 ms for each particle, of its own clock; the first time a minute more."""

    def __init__(self) -> None:
        self.now, self.counts = 0.0, []

    def __call__(self, batch: ParticleBatch) -> None:
        self.now += 0.01 + 0.01 * batch.num_particles + (0 if self.counts else 60)
        self.counts.append(batch.num_particles)


@pytest.fixture
def work(monkeypatch: pytest.MonkeyPatch) -> Work:
    work = Work()
    monkeypatch.setattr(timing, "time", SimpleNamespace(perf_counter=lambda: work.now))
    return work


@pytest.mark.parametrize(
    ("most", "counts"), [(256, [8, 8, 32]), (20, [8, 8, 20]), (8, [8, 8]), (3, [3, 3])]
)
def test_the_rate_is_that_of_a_batch_that_takes_long_enough(
    work: Work, shards: Path, most: int, counts: list[int]
) -> None:
    sample = open_stream(TrainConfig(shards=str(shards)), split="val").sample(5)
    seconds = timing.seconds_per_particle(work, sample, most=most)
    assert work.counts == counts
    assert seconds == pytest.approx(0.01 * (1 + 1 / counts[-1]))
