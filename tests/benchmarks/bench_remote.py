"""Conversion from servers beside that of files, and streams from S3 beside those of files.

    python -m tests.benchmarks.bench_remote convert FILE.root [--repeat 20] [--rounds 5]
    python -m tests.benchmarks.bench_remote stream SHARDS [--rounds 5]

Servers run in processes of their own on this machine, so that they take processor time from what is
measured: an HTTP server in Python and, where it is installed, XRootD; moto's S3 server, once as it
is and once with 20 ms added to each request. All take turns within a round. Printed are rates and
the medians of the ratios within a round.
"""

from __future__ import annotations

import argparse
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

import torch

from clr_train.stream.config import StreamConfig
from clr_train.stream.stream import ParticleStream
from clr_train.views.config import ViewConfig
from clr_train.views.make import make_views
from pilarnet_convert import convert
from tests.remote.s3_server import CREDENTIALS
from tests.remote.xrootd_server import xrootd_server

DELAY_MS = 20


@contextmanager
def serving(module: str, *arguments: object) -> Iterator[int]:
    """Run a server module on a free port in another process."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = [str(port) if word == "PORT" else str(word) for word in arguments]
    server = subprocess.Popen([sys.executable, "-m", module, *words])
    try:
        while True:
            with socket.socket() as client:
                if client.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.05)
        yield port
    finally:
        server.terminate()
        server.wait()


def take_turns(ways: Mapping[str, Callable[[int], int]], *, rounds: int, unit: str) -> None:
    """Run each way once a round; print the rates, and the ratios to the first."""
    for way in ways.values():
        way(0)  # fills the caches of the system, opens connections
    rates: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(1, rounds + 1):
        for name, way in ways.items():
            begin = time.perf_counter()
            done = way(number)
            rates[name].append(done / (time.perf_counter() - begin))
    first = next(iter(rates.values()))
    for name, found in rates.items():
        ratios = [rate / of_first for rate, of_first in zip(found, first, strict=True)]
        print(
            f"{name:34} {statistics.median(found):10,.0f} {unit}/s, "
            f"{statistics.median(ratios):.2f} of the first ({min(ratios):.2f} to {max(ratios):.2f})"
        )


def compare_conversions(file: Path, *, repeat: int, rounds: int, workers: int) -> None:
    """Convert a file, named some times, from the disk and from servers."""
    with tempfile.TemporaryDirectory() as scratch, ExitStack() as stack:
        folder = Path(scratch)
        (folder / "data").mkdir()
        shutil.copy(file, folder / "data")
        port = stack.enter_context(serving("tests.remote.http_server", folder / "data", "PORT"))
        names = {"local files": str(folder / "data"), "HTTP": f"http://127.0.0.1:{port}"}
        if shutil.which("xrootd"):
            names["XRootD"] = stack.enter_context(xrootd_server(folder))

        def way(name: str) -> Callable[[int], int]:
            def run(_number: int) -> int:
                inputs = [f"{name}/{file.name}"] * repeat
                out = folder / "out"
                shards = convert(
                    inputs, out, workers=workers, overwrite=True, allow_duplicates=True
                )
                return int(shards.attributes["statistics"]["events"])

            return run

        take_turns({what: way(name) for what, name in names.items()}, rounds=rounds, unit="events")


def compare_streams(shards: Path, *, rounds: int, views: bool) -> None:
    """Stream the training split of shards from the disk and from S3."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as scratch, ExitStack() as stack:
        os.environ |= CREDENTIALS
        ways = {"local": _stream(shards, views=views)}
        for name, delay, cache in (
            ("S3, warm cache", 0, f"{scratch}/cache"),
            ("S3, no cache", 0, None),
            (f"S3, no cache, {DELAY_MS} ms a request", DELAY_MS, None),
        ):
            port = stack.enter_context(serving("tests.remote.s3_server", "PORT", delay))
            _upload(shards, port=port)
            ways[name] = _stream("s3://bucket/shards", views=views, cache=cache, port=port)
        take_turns(ways, rounds=rounds, unit="particles")


def _endpoint(port: int) -> None:
    import fsspec

    fsspec.config.conf["s3"] = {"endpoint_url": f"http://127.0.0.1:{port}"}


def _upload(shards: Path, *, port: int) -> None:
    import s3fs

    store = s3fs.S3FileSystem(endpoint_url=f"http://127.0.0.1:{port}")
    store.mkdir("bucket")
    store.put(str(shards), "bucket/shards", recursive=True)


def _stream(
    shards: str | Path, *, views: bool, cache: str | None = None, port: int | None = None
) -> Callable[[int], int]:
    streams: list[ParticleStream] = []

    def run(epoch: int) -> int:
        if port is not None:
            _endpoint(port)
        if not streams:
            streams.append(ParticleStream(StreamConfig(shards=shards, cache=cache)))
        seen = 0
        for batch in streams[0].batches(epoch):
            if views:
                make_views(batch, seed=0, epoch=epoch, view=0, count=2, config=ViewConfig())
            seen += batch.num_particles
        return seen

    return run


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("what", choices=("convert", "stream"))
    parser.add_argument("path", type=Path, help="a LArCV file, or shards")
    parser.add_argument("--repeat", type=int, default=20, help="how often the file is named")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--workers", type=int, default=1, help="of the conversion")
    parser.add_argument("--no-views", action="store_true", help="of the stream: read only")
    args = parser.parse_args()
    if args.what == "convert":
        compare_conversions(args.path, repeat=args.repeat, rounds=args.rounds, workers=args.workers)
    else:
        compare_streams(args.path, rounds=args.rounds, views=not args.no_views)


if __name__ == "__main__":
    main()
