"""Looking at shards from outside: plain zarr-python, plain files, plain processes."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import zarr
from click.testing import CliRunner, Result

from pilarnet_convert.cli import convert_command, stats_command

__all__ = [
    "REPOSITORY",
    "contents",
    "convert_process",
    "environment",
    "in_small_tasks",
    "read_particles",
    "run_convert",
    "run_stats",
    "shard_groups",
]

REPOSITORY = Path(__file__).parents[2]


def run_convert(*args: str | Path) -> Result:
    """Run pilarnet-convert in this process."""
    return CliRunner().invoke(convert_command, [str(arg) for arg in args])


def run_stats(*args: str | Path) -> Result:
    """Run pilarnet-stats in this process."""
    return CliRunner().invoke(stats_command, [str(arg) for arg in args])


def contents(folder: Path) -> dict[str, bytes | None]:
    """Return every file under a folder and its bytes; None for a folder."""
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in sorted(folder.rglob("*"))
    }


def shard_groups(folder: Path) -> list[Any]:
    """Open every shard with zarr-python alone, in the order of the root's list."""
    root = zarr.open_group(folder, mode="r", zarr_format=3)
    names: Any = root.attrs["shards"]
    return [root[entry["name"]] for entry in names]


def read_particles(folder: Path) -> list[dict[str, Any]]:
    """Read every particle of a set of shards with zarr-python alone.

    Each is a dict of its row in every array, with its voxels in ``x``, ``y``, ``z``, ``energy``,
    the name of its creation process, and its ``split``.
    """
    particles = []
    for group in shard_groups(folder):
        columns = {name: array[...] for name, array in group.arrays()}
        offset = columns.pop("offset")
        voxels = {name: columns.pop(name) for name in ("x", "y", "z", "energy")}
        for i, (start, stop) in enumerate(itertools.pairwise(offset)):
            row = {name: values[i] for name, values in columns.items()}
            row |= {name: values[start:stop] for name, values in voxels.items()}
            row["process"] = group.attrs["process_names"][row["process"]]
            row["split"] = group.attrs["split"]
            particles.append(row)
    return particles


def in_small_tasks(*, num_bytes: int = 20_000, until: Path | None = None) -> list[str]:
    """Return a command for pilarnet-convert that cuts small files into many tasks.

    Parameters
    ----------
    num_bytes : int
        Compressed bytes of voxels of a task.
    until : Path, optional
        When the first shards are in place, the command waits until this file exists.
    """
    program = f"""
import time
from pathlib import Path
from pilarnet_convert import plan
from pilarnet_convert.cli import convert_command
from pilarnet_convert.executors import Workers
from pilarnet_convert.task import run_task
plan.TASK_BYTES = {num_bytes}
completed = Workers.completed
def waiting(workers, items):
    for number, item in enumerate(items):
        while number == workers.in_flight and not Path({str(until)!r}).exists():
            time.sleep(0.02)
        yield item
def paused(workers, function, items):
    return completed(workers, function, waiting(workers, items) if function is run_task else items)
if {until is not None}:
    Workers.completed = paused
convert_command()
"""
    return [sys.executable, "-c", program]


def environment() -> dict[str, str]:
    """Return an environment in which child processes find the project and keep to one thread."""
    paths = [str(REPOSITORY), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"}


def convert_process(
    command: Sequence[str], *args: str | Path, **kwargs: Any
) -> subprocess.Popen[str]:
    """Start a conversion in a process group of its own."""
    return subprocess.Popen(
        [*command, *map(str, args)],
        env=environment(),
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
        **kwargs,
    )
