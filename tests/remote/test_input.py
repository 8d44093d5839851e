"""Conversion of files that a web server has: the same bytes, few requests, clear faults."""

from __future__ import annotations

import shutil
import sys
import threading
from pathlib import Path

import pytest
from click.testing import CliRunner

from pilarnet_convert.cli import convert_command
from pilarnet_convert.errors import ConnectionFault, InputError, RemoteError
from pilarnet_convert.readers.larcv2 import Larcv2Source, index_larcv2
from pilarnet_convert.storage import connection
from pilarnet_convert.storage.remote import RemotePath
from tests.pilarnet_convert.inputs import MODERN, SPLIT
from tests.pilarnet_convert.outputs import contents, run_convert
from tests.remote.counting import needed_bytes
from tests.sample import SAMPLE

NAME = SAMPLE.name


def put(folder: Path, *files: Path) -> None:
    for file in files:
        shutil.copy(file, folder)


def convert_to(out: Path, *arguments: str | Path, workers: int = 1) -> dict[str, bytes | None]:
    """Convert, and return every file that was made."""
    result = run_convert(*arguments, "--out", out, "--workers", workers)
    assert result.exit_code == 0, result.stderr
    return contents(out)


def index_remote(url: str) -> Larcv2Source:
    return index_larcv2(NAME, [RemotePath(url)])


def error_of(*arguments: str | Path) -> str:
    """Convert what cannot be converted, and return the line that says so."""
    result = run_convert(*arguments, "--workers", 1)
    assert result.exit_code == 1
    (line,) = result.stderr.splitlines()
    return line


def test_same_bytes_as_from_local_files_though_connections_drop(tmp_path, web, impatient):
    put(tmp_path / "web", SAMPLE, MODERN)
    local = convert_to(tmp_path / "local", "--input", SAMPLE, MODERN)
    web.drop_every = 20
    names = [f"{web.url}/{path.name}" for path in (SAMPLE, MODERN)]
    for attempt in range(4):  # different requests are dropped in each
        assert convert_to(tmp_path / f"{attempt}", "--input", *names) == local
    assert web.num_requests > 40


def test_worker_processes_open_their_own_connections(tmp_path, web):
    put(tmp_path / "web", SAMPLE, MODERN)
    local = convert_to(tmp_path / "local", "--input", MODERN, SAMPLE)
    # The glob is resolved in this process, which has a connection open when the workers start.
    found = convert_to(tmp_path / "remote", "--input", f"{web.url}/*.root", workers=2)
    assert sorted(found) == sorted(local)
    assert convert_to(tmp_path / "folder", "--input", f"{web.url}/", workers=2) == found


def test_products_in_files_of_their_own(tmp_path, web):
    shutil.copytree(SPLIT.parent, tmp_path / "web" / "split")
    local = convert_to(tmp_path / "local", "--input", SPLIT)
    assert convert_to(tmp_path / "a", "--input", f"{web.url}/split/{SPLIT.name}") == local
    cluster = f"{web.url}/split/cluster/{SPLIT.name.replace('_', '_cluster_', 1)}"
    assert convert_to(tmp_path / "b", "--input", cluster) == local


def test_only_the_needed_baskets_travel_in_few_requests(tmp_path, web):
    put(tmp_path / "web", SAMPLE)
    source = index_remote(f"{web.url}/{NAME}")
    needed = needed_bytes(source)
    for start, stop in ((0, source.num_entries), (5, 6)):
        web.num_bytes = web.num_requests = 0
        with source.open() as reader:
            events = reader.read(start, stop)
        assert events.num_events == stop - start
        assert web.num_bytes < 1.1 * needed
        assert web.num_requests <= 6  # of each product: its ranges, and the header again


def test_a_server_that_answers_with_one_range_is_asked_for_each(tmp_path, web):
    put(tmp_path / "web", MODERN)
    url = f"{web.url}/{MODERN.name}"
    expected = convert_to(tmp_path / "expected", "--input", MODERN)
    web.num_requests = 0
    assert convert_to(tmp_path / "jointly", "--input", url) == expected
    jointly, web.one_range = web.num_requests, True
    assert convert_to(tmp_path / "singly", "--input", url) == expected
    assert web.num_requests > jointly + 3


def test_a_connection_that_dies_names_file_and_entry(tmp_path, web, impatient):
    put(tmp_path / "web", SAMPLE)
    url = f"{web.url}/{NAME}"
    source = index_remote(url)
    web.cut = True
    with source.open() as reader, pytest.raises(ConnectionFault) as caught:
        reader.read(7, 9)
    assert str(caught.value).startswith(f"{url}: entry 7: the connection failed (found ")
    assert "continue with --resume" in str(caught.value)


def test_a_lost_server_ends_the_conversion_and_resume_goes_on(tmp_path, web, impatient):
    put(tmp_path / "web", SAMPLE, MODERN)
    arguments = ("--input", f"{web.url}/{NAME}", f"{web.url}/{MODERN.name}")
    options = ("--events-per-shard", 10)
    whole = convert_to(tmp_path / "whole", *arguments, *options)
    out, requests = tmp_path / "out", web.num_requests

    def die(_path: str) -> None:
        web.cut = web.num_requests > 2 * requests - 10

    web.before = die
    # Not a bad file: with --skip-bad-files it would be left out of the shards.
    line = error_of(*arguments, *options, "--out", out, "--skip-bad-files")
    assert "the connection failed" in line
    web.before, web.cut = (lambda _path: None), False
    assert convert_to(out, *arguments, *options, "--resume") == whole


def test_time_out(tmp_path, web, impatient, monkeypatch):
    put(tmp_path / "web", SAMPLE)
    release = threading.Event()
    web.before = lambda _path: release.wait(20)
    monkeypatch.setattr(connection, "TRIES", 2)
    monkeypatch.setattr(connection, "TIMEOUT_S", 0.2)
    line = error_of("--input", f"{web.url}/{NAME}", "--out", tmp_path / "out")
    release.set()
    assert line.startswith(f"error: {web.url}/{NAME}: the connection failed (found ")
    assert "imeout" in line


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda file: file.write_bytes(MODERN.read_bytes()), "the file changed while it was read"),
        (lambda file: file.write_bytes(SAMPLE.read_bytes()[:40_000]), "truncated (expected at"),
        (lambda file: file.unlink(), "no such file or folder"),
    ],
    ids=["replaced", "truncated", "removed"],
)
def test_a_file_that_changes_between_looking_and_reading(tmp_path, web, impatient, change, says):
    put(tmp_path / "web", SAMPLE)
    url = f"{web.url}/{NAME}"
    source = index_remote(url)
    change(tmp_path / "web" / NAME)
    with source.open() as reader, pytest.raises(InputError) as caught:
        reader.read(0, source.num_entries)
    assert str(caught.value).startswith(f"{url}: entry ")
    assert says in str(caught.value)


def test_of_a_truncated_file_the_first_missing_range_is_reported(tmp_path, web, impatient):
    put(tmp_path / "web", SAMPLE)
    (tmp_path / "web" / NAME).write_bytes(SAMPLE.read_bytes()[:40_000])
    ranges = [(0, 100), (50_000, 50_100), (60_000, 60_100)]
    with pytest.raises(RemoteError, match="expected at least 50100 bytes, found 40000") as caught:
        RemotePath(f"{web.url}/{NAME}").read_ranges(ranges)
    assert caught.value.position == 50_000


def test_a_server_without_ranges_is_refused_before_much_is_read(tmp_path, web, impatient):
    put(tmp_path / "web", SAMPLE)
    web.ignore_ranges = True
    line = error_of("--input", f"{web.url}/{NAME}", "--out", tmp_path / "out")
    assert line == (
        f"error: {web.url}/{NAME}: the server does not serve ranges of bytes; download the file "
        "and convert the copy, or serve it by a server that does"
    )
    assert web.num_requests == 3  # twice the size, then a range, whose answer is not read
    assert web.num_bytes < 2 * SAMPLE.stat().st_size


@pytest.mark.parametrize(
    ("status", "says"),
    [(403, "access is refused"), (404, "no such file or folder"), (500, "the connection failed")],
)
def test_errors_of_the_server(tmp_path, web, impatient, status, says):
    put(tmp_path / "web", SAMPLE)
    web.status = status
    line = error_of("--input", f"{web.url}/{NAME}", "--out", tmp_path / "out")
    assert line.startswith(f"error: {web.url}/{NAME}: {says}")


def test_no_root_file(tmp_path, web):
    (tmp_path / "web" / "page.root").write_text("<html>" * 200)
    line = error_of("--input", f"{web.url}/page.root", "--out", tmp_path / "out")
    assert line.startswith(f"error: {web.url}/page.root: not a kind of file")


def test_protocols_that_cannot_be_used(tmp_path, monkeypatch):
    line = error_of("--input", "gopher://host/a.root", "--out", tmp_path / "out")
    assert line.startswith("error: gopher://host/a.root: no such protocol (found gopher)")
    monkeypatch.setitem(sys.modules, "s3fs", None)
    monkeypatch.delitem(sys.modules["fsspec.registry"]._registry, "s3", raising=False)
    line = error_of("--input", "s3://bucket/a.root", "--out", tmp_path / "out")
    assert line == (
        "error: s3://bucket/a.root: the package for s3:// is not installed; "
        "pip install 'pilarnet-clr[remote]', or in a checkout pip install '.[remote]'"
    )


def test_the_reader_through_root_takes_local_files_only(tmp_path, web):
    url = f"{web.url}/{NAME}"
    line = error_of("--input", url, "--out", tmp_path / "out", "--reader", "dlp")
    assert line.startswith(f"error: {url}: the reader dlp reads local files only; leave --reader")


def test_input_list(tmp_path, web):
    put(tmp_path / "web", MODERN)
    both = ("--input", SAMPLE, f"{web.url}/{MODERN.name}")
    expected = convert_to(tmp_path / "named", *both)
    names = tmp_path / "names.txt"
    names.write_text(f"# two files\n\n {SAMPLE}  # local\n{web.url}/{MODERN.name}\n")
    assert convert_to(tmp_path / "listed", "--input-list", names) == expected
    rest = tmp_path / "rest.txt"
    rest.write_text(f"{web.url}/{MODERN.name}")
    listed = convert_to(tmp_path / "mixed", "--input", SAMPLE, "--input-list", rest)
    assert listed == expected


def test_input_list_from_standard_input(tmp_path):
    arguments = ["--input-list", "-", "--out", str(tmp_path / "out"), "--workers", "1"]
    result = CliRunner().invoke(convert_command, arguments, input=f"{SAMPLE}\n")
    assert result.exit_code == 0, result.stderr
    assert contents(tmp_path / "out") == convert_to(tmp_path / "named", "--input", SAMPLE)


@pytest.mark.parametrize("text", [b"", b"# nothing\n\n", b"\xff\xfe\n"])
def test_input_lists_that_name_nothing(tmp_path, text):
    names = tmp_path / "names.txt"
    names.write_bytes(text)
    result = run_convert("--input-list", names, "--out", tmp_path / "out")
    (line,) = result.stderr.splitlines()
    assert (result.exit_code, line.startswith(f"error: {names}: ")) == (2, True)
    missing = run_convert("--out", tmp_path / "out")
    assert (missing.exit_code, "--input-list" in missing.stderr) == (2, True)
