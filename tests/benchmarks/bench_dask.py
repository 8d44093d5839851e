"""The conversion on a Dask cluster of two workers beside two local processes.

    python -m tests.benchmarks.bench_dask FILE.root ... [--events 20000] [--rounds 3]

The files are named as often as it takes to have so many events. Each round runs both in turn, the
order changing. The cluster, two processes of one thread on this machine, is started beforehand;
local processes are started by each conversion, as always. Printed are the peak memory of a
Dask worker, events a second, and the median of the ratio within a round.
"""

from __future__ import annotations

import argparse
import itertools
import logging
import resource
import shutil
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from distributed import Client, LocalCluster

from pilarnet_convert import convert, open_shards


def peak_memory_mb() -> float:
    """Return the peak memory of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def timed(inputs: list[Path], out: Path, **options: Any) -> float:
    """Return the seconds that a conversion takes."""
    shutil.rmtree(out, ignore_errors=True)
    begin = time.perf_counter()
    convert(inputs, out, allow_duplicates=True, **options)
    return time.perf_counter() - begin


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("files", type=Path, nargs="+")
    parser.add_argument("--events", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    seconds: dict[str, list[float]] = {"local": [], "dask": []}
    with (
        tempfile.TemporaryDirectory() as scratch,
        LocalCluster(
            n_workers=2,
            threads_per_worker=1,
            dashboard_address=None,
            silence_logs=logging.CRITICAL,
        ) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        inputs = list(itertools.islice(itertools.cycle(args.files), 10_000))
        ways: dict[str, dict[str, Any]] = {"local": {"workers": 2}, "dask": {"executor": client}}
        options = {"max_events": args.events}
        client.wait_for_workers(2)
        convert(inputs[:1], Path(scratch) / "first", executor=client)  # the workers import it all
        few = open_shards(Path(scratch) / "first").attributes["sources"][0]["entries"]
        inputs = inputs[: -(-args.events // few)]
        for number in range(args.rounds):
            for way in sorted(ways, reverse=bool(number % 2)):
                out = Path(scratch) / way
                seconds[way].append(timed(inputs, out, **ways[way], **options))
        print(f"peak memory of a Dask worker {max(client.run(peak_memory_mb).values()):6.0f} MB")
    for way, text in (("local", "two local processes"), ("dask", "Dask, two workers")):
        print(f"{text:24s} {args.events / statistics.median(seconds[way]):10,.0f} events/s")
    ratios = [a / b for a, b in zip(seconds["local"], seconds["dask"], strict=True)]
    spread = f"({min(ratios):.2f} to {max(ratios):.2f})"
    print(f"{'Dask / local (speed)':24s} {statistics.median(ratios):10.2f}   {spread}")


if __name__ == "__main__":
    main()
