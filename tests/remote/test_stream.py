"""Streams of remote shards: the same batches, few requests, a cache that survives."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from clr_train.stream.config import StreamConfig
from clr_train.stream.stream import ParticleStream
from pilarnet_convert import convert, open_shards
from pilarnet_convert.errors import PilarnetError
from pilarnet_convert.shards import array
from pilarnet_convert.storage.cache import FileRange, RangeCache
from tests.pilarnet_convert.inputs import MODERN
from tests.remote.s3_server import S3Server
from tests.sample import SAMPLE


@pytest.fixture(autouse=True)
def _small_chunks(monkeypatch):
    """Make the arrays of small shards have many chunks."""
    monkeypatch.setattr(array, "CHUNK_ROWS", 2_000)


@pytest.fixture
def local(tmp_path: Path) -> Path:
    out = tmp_path / "local"
    convert([SAMPLE, MODERN], out, workers=1, events_per_shard=20, splits="train=1")
    return out


@pytest.fixture
def remote(local: Path, s3: S3Server) -> str:
    import s3fs

    url = f"s3://{s3.bucket}/set"
    s3fs.S3FileSystem().put(str(local), url, recursive=True)
    s3.requests.clear()
    return url


def batches(shards: object, *, epochs: int = 1, **options: object) -> list[torch.Tensor]:
    config = StreamConfig(shards=shards, batch_size=32, **options)
    stream = ParticleStream(config, block_particles=8, shuffle_particles=64)
    found = []
    for epoch in range(epochs):
        for batch in stream.batches(epoch):
            found += [batch.xyz, batch.energy, batch.offset, batch.label, batch.particle]
    stream.close()
    return found


def same(a: list[torch.Tensor], b: list[torch.Tensor]) -> bool:
    return len(a) == len(b) > 0 and all(map(torch.equal, a, b))


def test_the_same_batches_as_from_files(local, remote, s3):
    assert same(batches(remote, epochs=2), batches(local, epochs=2))


def test_few_requests(local, remote, s3):
    """The root; the labels and offsets; then for each span the indices, and runs of chunks."""
    stream = ParticleStream(
        StreamConfig(shards=remote, batch_size=32), block_particles=8, shuffle_particles=64
    )
    num_shards = len(open_shards(local).splits["train"])
    assert len(s3.requests) == 1 + 2 * num_shards
    s3.requests.clear()
    spans = sum(1 for _ in stream.batches(0)) * 32 // 64 + 1
    indices = 4 * num_shards
    assert len(s3.requests) <= indices + spans * 4 * 8


def test_nothing_travels_twice_with_a_cache_and_it_survives(local, remote, s3, tmp_path):
    expected = batches(local, epochs=2)
    cache = tmp_path / "cache"
    assert same(batches(remote, epochs=2, cache=str(cache)), expected)
    # Every chunk at most once, though each epoch reads it and neighbouring spans share some.
    s3.requests.clear()
    assert same(batches(remote, epochs=2, cache=str(cache)), expected)
    assert s3.requests == [f"GET /{s3.bucket}/set/zarr.json"]
    for path in (cache / "ranges").glob("??/*"):  # damaged ranges are fetched again
        path.write_bytes(path.read_bytes()[:-5] + b"damag")
    assert same(batches(remote, epochs=2, cache=str(cache)), expected)
    assert len(s3.requests) > 10


def test_a_cache_that_is_too_small_is_only_slower(local, remote, tmp_path):
    cache = tmp_path / "cache"
    found = batches(remote, epochs=2, cache=str(cache), cache_size=3e-5)
    assert same(found, batches(local, epochs=2))
    kept = [path.stat().st_size for path in (cache / "ranges").glob("??/*")]
    assert 0 < sum(kept) <= 40_000


def test_worker_processes_read_remote_shards(s3, tmp_path, monkeypatch):
    monkeypatch.undo()  # the chunks of other processes are large
    local, remote = tmp_path / "local", f"s3://{s3.bucket}/set"
    for out in (local, remote):
        convert(MODERN, out, workers=1, splits="train=1")
    assert same(batches(remote, workers=1), batches(local))


def test_damage_is_told(remote, s3):
    import s3fs

    store = s3fs.S3FileSystem()
    name = f"{s3.bucket}/set/train/00000/energy/c.0"
    data = bytearray(store.cat_file(name))
    data[100] ^= 1
    store.pipe_file(name, bytes(data))
    with pytest.raises(PilarnetError, match=r"/set/train/00000: energy: missing or damaged"):
        batches(remote)


def test_local_and_remote_sets_together(tmp_path, remote, local):
    other = tmp_path / "other"
    convert(MODERN, other, workers=1, splits="train=0.5,val=0.5")
    joined, copies = open_shards([other, remote]), open_shards([other, local])
    one, two = open_shards(other), open_shards(remote)
    assert joined.identity == f"{one.identity}+{two.identity}" == copies.identity
    assert joined.num_particles("train") == one.num_particles("train") + two.num_particles("train")
    names = [source["name"] for source in joined.attributes["sources"]]
    assert names == [MODERN.name, SAMPLE.name, MODERN.name]
    rows = [
        (names[source], int(event), int(cluster))
        for part in joined.splits["train"]
        for columns in [part.read(["source", "event", "cluster"])]
        for source, event, cluster in zip(*columns.values(), strict=True)
    ]
    apart = [
        (each.attributes["sources"][source]["name"], int(event), int(cluster))
        for each in (one, two)
        for part in each.splits["train"]
        for columns in [part.read(["source", "event", "cluster"])]
        for source, event, cluster in zip(*columns.values(), strict=True)
    ]
    assert rows == apart
    assert same(batches([other, remote]), batches([other, local]))


def test_cache_removes_what_was_not_used_for_longest(tmp_path):
    cache = RangeCache(tmp_path, most_bytes=16_000)
    every = [FileRange("s3://a/b", "1", start, start + 1000) for start in range(0, 40_000, 1000)]
    for number, wanted in enumerate(every):
        cache.put(wanted, bytes([number]) * 1000)
        assert cache.get(every[0]) == bytes(1000)
        for age, path in enumerate(sorted(tmp_path.rglob("??/*"), key=os.path.getmtime)):
            os.utime(path, (1e9 + age, 1e9 + age))  # in the order of use, whatever the clock
        assert sum(path.stat().st_size for path in tmp_path.rglob("??/*")) <= 16_000
    left = [number for number, wanted in enumerate(every) if cache.get(wanted) is not None]
    assert left[0] == 0
    assert left[1:] == list(range(left[1], 40))
    assert len(left) > 10
    assert cache.get(every[39]._replace(version="2")) is None
