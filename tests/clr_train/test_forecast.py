"""The estimate of the time that work takes, with a clock that the work itself moves."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from clr_train.batch import ParticleBatch
from clr_train.config import TrainConfig
from clr_train.runtime.processes import World
from clr_train.stream.stream import open_stream
from clr_train.training import forecast
from clr_train.training.resume import start_run


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
    monkeypatch.setattr(forecast, "time", SimpleNamespace(perf_counter=lambda: work.now))
    return work


@pytest.mark.parametrize(
    ("most", "counts"), [(256, [8, 8, 32]), (20, [8, 8, 20]), (8, [8, 8]), (3, [3, 3])]
)
def test_the_rate_is_that_of_a_batch_that_takes_long_enough(
    work: Work, shards: Path, most: int, counts: list[int]
) -> None:
    sample = open_stream(TrainConfig(shards=str(shards)), split="val").sample(5)
    seconds = forecast.forecast(10_000, work=work, sample=lambda: sample, most=most)
    assert work.counts == counts
    assert seconds == pytest.approx(10_000 * 0.01 * (1 + 1 / counts[-1]))


def test_nothing_is_measured_for_short_work() -> None:
    assert forecast.forecast(2999, work=Work(), sample=lambda: 1 / 0, most=8) == 0  # type: ignore[arg-type]


def test_a_run_is_forecast_from_its_steps_and_evaluations(
    shards: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = TrainConfig(
        shards=str(shards), model="zepto", batch_size=60, epochs=100, eval_every=50,
        eval_particles=30, device="cpu",
    )  # fmt: skip
    run = start_run(config, world=World(rank=0, size=1, device=torch.device("cpu")))
    run.progress.step = 10
    train = open_stream(config, split="train")
    costs: list[float] = []

    def note(cost: float, *, work: object, **_: object) -> float:
        work(train.sample(3))  # type: ignore[operator]
        return costs.append(cost) or 7.0

    monkeypatch.setattr(forecast, "forecast", note)
    assert forecast.forecast_training(run, train=train) == 7.0
    # A view encoded, not trained on, is a sixth of a step.
    assert costs == [pytest.approx(990 * 60 + (19 * 2 * 30 + 2 * train.num_particles) / 6)]
    assert all(weight.grad is None for weight in run.parameters)
