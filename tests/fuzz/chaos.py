"""Conversions, trainings and evaluations that are killed at random moments, resumed and compared.

    python -m tests.fuzz.chaos [--kills N] [--seed SEED] [--job convert|train|evaluate]

A job runs in a session of its own, forked from this process, which has imported what jobs need.
After a random time one of its processes, any of them, is killed; then the job is resumed, and
killed again, until it has had three kills or is done. What it ends with is compared with what the
job makes that nobody kills.
"""

from __future__ import annotations

import argparse
import atexit
import contextlib
import json
import os
import shutil
import signal
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import mkdtemp
from typing import NamedTuple, NoReturn

import click
import numpy as np
import torch
from tabulate import tabulate

import clr_eval.report.report  # noqa: F401 - the commands import this late
import clr_train.train  # noqa: F401
from clr_eval.cli import eval_command
from clr_train.cli import train_command
from clr_train.training.checkpoint import load_checkpoint
from pilarnet_convert.cli import convert_command
from pilarnet_convert.console.progress import ProgressBar, progress_bar
from tests.clr_train.species import make_shards
from tests.pilarnet_convert.outputs import contents
from tests.sample import SAMPLE

__all__ = ["JOBS", "Job", "run", "table"]

#: Seconds after which a job counts as hanging, and between two looks at it.
_PATIENCE = 180
_TICK = 0.02
_KILLS_A_JOB = 3
OUTCOMES = ("same", "other", "refused", "hang")


class Job(NamedTuple):
    """A command that is killed: its arguments, those to resume it, and what it makes.

    `variants` are options that change nothing of what it makes, one of which each job gets.
    """

    command: click.Command
    arguments: list[str]
    resume: list[str]
    variants: tuple[str, ...]
    result: Callable[[Path], object]


def _convert(folder: Path) -> Job:
    inputs = ["--input", str(SAMPLE), "--events-per-shard", "3", "--min-voxels", "1"]
    workers = ("--workers=2", "--workers=1", "--workers=3")
    return Job(convert_command, inputs, ["--resume"], workers, contents)


def _weights(out: Path) -> object:
    state = load_checkpoint(max((out / "checkpoints").glob("step-*.pt")))
    rows = [line.split(",")[:5] for line in (out / "metrics.csv").read_text().splitlines()]
    return [state["step"], rows, *(weight.tolist() for weight in state["model"].values())]


def _train(folder: Path) -> Job:
    shards = make_shards(folder / "train-shards", {"train": 60, "val": 20})
    options = ["--shards", str(shards), "--model", "zepto", "--batch-size", "12", "--epochs", "2"]
    options += ["--checkpoint-every", "2", "--eval-every", "3", "--no-final-probe"]
    options += ["--device", "cpu", "--keep-last", "1"]
    workers = ("--workers=0", "--workers=0", "--workers=1")
    return Job(train_command, options, ["--resume"], workers, _weights)


def _report(out: Path) -> object:
    report = json.loads((out / "report.json").read_text())
    return {k: v for k, v in report.items() if "seconds" not in k and "created" not in k}


def _evaluate(folder: Path) -> Job:
    shards = make_shards(folder / "eval-shards", {"train": 80, "val": 20, "test": 40})
    run = folder / "eval-run"
    train = ["--shards", str(shards), "--model", "zepto", "--batch-size", "40", "--epochs", "1"]
    train += ["--no-final-probe", "--device", "cpu"]
    running = _Running(Job(train_command, train, [], (), Path), run)
    assert running.end() == 0, running.errors
    options = ["--checkpoint", str(run / "checkpoints/best.pt"), "--shards", str(shards)]
    options += ["--parts", "probe", "--device", "cpu", "--fractions", "1.0"]
    # A report goes on by itself.
    return Job(eval_command, options, [], ("--seeds=0,1",), _report)


JOBS = {"convert": _convert, "train": _train, "evaluate": _evaluate}


class _Running:
    """A command that runs in a session of its own, forked from this process.

    What it says on standard error goes to a file beside the folder `out`.
    """

    def __init__(self, job: Job, out: Path, *options: str) -> None:
        self._file = out.with_suffix(".errors")
        self._file.touch()
        self.pid = os.fork()
        if self.pid == 0:
            _run(job.command, [*job.arguments, "--out", str(out), *options], self._file)

    @property
    def errors(self) -> str:
        """What it said on standard error."""
        return self._file.read_text()

    def processes(self) -> list[int]:
        """List the processes of its session."""
        found = []
        for stat in Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(OSError):
                fields = stat.read_text().rpartition(")")[2].split()
                if int(fields[3]) == self.pid and fields[0] != "Z":
                    found.append(int(stat.parent.name))
        return found

    def end(self) -> int | None:
        """Wait for its exit code, None if it hangs; kill all that is left.

        Time is counted in looks: whoever stops all processes for a while changes nothing.
        """
        code = None
        for _ in range(int(_PATIENCE / _TICK)):
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                code = os.waitstatus_to_exitcode(status)
                break
            time.sleep(_TICK)
        for pid in {*self.processes(), *([self.pid] if code is None else [])}:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if code is None:
            os.waitpid(self.pid, 0)
        return code


def _run(command: click.Command, arguments: Sequence[str], file: Path) -> NoReturn:
    """Run a command in this process, which was forked for it, as Python would run it."""
    code = 70
    try:
        os.setsid()
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        os.dup2(os.open(file, os.O_WRONLY | os.O_TRUNC), 2)
        command.main(list(arguments), prog_name=command.name)
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else 0 if ended.code is None else 1
    except BaseException:
        traceback.print_exc()
    finally:
        atexit._run_exitfuncs()
        sys.stderr.flush()
        os._exit(code)


def run(name: str, *, seed: int, kills: int) -> Counter[str]:
    """Kill a job so many times; count the kills, and what the jobs ended with."""
    torch.set_num_threads(1)
    folder = Path(mkdtemp())  # a TemporaryDirectory would end with the first forked process
    try:
        job = JOBS[name](folder)
        with progress_bar(total=kills, unit="kill", description=name) as bar:
            return _kill(job, name, folder, seed=seed, kills=kills, bar=bar)
    finally:
        shutil.rmtree(folder)


def _kill(
    job: Job, name: str, folder: Path, *, seed: int, kills: int, bar: ProgressBar
) -> Counter[str]:
    counts: Counter[str] = Counter()
    seconds, results = float("inf"), []
    for out in (folder / "first", folder / "second"):  # the faster is nearer to what is killed
        began = time.monotonic()
        running = _Running(job, out, job.variants[0])
        assert running.end() == 0, running.errors
        seconds = min(seconds, time.monotonic() - began)
        results.append(job.result(out))
    expected, again = results
    assert expected == again
    out = folder / "killed"
    number = 0
    while counts["kills"] < kills:
        number += 1
        rng = np.random.default_rng([seed, number])
        shutil.rmtree(out, ignore_errors=True)
        for attempt in range(_KILLS_A_JOB + 1):
            variant = job.variants[number % len(job.variants)]
            running = _Running(job, out, variant, *(job.resume if attempt else ()))
            if attempt < _KILLS_A_JOB and counts["kills"] < kills:
                time.sleep(float(rng.uniform(0, seconds)))
                if alive := running.processes():
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(int(rng.choice(alive)), signal.SIGKILL)
                        counts["kills"] += 1
                        bar.update()
            code = running.end()
            if code in (0, None):
                break
        outcome = "hang" if code is None else "refused"
        if code == 0:
            outcome = "same" if job.result(out) == expected else "other"
        counts[outcome] += 1
        if outcome != "same":
            print(f"{name} {seed} {number}: {outcome}: {running.errors[-2000:]}", flush=True)
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
