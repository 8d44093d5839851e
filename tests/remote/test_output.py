"""Conversion into an S3 store: the same objects as files, whole or not there, and resumed."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pilarnet_convert import convert, open_shards, verify
from pilarnet_convert.errors import PilarnetError
from tests.pilarnet_convert.inputs import MODERN
from tests.pilarnet_convert.outputs import contents, run_convert, run_stats
from tests.remote.s3_server import S3Server
from tests.sample import SAMPLE

#: Two tasks that write a shard each: a shard is 45 objects, and the server is slow.
SETTINGS = {"workers": 1, "events_per_shard": 10, "splits": "train=1"}
OPTIONS = ("--workers", 1, "--events-per-shard", 10, "--splits", "train=1")


def objects(s3: S3Server, prefix: str) -> dict[str, bytes]:
    """Return every object under a prefix, as s3fs alone reads it."""
    import s3fs

    store = s3fs.S3FileSystem(use_listings_cache=False)
    root = f"{s3.bucket}/{prefix}/"
    return {name.removeprefix(root): store.cat_file(name) for name in store.find(root)}


def files(folder: Path) -> dict[str, bytes]:
    return {name: data for name, data in contents(folder).items() if data is not None}


def error_of(*arguments: str | Path) -> str:
    result = run_convert(*arguments)
    assert result.exit_code == 1, result.output
    (line,) = result.stderr.splitlines()
    return line


@pytest.fixture
def local(tmp_path: Path) -> Path:
    """A set of shards of two tasks, converted into a folder."""
    out = tmp_path / "local"
    assert run_convert("--input", SAMPLE, "--out", out, *OPTIONS).exit_code == 0
    return out


def test_objects_are_the_files_of_a_local_conversion(local, s3):
    out = f"s3://{s3.bucket}/some/prefix"
    result = run_convert("--input", SAMPLE, "--out", out, *OPTIONS)
    assert result.exit_code == 0, result.stderr
    assert objects(s3, "some/prefix") == files(local)
    assert verify(out) == []
    again = run_convert("--input", SAMPLE, "--out", out, *OPTIONS)
    assert again.stderr.startswith(f"error: {out}: the folder already holds shards; continue with ")
    assert run_convert("--input", SAMPLE, "--out", out, *OPTIONS, "--resume").exit_code == 0


def test_the_metadata_of_a_group_are_put_last(s3):
    out = f"s3://{s3.bucket}/set"
    convert(SAMPLE, out, **SETTINGS)
    put = [r.split("/set/")[1] for r in s3.requests if r.startswith("PUT") and "/set/" in r]
    assert put[-1] == "zarr.json"
    for number in ("00000", "00001"):
        of_shard = [name for name in put if name.startswith(f"train/{number}/")]
        assert len(of_shard) == len(set(of_shard)) > 40
        assert of_shard[-1] == f"train/{number}/zarr.json"
        assert put.index(f".conversion/tasks/{number}.json") > put.index(of_shard[-1])


def test_interrupted_conversion_goes_on_to_the_same_objects(local, s3, impatient):
    out = f"s3://{s3.bucket}/set"
    s3.refused = lambda method, path: method == "PUT" and "/train/00001/energy/" in path
    line = error_of("--input", SAMPLE, "--out", out, *OPTIONS)
    assert line.startswith(f"error: {out}/train/00001/energy/")
    assert "access is refused" in line
    left = objects(s3, "set")
    assert "train/00000/zarr.json" in left
    assert not {"train/00001/zarr.json", "zarr.json"} & left.keys()
    with pytest.raises(PilarnetError, match="the conversion is unfinished"):
        open_shards(out)

    s3.refused = lambda _method, _path: False
    s3.requests.clear()
    other = error_of("--input", MODERN, "--out", out, *OPTIONS, "--resume")
    assert "the conversion in the folder has other sources" in other
    assert error_of("--input", SAMPLE, "--out", out, *OPTIONS).endswith("choose another --out")
    assert run_convert("--input", SAMPLE, "--out", out, *OPTIONS, "--resume").exit_code == 0
    assert objects(s3, "set") == files(local)
    assert not any(r.startswith("PUT") and "/train/00000/" in r for r in s3.requests)


def test_overwriting_removes_what_a_conversion_wrote_and_nothing_else(local, s3):
    import s3fs

    out = f"s3://{s3.bucket}/set"
    convert(MODERN, out, **SETTINGS)
    store = s3fs.S3FileSystem()
    kept = {"notes.txt": b"a", "train/00007/notes.txt": b"b", "train/mine/c": b"c"}
    for name, data in kept.items():
        store.pipe_file(f"{s3.bucket}/set/{name}", data)
    assert run_convert("--input", SAMPLE, "--out", out, *OPTIONS, "--overwrite").exit_code == 0
    assert objects(s3, "set") == files(local) | kept


def test_two_conversions_that_begin_at_the_same_time(local, s3):
    out = f"s3://{s3.bucket}/set"
    begun = []

    def begin_another(method: str, path: str) -> bool:
        # The other one comes between this one's look at the prefix and its own manifest.
        if method == "PUT" and path.endswith("manifest.json") and not begun:
            begun.append(True)
            convert(MODERN, out, **SETTINGS)
            s3.refused = lambda _method, _path: False
        return False

    s3.refused = begin_another
    line = error_of("--input", SAMPLE, "--out", out, *OPTIONS)
    assert begun
    assert line.startswith(f"error: {out}: ")
    assert [s["name"] for s in open_shards(out).attributes["sources"]] == [MODERN.name]


@pytest.mark.parametrize(
    ("wanted", "moment"), [("HEAD", "/scratch-"), ("PUT", "/tasks/00001.json")]
)
def test_a_conversion_that_was_replaced_writes_no_root(s3, wanted, moment):
    out = f"s3://{s3.bucket}/set"
    replaced = []

    def replace(method: str, path: str) -> bool:
        # At the first look of a worker at its conversion, or when the last record is written.
        if method == wanted and moment in path and not replaced:
            replaced.append(True)
            convert(MODERN, out, overwrite=True, **SETTINGS)
        return False

    s3.refused = replace
    line = error_of("--input", SAMPLE, "--out", out, *OPTIONS)
    assert line.startswith(f"error: {out}")
    says = ("another conversion was begun here meanwhile", "no longer there", "has other sources")
    assert any(text in line for text in says)
    assert verify(out) == []
    assert [s["name"] for s in open_shards(out).attributes["sources"]] == [MODERN.name]


def test_places_that_cannot_be_written(s3, web, impatient, monkeypatch):
    missing = "s3://no-such-bucket/set"
    line = error_of("--input", SAMPLE, "--out", missing, *OPTIONS)
    assert line.startswith(f"error: {missing}/.conversion/manifest.json: no such file or folder")
    assert "bucket does not exist" in line
    s3.refused = lambda method, _path: method == "PUT"
    out = f"s3://{s3.bucket}/set"
    line = error_of("--input", SAMPLE, "--out", out, *OPTIONS)
    assert line.startswith(f"error: {out}/.conversion/manifest.json: access is refused (found ")
    line = error_of("--input", SAMPLE, "--out", f"{web.url}/set", *OPTIONS)
    assert line.startswith(f"error: {web.url}/set/.conversion/manifest.json: ")


def test_places_that_cannot_be_read(tmp_path, s3, impatient):
    out = ("--out", tmp_path / "out")
    line = error_of("--input", "s3://no-such-bucket/a.root", *out)
    assert line.startswith("error: s3://no-such-bucket/a.root: no such file or folder (found ")
    s3.refused = lambda method, _path: method in ("GET", "HEAD")
    for name in ("a.root", "folder"):
        line = error_of("--input", f"s3://{s3.bucket}/{name}", *out)
        assert line.startswith(f"error: s3://{s3.bucket}/{name}: access is refused (found ")
    assert not (tmp_path / "out").exists()
    result = run_stats(f"s3://{s3.bucket}/set")
    assert result.stderr.startswith(f"error: s3://{s3.bucket}/set/zarr.json: access is refused (")


def test_opening_is_one_request_and_statistics_are_those_of_the_files(local, s3):
    out = f"s3://{s3.bucket}/set"
    convert(SAMPLE, out, **SETTINGS)
    s3.requests.clear()
    opened = open_shards(out)
    assert s3.requests == [f"GET /{s3.bucket}/set/zarr.json"]
    assert opened.identity == open_shards(local).identity
    assert run_stats(out, "--format", "csv").stdout == run_stats(local, "--format", "csv").stdout
    assert run_stats(out, "--verify").stdout.startswith(f"{out}: every checksum holds\n")


def test_no_set_there(s3):
    result = run_stats(f"s3://{s3.bucket}/none")
    assert result.stderr.startswith(f"error: s3://{s3.bucket}/none: the folder holds no shards; ")


def test_input_from_the_store(tmp_path, s3):
    import s3fs

    store = s3fs.S3FileSystem()
    store.put([str(SAMPLE), str(MODERN)], f"{s3.bucket}/in/")
    store.pipe_file(f"{s3.bucket}/in/notes.txt", b"mine")
    expected = tmp_path / "local"
    assert run_convert("--input", MODERN, SAMPLE, "--out", expected, *OPTIONS).exit_code == 0
    for number, name in enumerate(("in", "in/*_192px_*.root", "*")):
        out = tmp_path / str(number)
        few = ("--max-events", 1)
        result = run_convert("--input", f"s3://{s3.bucket}/{name}", "--out", out, *OPTIONS, *few)
        assert result.exit_code == 0, result.stderr
        named = Counter(s["name"] for s in open_shards(out).attributes["sources"])
        assert named == Counter([SAMPLE.name, MODERN.name])
    swapped = [f"s3://{s3.bucket}/in/{path.name}" for path in (MODERN, SAMPLE)]
    assert run_convert("--input", *swapped, "--out", tmp_path / "x", *OPTIONS).exit_code == 0
    assert files(tmp_path / "x") == files(expected)


def test_names_with_signs_that_urls_give_a_meaning(tmp_path, s3):
    import s3fs

    s3fs.S3FileSystem().put(str(MODERN), f"{s3.bucket}/in/a #1 %20.root")
    for number, name in enumerate(("in", "in/a #1 %20.root")):
        shards = convert(f"s3://{s3.bucket}/{name}", tmp_path / str(number), **SETTINGS)
        assert [source["name"] for source in shards.attributes["sources"]] == ["a #1 %20.root"]
    line = run_convert("--input", MODERN, "--out", f"s3://{s3.bucket}/a?b", *OPTIONS).stderr
    assert line.startswith("error: --out: the URL of a folder has no query (found s3://")


def test_parts_write_the_same_objects(local, s3):
    out = f"s3://{s3.bucket}/parts"
    common = ("--input", SAMPLE, "--out", out, *OPTIONS)
    first = run_convert(*common, "--part", "2/2")
    assert first.exit_code == 0, first.stderr
    assert "1/2" in first.output  # which is missing
    assert run_convert(*common, "--part", "1/2").exit_code == 0
    assert objects(s3, "parts") == files(local)


def test_workers_elsewhere_write_the_same_objects(local, s3):
    out = f"s3://{s3.bucket}/elsewhere"
    with ThreadPoolExecutor(2) as pool:
        convert(SAMPLE, out, executor=pool, **SETTINGS)
    assert objects(s3, "elsewhere") == files(local)


@pytest.mark.cluster
def test_workers_of_a_dask_cluster_write_the_same_objects(local, s3):
    distributed = pytest.importorskip("distributed")
    out = f"s3://{s3.bucket}/dask"
    options = {
        "processes": True,
        "n_workers": 2,
        "threads_per_worker": 1,
        "dashboard_address": None,
    }
    with distributed.LocalCluster(**options) as cluster, distributed.Client(cluster) as client:
        convert(SAMPLE, out, executor=client, **SETTINGS)
    assert objects(s3, "dask") == files(local)
