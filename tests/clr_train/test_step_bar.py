"""What the progress bar of a run shows, with a clock that the test moves."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from clr_train.training.step_bar import StepBar
from pilarnet_convert.console import progress
from pilarnet_convert.console.progress import progress_bar


def test_a_slow_first_step_decides_neither_on_the_rate_nor_on_the_time_left(
    monkeypatch: pytest.MonkeyPatch,
):
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr(progress, "time", SimpleNamespace(monotonic=lambda: clock.now))
    with progress_bar(total=110, unit="step", description="train", log=lambda _: None) as bar:
        steps = StepBar(bar, first_step=10, num_epochs=4)
        clock.now = 60.0  # validating the untrained encoder, and compiling kernels
        for step in range(11, 61):
            steps.count(step, {"epoch": 1, "loss": 2.5, "particles_per_second": 32})
            clock.now += 2
        figures = "epoch 2 of 4, loss 2.500, 32 particles/s, 2.0 s/step"
        assert bar._line() == f"train: 55 %, 60 of 110 steps, 01:42 left, {figures}"
        with steps.doing("validating"):
            assert bar._line() == f"train: 55 %, 60 of 110 steps, 01:42 left, validating, {figures}"
        assert bar._line() == f"train: 55 %, 60 of 110 steps, 01:42 left, {figures}"


def test_particles_a_second_are_those_of_several_steps():
    with progress_bar(total=9, unit="step", description="train", log=lambda _: None) as bar:
        steps = StepBar(bar, first_step=0, num_epochs=1)
        for step, rate in enumerate([100, 100, 200], start=1):
            steps.count(step, {"epoch": 0, "loss": 2.5, "particles_per_second": rate})
        assert "110 particles/s" in bar._line()
