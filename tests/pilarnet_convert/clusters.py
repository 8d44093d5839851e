"""Dask clusters of real programs, and tasks that misbehave on their workers."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from pilarnet_convert import task
from tests.pilarnet_convert.outputs import environment

__all__ = ["PATIENCE", "Programs", "deadly", "programs", "slow", "wait_until"]

PATIENCE = 120  # seconds; on a busy machine a process takes its time to start


def wait_until(condition: Callable[[], object]) -> None:
    """Wait until something holds, not for ever."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def slow(folder: Path, *, seconds: float = 1.0) -> Callable[[Any], Any]:
    """Return a `run_task` that takes its time, and first leaves a file ``began-TASK-PID``."""
    return partial(_slow, folder, seconds)


def _slow(folder: Path, seconds: float, request: Any) -> Any:
    (folder / f"began-{request.task.number}-{os.getpid()}").touch()
    time.sleep(seconds)
    return task.run_task(request)


def deadly(folder: Path, *, times: int) -> Callable[[Any], Any]:
    """Return a `run_task` that kills its worker so many times in the middle of task 2."""
    return partial(_deadly, folder, times)


def _deadly(folder: Path, times: int, request: Any) -> Any:
    number = len(list(folder.glob("died-*")))
    if request.task.number == 2 and number < times:
        (request.scratch / "half").mkdir(exist_ok=True)
        (folder / f"died-{number}").touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return task.run_task(request)


class Programs:
    """A scheduler and workers, each a program of its own.

    Parameters
    ----------
    folder : Path
        For their files; ``scheduler.json`` is the scheduler file.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.file = folder, folder / "scheduler.json"
        self.started: list[subprocess.Popen[bytes]] = []
        self.scheduler = self._start(
            "scheduler", "--host", "127.0.0.1", "--port", "0", "--scheduler-file", self.file
        )
        wait_until(self.file.exists)

    def worker(self, *by: str, **env: str) -> subprocess.Popen[bytes]:
        """Start a worker of one thread by a command, with more variables in its environment."""
        options = ("--nthreads", "1", "--no-nanny", "--scheduler-file", self.file)
        return self._start("worker", *options, "--local-directory", self.folder, by=by, **env)

    def _start(
        self, program: str, *args: str | Path, by: Sequence[str] = (), **env: str
    ) -> subprocess.Popen[bytes]:
        with (self.folder / f"log-{len(self.started)}").open("wb") as log:
            process = subprocess.Popen(
                [*by, sys.executable, "-m", "dask", program, "--no-dashboard", *map(str, args)],
                env={**environment(), "DASK_DISTRIBUTED__SCHEDULER__WORKER_TTL": "5s", **env},
                cwd=self.folder,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.started.append(process)
        return process


@contextmanager
def programs(folder: Path) -> Iterator[Programs]:
    """Start a scheduler; it and the workers end with the block."""
    folder.mkdir()
    cluster = Programs(folder)
    try:
        yield cluster
    finally:
        for process in cluster.started:
            process.kill()
            process.wait()
