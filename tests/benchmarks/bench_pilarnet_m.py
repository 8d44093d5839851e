"""Reading PILArNet-M beside h5py's own reading of the same rows, from a file made for it.

    python -m tests.benchmarks.bench_pilarnet_m [--events 1500] [--voxels 3200] [--rounds 7]

Each round runs in turn: h5py alone, which reads the rows of the columns that are needed and does
nothing with them; our reader, to events; and what else a conversion does with these before they are
split up: checks and the search for repeated voxels. Printed are events a second of the processor
and the medians of the ratios within a round. One process, blocks of events as a task has them.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np

from pilarnet_convert.readers.checks import check_events
from pilarnet_convert.readers.pilarnet_m.source import index_pilarnet_m
from pilarnet_convert.readers.repeats import merge_repeats
from tests.pilarnet_convert.pilarnet_m_files import Event, write_hdf5, write_parquet

#: Events read at once.
BLOCK = 250


def make_events(count: int, mean_voxels: int) -> list[Event]:
    """Make events of the size of PILArNet-M's: clusters of voxels along lines, no voxel twice."""
    random = np.random.default_rng(0)
    events = []
    for _ in range(count):
        num_groups = 20
        sizes = random.multinomial(
            random.integers(mean_voxels // 2, 3 * mean_voxels // 2), [0.02] * 50
        )
        group = np.sort(random.integers(0, num_groups, 50))
        group[0] = -1
        rows = np.stack([sizes, np.arange(50), group, group % 4, group % 4, group % 5], axis=1)
        rows[0, 3:] = -1, 4, -1
        steps = [random.integers(50, 600, 3) + np.outer(np.arange(n), (1, 0, 0)) for n in sizes]
        point = random.random((int(sizes.sum()), 8)).astype(np.float32)
        point[:, :3] = np.concatenate(steps) % 768
        events.append(Event(point, rows.astype(np.int32), random.random((50, 11)).astype("f4")))
    return events


def h5py_alone(path: Path, columns: tuple[str, ...]) -> None:
    """Read rows, block by block, and drop them."""
    with h5py.File(path) as file:
        for start in range(0, len(file["point"]), BLOCK):
            for name in columns:
                file[name][start : start + BLOCK]


def ours(path: Path, *, checked: bool) -> None:
    """Read events, block by block, and drop them."""
    source = index_pilarnet_m(path.name, path)
    with source.open() as reader:
        for start in range(0, source.num_entries, BLOCK):
            events = reader.read(start, min(start + BLOCK, source.num_entries))
            if checked:
                check_events(events)
                merge_repeats(events)


def timed(work: Callable[[], object]) -> float:
    """Return the seconds of the processor that a piece of work takes."""
    begin = time.process_time()
    work()
    return time.process_time() - begin


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--events", type=int, default=1500)
    parser.add_argument("--voxels", type=int, default=3200, help="mean voxels of an event")
    parser.add_argument("--rounds", type=int, default=7)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        made = make_events(args.events, args.voxels)
        path = write_hdf5(Path(scratch) / "a.h5", made, revision="v3_extra")
        parquet = write_parquet(
            Path(scratch) / "a.parquet", made, revision="v3_extra", row_group_size=BLOCK
        )
        columns = index_pilarnet_m("a", path).columns
        work: dict[str, Callable[[], object]] = {
            "h5py alone, the same rows": lambda: h5py_alone(path, columns),
            "ours, HDF5": lambda: ours(path, checked=False),
            "ours, HDF5, checked for a shard": lambda: ours(path, checked=True),
            "ours, parquet": lambda: ours(parquet, checked=False),
        }
        times: dict[str, list[float]] = {name: [] for name in work}
        for _ in range(args.rounds):
            for name, run in work.items():
                times[name].append(timed(run))
    base, *_ = times.values()
    for name, seconds in times.items():
        ratio = statistics.median(a / b for a, b in zip(seconds, base, strict=True))
        speed = args.events / statistics.median(seconds)
        print(f"{name:34s} {speed:10,.0f} events/s   {ratio:5.2f} times the time of h5py alone")


if __name__ == "__main__":
    main()
