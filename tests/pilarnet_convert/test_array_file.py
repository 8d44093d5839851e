"""Rows read by our own reader are those that zarr-python reads."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

from pilarnet_convert import convert, open_shards
from pilarnet_convert.errors import ShardError
from pilarnet_convert.shards import array as encode
from pilarnet_convert.shards.array import ArrayFile, data_file, encode_array
from tests.sample import SAMPLE
from tests.writing import check_of, write_array


def opened(folder: Path, values: np.ndarray) -> ArrayFile:
    file = data_file(folder, values.ndim)
    return ArrayFile(
        partial(file.open, "rb"), shape=values.shape, dtype=values.dtype.name, check=check_of(file)
    )


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
        read = opened(path, values)[cut[0] : cut[1]]
    expected = zarr.open_array(path, mode="r")[cut[0] : cut[1]]
    assert read.dtype == np.dtype(dtype)
    assert np.array_equal(read, expected)  # type: ignore[arg-type]
    assert np.array_equal(read, values[cut[0] : cut[1]])


@pytest.mark.parametrize("place", [10, -10], ids=["chunk", "index"])
def test_a_changed_byte_is_noticed(tmp_path: Path, place: int):
    values = np.arange(200_000)
    write_array(tmp_path / "a", values, attributes={})
    file = data_file(tmp_path / "a", 1)
    check = check_of(file)
    data = bytearray(file.read_bytes())
    data[place] ^= 1
    file.write_bytes(data)
    with pytest.raises(ValueError, match=r"checksum of (chunk 0|the index)"):
        ArrayFile(partial(file.open, "rb"), shape=values.shape, dtype="int64", check=check)[:10]


def test_a_file_cut_short_is_noticed(tmp_path: Path):
    values = np.arange(200_000)
    write_array(tmp_path / "a", values, attributes={})
    rows = opened(tmp_path / "a", values)
    file = data_file(tmp_path / "a", 1)
    check = check_of(file)
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(ValueError, match="checksum of chunk 3"):
        rows[199_990:]
    for size in (100, 0):
        file.write_bytes(file.read_bytes()[:size])
        with pytest.raises(ValueError, match=f"{check.size} bytes expected, {size} found"):
            ArrayFile(partial(file.open, "rb"), shape=values.shape, dtype="int64", check=check)


def test_another_file_of_the_same_size_is_noticed(tmp_path: Path):
    """Run and subrun, for example, may compress to the same number of bytes."""
    # Random values do not compress, so that all files have one size.
    values = np.random.default_rng(1).integers(0, 2**62, (2, 1000))
    write_array(tmp_path / "a", values[0], attributes={})
    a = data_file(tmp_path / "a", 1)
    check = check_of(a)
    a.write_bytes(encode_array(values[1]))
    assert a.stat().st_size == check.size
    with pytest.raises(ValueError, match="checksum of the file"):
        ArrayFile(partial(a.open, "rb"), shape=(1000,), dtype="int64", check=check)[:10]


def test_a_damaged_chunk_is_one_clear_error(tmp_path: Path):
    out = tmp_path / "shards"
    convert(SAMPLE, out, workers=1)
    file = data_file(out / "train" / "00000" / "x", 1)
    data = bytearray(file.read_bytes())
    data[5] ^= 255
    file.write_bytes(data)
    with pytest.raises(ShardError, match=r"x: missing or damaged.*checksum of (the file|chunk 0)"):
        open_shards(out).splits["train"][0].read(["x"])
