"""Conversions, trainings and evaluations, killed at random moments, gone on with and compared.

    python -m tests.fuzz.chaos [--kills N] [--seed SEED] [--job convert|train|evaluate]

A job runs in a process group of its own. After a random time one of its processes, any of them, is
killed; then the job is resumed, and killed again, until it has had three kills or is done. What it
ends with is compared with what the job makes that nobody kills.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import numpy as np
from tabulate import tabulate

from clr_train.training.checkpoint import load_checkpoint
from tests.clr_train.species import make_shards
from tests.pilarnet_convert.outputs import contents
from tests.sample import SAMPLE

__all__ = ["JOBS", "Job", "run", "table"]

#: Seconds after which a job counts as hanging.
_PATIENCE = 180
_KILLS_A_JOB = 3
OUTCOMES = ("same", "other", "refused", "hang")


class Job(NamedTuple):
    """A command that is killed: its arguments, those to go on with it, and what it makes."""

    arguments: list[str]
    resume: list[str]
    result: Callable[[Path], object]


def _convert(folder: Path) -> Job:
    inputs = ["-m", "pilarnet_convert", "--input", str(SAMPLE), "--workers", "2"]
    inputs += ["--events-per-shard", "3", "--min-voxels", "1"]
    return Job(inputs, ["--resume"], contents)


def _weights(out: Path) -> object:
    state = load_checkpoint(max((out / "checkpoints").glob("step-*.pt")))
    rows = [line.split(",")[:5] for line in (out / "metrics.csv").read_text().splitlines()]
    return [state["step"], rows, *(weight.tolist() for weight in state["model"].values())]


def _train(folder: Path) -> Job:
    shards = make_shards(folder / "train-shards", {"train": 60, "val": 20})
    options = ["-m", "clr_train", "--shards", str(shards), "--model", "zepto", "--batch-size"]
    options += ["12", "--epochs", "2", "--checkpoint-every", "2", "--eval-every", "3"]
    options += ["--no-final-probe", "--device", "cpu", "--workers", "1", "--keep-last", "1"]
    return Job(options, ["--resume"], _weights)


def _report(out: Path) -> object:
    report = json.loads((out / "report.json").read_text())
    return {k: v for k, v in report.items() if "seconds" not in k and "created" not in k}


def _evaluate(folder: Path) -> Job:
    shards = make_shards(folder / "eval-shards", {"train": 80, "val": 20, "test": 40})
    run = folder / "eval-run"
    train = ["-m", "clr_train", "--shards", str(shards), "--model", "zepto", "--batch-size", "40"]
    train += ["--epochs", "1", "--no-final-probe", "--device", "cpu", "--out", str(run)]
    subprocess.run([sys.executable, *train], check=True, capture_output=True, env=_environment())
    options = ["-m", "clr_eval", "--checkpoint", str(run / "checkpoints/best.pt")]
    options += ["--shards", str(shards), "--parts", "probe", "--seeds", "0,1", "--device", "cpu"]
    return Job(options, [], _report)  # a report goes on by itself


JOBS = {"convert": _convert, "train": _train, "evaluate": _evaluate}


def _environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1"}


def _start(job: Job, out: Path, *, resumed: bool) -> subprocess.Popen[str]:
    command = [sys.executable, *job.arguments, "--out", str(out), *(job.resume * resumed)]
    return subprocess.Popen(
        command,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env=_environment(),
    )


def _processes(session: int) -> list[int]:
    """List the processes of a session."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = stat.read_text().rpartition(")")[2].split()
            if int(fields[3]) == session:
                found.append(int(stat.parent.name))
    return found


def _end(process: subprocess.Popen[str]) -> str:
    """Wait for a process and give what it said; kill it where it hangs, and all that is left."""
    try:
        _, errors = process.communicate(timeout=_PATIENCE)
    except subprocess.TimeoutExpired:
        errors = "hang"
    for pid in _processes(process.pid):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    process.kill()
    process.communicate()
    return errors


def run(name: str, *, seed: int, kills: int) -> Counter[str]:
    """Kill a job so many times; count the kills, and what the jobs ended with."""
    counts: Counter[str] = Counter()
    with TemporaryDirectory() as place:
        folder = Path(place)
        job = JOBS[name](folder)
        began = time.monotonic()
        errors = _end(_start(job, folder / "straight", resumed=False))
        seconds = time.monotonic() - began
        expected = job.result(folder / "straight")
        number = 0
        while counts["kills"] < kills:
            number += 1
            rng = np.random.default_rng([seed, number])
            out = folder / "killed"
            shutil.rmtree(out, ignore_errors=True)
            for attempt in range(_KILLS_A_JOB + 1):
                process = _start(job, out, resumed=attempt > 0)
                if attempt < _KILLS_A_JOB and counts["kills"] < kills:
                    time.sleep(float(rng.uniform(0, seconds)))
                    alive = _processes(process.pid)
                    if alive and process.poll() is None:
                        with contextlib.suppress(ProcessLookupError):
                            os.kill(int(rng.choice(alive)), signal.SIGKILL)
                            counts["kills"] += 1
                errors = _end(process)
                if process.returncode == 0 or errors == "hang":
                    break
            outcome = "hang"
            if errors != "hang":
                same = process.returncode == 0 and job.result(out) == expected
                outcome = "same" if same else "refused" if process.returncode else "other"
            counts[outcome] += 1
            if outcome != "same":
                print(f"{name} {seed} {number}: {outcome}: {errors[-2000:]}", flush=True)
    return counts


def table(counts: dict[str, Counter[str]]) -> str:
    """Lay out the counts of all jobs."""
    names = ("kills", *OUTCOMES)
    rows = [[name, *(count[each] for each in names)] for name, count in counts.items()]
    rows.append(["all", *(sum(row[i + 1] for row in rows) for i in range(len(names)))])
    return tabulate(rows, headers=["job", *names], tablefmt="pipe", intfmt=",")


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--kills", type=int, default=30, help="kills of each job")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--job", choices=JOBS, action="append")
    options = parser.parse_args()
    jobs = options.job or list(JOBS)
    counts = {name: run(name, seed=options.seed, kills=options.kills) for name in jobs}
    print(table(counts))
    bad = sum(count[each] for count in counts.values() for each in OUTCOMES[1:])
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()
