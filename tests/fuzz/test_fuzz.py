"""Mutated inputs and killed jobs: a few in the plain suite, thousands by make fuzz and chaos."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from pilarnet_convert.errors import PilarnetError
from tests.fuzz import fuzzing
from tests.fuzz.root_files import RootFiles
from tests.fuzz.target import FAULTS
from tests.sample import SAMPLE

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("name", fuzzing.TARGETS)
def test_a_few_mutated_inputs(name: str):
    results = fuzzing.run_here(name, seed=20, first=0, last=15)
    assert [result for result in results if result[1] in FAULTS] == []
    assert {outcome for _, outcome, _ in results} >= {"refused"}


@pytest.mark.fuzz
@pytest.mark.parametrize("name", fuzzing.TARGETS)
def test_thousands_of_mutated_inputs(name: str):
    counts = fuzzing.run(name, seed=0, inputs=int(os.environ.get("FUZZ_INPUTS", "1000")))
    print(fuzzing.table({name: counts}))
    assert not [kind for kind in counts if kind[1] in FAULTS]


def kill(job: str, *, seed: int, kills: int) -> str:
    """Run the command, which forks, in a process of its own; give its table."""
    command = [sys.executable, "-m", "tests.fuzz.chaos", "--job", job, "--seed", str(seed)]
    done = subprocess.run(
        [*command, "--kills", str(kills)],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.chaos
@pytest.mark.parametrize("job", ["convert", "train", "evaluate"])
def test_kills_at_random_moments(job: str):
    print(kill(job, seed=0, kills=int(os.environ.get("CHAOS_KILLS", "30"))))


@pytest.mark.slow
def test_a_kill_of_a_conversion():
    assert "| convert |       1 |" in kill("convert", seed=1, kills=1)


def test_a_damaged_file_changes_nothing_for_the_next(tmp_path: Path):
    """What a file says of its classes, uproot keeps for all files of the process."""
    target = RootFiles(tmp_path)
    expected = target.read(SAMPLE)
    for number in range(14, 18):  # the 16th describes TBranch wrongly
        target.mutate(np.random.default_rng([100, number]), tmp_path / "bad.root")
        with suppress(PilarnetError):
            target.read(tmp_path / "bad.root")
        assert target.read(SAMPLE) == expected
