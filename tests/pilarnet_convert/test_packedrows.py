"""Rows read by our own reader are those that zarr-python reads."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from pilarnet_convert.shards.packedrows import PackedRows

from pilarnet_convert import convert, open_shards
from pilarnet_convert.errors import ShardError
from pilarnet_convert.shards import array as encode
from pilarnet_convert.shards.array import data_file, write_array
from tests.sample import SAMPLE


def packed(folder: Path) -> PackedRows:
    rows = PackedRows.open(folder)
    assert rows is not None
    return rows


@settings(max_examples=40, deadline=None)
@given(
    dtype=st.sampled_from(["uint8", "uint16", "int64", "float32", "float64"]),
    rows=st.integers(1, 40),
    tail=st.sampled_from([(), (3,), (2, 2)]),
    cut=st.tuples(st.integers(0, 45), st.integers(0, 45)),
)
def test_any_run_of_rows(
    tmp_path_factory: pytest.TempPathFactory,
    dtype: str,
    rows: int,
    tail: tuple[int, ...],
    cut: tuple[int, int],
):
    values = np.random.default_rng(rows).integers(0, 200, (rows, *tail)).astype(dtype)
    path = tmp_path_factory.mktemp("array") / "a"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(encode, "CHUNK_ROWS", 8)
        write_array(path, values, attributes={})
        read = packed(path)[cut[0] : cut[1]]
    expected = zarr.open_array(path, mode="r")[cut[0] : cut[1]]
    assert read.dtype == np.dtype(dtype)
    assert np.array_equal(read, expected)  # type: ignore[arg-type]
    assert np.array_equal(read, values[cut[0] : cut[1]])


@pytest.mark.parametrize("place", [10, -10], ids=["chunk", "index"])
def test_a_changed_byte_is_noticed(tmp_path: Path, place: int):
    write_array(tmp_path / "a", np.arange(1000), attributes={})
    file = data_file(tmp_path / "a", 1)
    data = bytearray(file.read_bytes())
    data[place] ^= 1
    file.write_bytes(data)
    with pytest.raises(ValueError, match=r"checksum of (chunk 0|the index)"):
        packed(tmp_path / "a")[:10]


def test_a_file_cut_short_is_noticed(tmp_path: Path):
    write_array(tmp_path / "a", np.arange(200_000), attributes={})
    rows = packed(tmp_path / "a")
    file = data_file(tmp_path / "a", 1)
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(ValueError, match="checksum of chunk 3"):
        rows[199_990:]
    with pytest.raises(ValueError, match="checksum of the index"):
        PackedRows.open(tmp_path / "a")
    file.write_bytes(b"")
    with pytest.raises((ValueError, OSError)):
        PackedRows.open(tmp_path / "a")


def test_shards_laid_out_by_another_program_are_read(tmp_path: Path):
    out = tmp_path / "shards"
    convert(SAMPLE, out, workers=1)
    before = open_shards(out).splits["train"][0].read()
    folder = out / "train" / "00000" / "energy"
    shutil.rmtree(folder)
    zarr.create_array(folder, data=before["energy"], chunks=(1000,))
    assert PackedRows.open(folder) is None
    shard = open_shards(out).splits["train"][0]
    assert np.array_equal(shard.read(["energy"], 3, 90)["energy"], shard_part(before, 3, 90))


def test_zeros_left_out_by_another_program_are_read(tmp_path: Path):
    values = np.arange(200_000, dtype=np.int32)
    write_array(tmp_path / "a", values, attributes={})
    values[:70_000] = 0
    # zarr-python keeps the metadata, and stores no chunk of fill values.
    zarr.open_array(tmp_path / "a", mode="r+")[:70_000] = 0
    assert PackedRows.open(tmp_path / "a") is None
    assert np.array_equal(zarr.open_array(tmp_path / "a", mode="r")[...], values)  # type: ignore[arg-type]


def shard_part(columns: dict[str, np.ndarray], start: int, stop: int) -> np.ndarray:
    first, last = columns["offset"][[start, stop]]
    return columns["energy"][first:last]


def test_a_damaged_chunk_is_one_clear_error(tmp_path: Path):
    out = tmp_path / "shards"
    convert(SAMPLE, out, workers=1)
    file = data_file(out / "train" / "00000" / "x", 1)
    data = bytearray(file.read_bytes())
    data[5] ^= 255
    file.write_bytes(data)
    with pytest.raises(ShardError, match=r"x: missing or damaged.*checksum of chunk 0"):
        open_shards(out).splits["train"][0].read(["x"])
