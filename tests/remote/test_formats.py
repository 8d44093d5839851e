"""LArCV3 and PILArNet-M files from servers: the same bytes as from local files, clear faults."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pilarnet_convert.errors import ConnectionFault, InputError
from pilarnet_convert.readers import index_source
from pilarnet_convert.readers.events import Source
from pilarnet_convert.readers.kinds import Reading
from pilarnet_convert.readers.sources import find_sources
from pilarnet_convert.storage import stream
from pilarnet_convert.storage.remote import RemotePath
from pilarnet_convert.storage.stream import RemoteStream
from tests.pilarnet_convert import larcv3_files, pilarnet_m_files
from tests.pilarnet_convert.clusters import PATIENCE
from tests.pilarnet_convert.outputs import contents, convert_process, run_convert

NUM_EVENTS = 50
COMPRESSED = {"chunks": (20,), "compression": "gzip", "shuffle": True}


def larcv3(path: Path, seed: int) -> Path:
    events = larcv3_files.random_events(seed, num_events=NUM_EVENTS)
    return larcv3_files.write_larcv3(path, events, names=("mcst", "more"))


def hdf5(path: Path, seed: int, **how: object) -> Path:
    events = pilarnet_m_files.random_events(seed, num_events=NUM_EVENTS)
    return pilarnet_m_files.write_hdf5(path, events, **how)


def chunked(path: Path, seed: int) -> Path:
    return hdf5(path, seed, **COMPRESSED)


def parquet(path: Path, seed: int) -> Path:
    events = pilarnet_m_files.random_events(seed, num_events=NUM_EVENTS)
    numbers = list(range(seed, seed + NUM_EVENTS))
    return pilarnet_m_files.write_parquet(path, events, event_id=numbers, row_group_size=40)


WRITERS = {"larcv3.h5": larcv3, "a.h5": hdf5, "b.hdf5": chunked, "c.parquet": parquet}
Write = Callable[[Path, int], Path]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("formats")
    return {name: write(folder / name, 1) for name, write in WRITERS.items()}


def converted(out: Path, *inputs: str | Path) -> dict[str, bytes | None]:
    result = run_convert("--input", *inputs, "--out", out, "--workers", 1)
    assert result.exit_code == 0, result.stderr
    return contents(out)


def looked_into(url: str) -> Source:
    (files,) = find_sources([url])
    (source,) = index_source(files, reading=Reading())
    return source


def test_same_bytes_from_a_web_server_though_connections_drop(tmp_path, web, impatient, files):
    for path in files.values():
        shutil.copy(path, tmp_path / "web")
    local = converted(tmp_path / "local", *files.values())
    web.drop_every = 20
    assert converted(tmp_path / "remote", *(f"{web.url}/{name}" for name in files)) == local


def test_same_bytes_from_a_folder_of_a_store(tmp_path, s3, files):
    import s3fs

    s3fs.S3FileSystem().put([str(path) for path in files.values()], f"{s3.bucket}/in/")
    local = converted(tmp_path / "local", *sorted(files.values()))
    assert converted(tmp_path / "remote", f"s3://{s3.bucket}/in") == local


@pytest.mark.parametrize("name", ["a.h5", "b.hdf5", "c.parquet"])
def test_the_file_travels_once_in_few_requests(tmp_path, web, files, name):
    shutil.copy(files[name], tmp_path / "web")
    source = looked_into(f"{web.url}/{name}")
    web.num_bytes = web.num_requests = 0
    with source.open() as reader:
        assert reader.read(0, NUM_EVENTS).num_events == NUM_EVENTS
    head = 2**20  # by which it is checked that the file has not changed
    # The columns lie in turns in the file, and each is read by itself. On a busy machine aiohttp
    # may repeat a request.
    assert web.num_bytes < 1.5 * files[name].stat().st_size + head
    assert web.num_requests < 30


@pytest.mark.parametrize(
    ("name", "change", "says"),
    [
        ("a.h5", lambda path, write: write(path, 2), "the file changed while it was read"),
        ("c.parquet", lambda path, write: write(path, 2), "the file changed while it was read"),
        ("b.hdf5", lambda path, _: os.truncate(path, 90_000), "the file changed while it was read"),
        ("larcv3.h5", lambda path, _: path.unlink(), "no such file or folder"),
    ],
    ids=["replaced", "replaced parquet", "truncated", "removed"],
)
def test_a_file_that_changes_while_it_is_read(tmp_path, web, impatient, files, name, change, says):
    path = Path(shutil.copy(files[name], tmp_path / "web"))
    with looked_into(f"{web.url}/{name}").open() as reader:
        reader.read(0, 1)
        change(path, WRITERS[name])
        with pytest.raises(InputError) as caught:
            reader.read(0, NUM_EVENTS)
    assert str(caught.value).startswith(f"{web.url}/{name}: ")
    assert says in str(caught.value)


@pytest.mark.parametrize("name", ["larcv3.h5", "a.h5", "c.parquet"])
def test_a_connection_that_dies_names_file_and_entry(tmp_path, web, impatient, files, name):
    shutil.copy(files[name], tmp_path / "web")
    source = looked_into(f"{web.url}/{name}")
    with source.open() as reader:
        web.status = 503
        with pytest.raises(ConnectionFault) as caught:
            reader.read(40, 41)
    assert str(caught.value).startswith(f"{web.url}/{name}: entry 40: the connection failed")


def test_ctrl_c_does_not_wait_for_a_server_that_does_not_answer(tmp_path, web, files):
    shutil.copy(files["larcv3.h5"], tmp_path / "web")
    stalls, release = threading.Event(), threading.Event()

    def stall(_path: str) -> None:
        if web.num_requests >= 10:  # in the middle of reading
            stalls.set()
            release.wait(PATIENCE)

    web.before = stall
    command = [sys.executable, "-m", "pilarnet_convert"]
    arguments = ("--input", f"{web.url}/larcv3.h5", "--out", tmp_path / "out", "--workers", 1)
    process = convert_process(command, *arguments)
    assert stalls.wait(PATIENCE)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=PATIENCE)  # a time-out of a request is repeated
    release.set()
    assert process.returncode == 130
    assert stderr.startswith("stopped by SIGINT; continue with the same command and --resume")


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("larcv3.h5", "truncated"),
        ("a.h5", "truncated"),
        ("c.parquet", "cannot be read as a parquet file"),
    ],
)
def test_a_truncated_file(tmp_path, web, files, name, says):
    path = Path(shutil.copy(files[name], tmp_path / "web"))
    path.write_bytes(path.read_bytes()[:-1000])
    result = run_convert("--input", f"{web.url}/{name}", "--out", tmp_path / "out")
    assert result.exit_code == 1
    (line,) = result.stderr.splitlines()
    assert line.startswith(f"error: {web.url}/{name}: {says} ")


@given(st.lists(st.tuples(st.integers(0, 1100), st.integers(1, 300)), max_size=40))
def test_a_stream_reads_what_the_file_holds(reads):
    content = bytes(number % 251 for number in range(1000))
    requested = []

    class File(RemotePath):
        def size(self) -> int:
            return len(content)

        def read_ranges(self, ranges: object) -> list[bytes]:
            requested.extend(ranges)
            return [content[start:stop] for start, stop in ranges]

    with pytest.MonkeyPatch.context() as patch:
        for name, value in (("_FIRST_BYTES", 16), ("_MOST_BYTES", 64), ("_HELD_BYTES", 200)):
            patch.setattr(stream, name, value)
        with RemoteStream(File("s3://a/b")) as file:
            for position, num_bytes in reads:
                file.seek(position)
                assert file.read(num_bytes) == content[position : position + num_bytes]
                assert file.tell() == max(position, min(position + num_bytes, 1000))
    assert all(0 <= start < stop <= 1000 and stop - start <= 64 for start, stop in requested)
