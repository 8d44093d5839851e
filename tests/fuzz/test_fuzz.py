"""Mutated inputs and killed jobs: a few in the plain suite, thousands by make fuzz and chaos."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from pilarnet_convert.errors import PilarnetError
from tests.fuzz import chaos, fuzzing
from tests.fuzz.root_files import RootFiles
from tests.fuzz.target import FAULTS
from tests.sample import SAMPLE


@pytest.mark.parametrize("name", fuzzing.TARGETS)
def test_a_few_mutated_inputs(name: str):
    results = fuzzing.run_here(name, seed=20, first=0, last=25)
    assert [result for result in results if result[1] in FAULTS] == []
    assert {outcome for _, outcome, _ in results} >= {"refused"}


@pytest.mark.fuzz
@pytest.mark.parametrize("name", fuzzing.TARGETS)
def test_thousands_of_mutated_inputs(name: str):
    counts = fuzzing.run(name, seed=0, inputs=int(os.environ.get("FUZZ_INPUTS", "1000")))
    print(fuzzing.table({name: counts}))
    assert not [kind for kind in counts if kind[1] in FAULTS]


@pytest.mark.chaos
@pytest.mark.parametrize("name", chaos.JOBS)
def test_kills_at_random_moments(name: str):
    counts = chaos.run(name, seed=0, kills=int(os.environ.get("CHAOS_KILLS", "30")))
    print(chaos.table({name: counts}))
    assert not [outcome for outcome in chaos.OUTCOMES[1:] if counts[outcome]]


def test_a_kill_of_a_conversion():
    counts = chaos.run("convert", seed=1, kills=1)
    assert (counts["kills"], counts["same"]) == (1, 1)


def test_a_damaged_file_changes_nothing_for_the_next(tmp_path: Path):
    """What a file says of its classes, uproot keeps for all files of the process."""
    target = RootFiles(tmp_path)
    expected = target.read(SAMPLE)
    for number in range(14, 18):  # the 16th describes TBranch wrongly
        target.mutate(np.random.default_rng([100, number]), tmp_path / "bad.root")
        with suppress(PilarnetError):
            target.read(tmp_path / "bad.root")
        assert target.read(SAMPLE) == expected
