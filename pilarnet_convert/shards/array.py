"""One Zarr v3 array as a single file: encoding it, and reading runs of its rows.

The layout is that of the codec ``sharding_indexed`` version 1.0 of the Zarr specification: inner
chunks, each packed by Blosc and followed by its CRC-32C, then an index of where each chunk begins
and how long it is, with a CRC-32C of its own. Any Zarr v3 reader opens such an array.

A shard has 22 arrays, most of them small. For these zarr-python takes 3.5 times as long to write
and 4.5 times as long to read, because it passes every chunk through an event loop and a thread.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Sequence
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any, BinaryIO, Final

import google_crc32c
import numpy as np
from numcodecs import blosc
from numpy.typing import NDArray

from pilarnet_convert.shards.format import ARRAYS, FileCheck

__all__ = [
    "CHUNK_ROWS",
    "SHARD_FILES",
    "SHARD_PATHS",
    "ArrayFile",
    "array_metadata",
    "count_chunks",
    "data_file",
    "encode_array",
    "index_bytes",
]

# This holds for the whole process; zarr-python does the same. With several threads Blosc stores
# blocks in the order in which they finish, so that the bytes differ from run to run, and it unpacks
# chunks of this size more slowly.
blosc.use_threads = False

#: Rows of an inner chunk, which a reader decompresses as a whole.
CHUNK_ROWS: Final = 65_536
#: Level 3 makes real voxels 1 % smaller and takes twice the time.
_ZSTD_LEVEL: Final = 1


def data_file(folder: Path, num_dimensions: int) -> Path:
    """Return the path of the data file of the array in `folder`."""
    return folder / ".".join(["c", *["0"] * num_dimensions])


#: The files of a shard that the root checks, by their names in `ShardEntry.files`; paths are
#: relative to the folder of the shard.
SHARD_FILES: Final = {
    **{array: data_file(Path(array), len(spec.dimensions)) for array, spec in ARRAYS.items()},
    "zarr.json": Path("zarr.json"),
}
#: Every file of a shard, those of the metadata of its arrays too, by its path in the shard.
SHARD_PATHS: Final = frozenset(
    [*map(str, SHARD_FILES.values()), *(f"{array}/zarr.json" for array in ARRAYS)]
)


def _crc32c(data: bytes) -> bytes:
    return struct.pack("<I", google_crc32c.value(data))


def encode_array(values: NDArray[Any]) -> bytes:
    """Encode an array of at least one row as the contents of its data file.

    Parameters
    ----------
    values : array, shape (rows, ...)
        Any numeric dtype; stored little-endian.
    """
    rows = len(values)
    chunk_rows = min(CHUNK_ROWS, rows)
    little_endian = np.ascontiguousarray(values, values.dtype.newbyteorder("<"))
    chunks: list[bytes] = []
    for start in range(0, rows, chunk_rows):
        chunk = little_endian[start : start + chunk_rows]
        if len(chunk) < chunk_rows:  # chunks have one size: the last is padded with the fill value
            padding = np.zeros((chunk_rows - len(chunk), *chunk.shape[1:]), chunk.dtype)
            chunk = np.concatenate([chunk, padding])
        packed = blosc.compress(chunk, b"zstd", _ZSTD_LEVEL, blosc.BITSHUFFLE, 0)
        chunks.append(packed + _crc32c(packed))
    begins = accumulate(map(len, chunks[:-1]), initial=0)
    entries = [number for entry in zip(begins, map(len, chunks), strict=True) for number in entry]
    index = struct.pack(f"<{len(entries)}Q", *entries)
    return b"".join([*chunks, index, _crc32c(index)])


def array_metadata(
    shape: Sequence[int],
    dtype: str,
    *,
    dimension_names: Sequence[str],
    attributes: dict[str, Any],
) -> dict[str, Any]:
    """Return the metadata document of an array whose data file is made by `encode_array`."""
    rows, *tail = shape
    chunk_rows = min(CHUNK_ROWS, rows)
    num_chunks = -(-rows // chunk_rows)
    checksum = {"name": "crc32c"}
    little_endian = {"name": "bytes", "configuration": {"endian": "little"}}
    packing = {
        "name": "blosc",
        "configuration": {
            "typesize": np.dtype(dtype).itemsize,
            "cname": "zstd",
            "clevel": _ZSTD_LEVEL,
            "shuffle": "bitshuffle",
            "blocksize": 0,
        },
    }
    return {
        "zarr_format": 3,
        "node_type": "array",
        "shape": list(shape),
        "data_type": dtype,
        "dimension_names": list(dimension_names),
        "chunk_grid": {
            "name": "regular",
            "configuration": {"chunk_shape": [chunk_rows * num_chunks, *tail]},
        },
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "."}},
        "fill_value": 0,
        "codecs": [
            {
                "name": "sharding_indexed",
                "configuration": {
                    "chunk_shape": [chunk_rows, *tail],
                    "codecs": [little_endian, packing, checksum],
                    "index_codecs": [little_endian, checksum],
                    "index_location": "end",
                },
            }
        ],
        "attributes": attributes,
    }


def count_chunks(num_rows: int) -> int:
    """Count the chunks of an array."""
    return -(-num_rows // CHUNK_ROWS)


def index_bytes(num_chunks: int) -> int:
    """Return the size of the index of chunks, at the end of a data file."""
    return 16 * num_chunks + 4


class ArrayFile:
    """Reads consecutive rows of an array from its data file.

    Parameters
    ----------
    open_file : callable
        Opens the data file to read bytes.
    shape : tuple of int
        Shape of the array, at least one row.
    dtype : str
        Dtype of the array.
    check : FileCheck
        The size and checksum that the file must have.

    Raises
    ------
    ValueError
        If the file has another size or checksum.
    OSError
        If it cannot be read.
    """

    def __init__(
        self,
        open_file: Callable[[], BinaryIO],
        *,
        shape: tuple[int, ...],
        dtype: str,
        check: FileCheck,
    ) -> None:
        self._open, self.shape, self.dtype, self.check = open_file, shape, np.dtype(dtype), check
        self._chunk_rows = min(CHUNK_ROWS, shape[0])
        num_chunks = count_chunks(shape[0])
        with self._open() as stream:
            size = stream.seek(0, os.SEEK_END)
            if size != check.size:
                raise ValueError(f"{check.size} bytes expected, {size} found")
            stream.seek(-index_bytes(num_chunks), os.SEEK_END)
            index = _checked(stream.read(), what="the index of chunks")
        begins, sizes = np.frombuffer(index, "<u8").reshape(-1, 2).T.tolist()
        self._bounds = [0, *accumulate(sizes)]
        if begins != self._bounds[:-1]:
            raise ValueError("the chunks do not follow each other")

    def __getitem__(self, rows: slice) -> NDArray[Any]:
        """Read consecutive rows: those of the slice that exist; see `read_into` for errors."""
        start, stop, _ = rows.indices(self.shape[0])
        out = np.empty((max(stop - start, 0), *self.shape[1:]), self.dtype)
        self.read_into(out, start)
        return out

    def read_into(self, out: NDArray[Any], start: int) -> None:
        """Fill `out`, an array of the dtype of the file, with the rows that begin at `start`.

        Raises
        ------
        ValueError
            If a checksum does not hold.
        RuntimeError
            If a chunk cannot be decompressed.
        OSError
            If the file cannot be read.
        """
        if not len(out):
            return
        first, last = start // self._chunk_rows, (start + len(out) - 1) // self._chunk_rows
        for number, packed in enumerate(self._packed(first, last), first):
            low = number * self._chunk_rows
            inside = out[max(low - start, 0) : low + self._chunk_rows - start]
            if len(inside) == self._chunk_rows:
                blosc.decompress(packed, inside)
            else:
                whole = np.empty((self._chunk_rows, *self.shape[1:]), self.dtype)
                blosc.decompress(packed, whole)
                skipped = max(start - low, 0)
                inside[:] = whole[skipped : skipped + len(inside)]

    def chunks(self, start: int, stop: int) -> list[tuple[int, int]]:
        """Return the first byte and the end of each chunk that has rows of `start` to `stop`."""
        numbers = range(start // self._chunk_rows, -(-stop // self._chunk_rows))
        return [(self._bounds[n], self._bounds[n + 1]) for n in numbers]

    def _packed(self, first: int, last: int) -> list[bytes]:
        """Read the chunks `first` to `last`, `last` included, and check them."""
        with self._open() as stream:
            if len(self._bounds) == 2:  # the whole file: a replaced one of the same size is noticed
                data = stream.read()
                if FileCheck.of(data) != self.check:
                    raise ValueError("the checksum of the file does not hold")
                return [data[: self._bounds[1] - 4]]
            stream.seek(self._bounds[first])
            sizes = [end - begin for begin, end in pairwise(self._bounds[first : last + 2])]
            return [
                _checked(stream.read(size), what=f"chunk {number}")
                for number, size in enumerate(sizes, first)
            ]


def _checked(data: bytes, *, what: str) -> bytes:
    """Return the data without the CRC-32C at its end, or raise ValueError."""
    body, checksum = data[:-4], data[-4:]
    if _crc32c(body) != checksum:
        raise ValueError(f"the checksum of {what} does not hold")
    return body
