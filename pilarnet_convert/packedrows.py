"""Rows of an array as `encode` lays it out, read without the detour of a general reader.

zarr-python reads the same arrays, at four times the cost: it takes each of the many small chunks
through an event loop and a thread.
"""

from __future__ import annotations

import json
import math
import os
import struct
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np
from numcodecs import blosc
from numpy.typing import NDArray

from pilarnet_convert.encode import array_metadata, data_file

__all__ = ["PackedRows"]


class PackedRows:
    """An array on disk whose rows are read a run at a time.

    Parameters
    ----------
    file : Path
        The file that holds the chunks and their index.
    shape : tuple of int
        Rows, and what a row is.
    dtype : dtype
        Of the values.
    chunk_rows : int
        Rows of a chunk.

    Raises
    ------
    ValueError
        If the index is damaged.
    OSError
        If the file cannot be read.
    """

    def __init__(
        self, file: Path, *, shape: tuple[int, ...], dtype: np.dtype[Any], chunk_rows: int
    ) -> None:
        self.file, self.shape, self.dtype, self.chunk_rows = file, shape, dtype, chunk_rows
        num_bytes = 16 * math.ceil(shape[0] / chunk_rows) + 4
        with file.open("rb") as stream:
            stream.seek(-num_bytes, os.SEEK_END)
            index = _checked(stream.read(num_bytes), what="the index of chunks")
        self._places = np.frombuffer(index, "<u8").astype(np.int64).reshape(-1, 2).tolist()

    @classmethod
    def open(cls, folder: Path) -> PackedRows | None:
        """Open the array in a folder; None where another program laid it out differently."""
        found = json.loads((folder / "zarr.json").read_text(encoding="utf-8"))
        shape, dtype = tuple(found["shape"]), np.dtype(found["data_type"])
        if not shape or not shape[0]:
            return None
        ours = array_metadata(shape, dtype, found["attributes"])
        if found != ours:
            return None
        chunk_rows = ours["codecs"][0]["configuration"]["chunk_shape"][0]
        return cls(data_file(folder, len(shape)), shape=shape, dtype=dtype, chunk_rows=chunk_rows)

    def __getitem__(self, rows: slice) -> NDArray[Any]:
        """Read consecutive rows, as many of those asked for as there are.

        Raises
        ------
        ValueError
            If a checksum does not hold.
        RuntimeError
            If a chunk cannot be decompressed.
        OSError
            If the file cannot be read.
        """
        start, stop, _ = rows.indices(self.shape[0])
        row = self.shape[1:]
        out = np.empty((max(stop - start, 0), *row), self.dtype)
        if not len(out):
            return out
        first, last = start // self.chunk_rows, (stop - 1) // self.chunk_rows
        begin = self._places[first][0]
        with self.file.open("rb") as stream:
            stream.seek(begin)
            data = memoryview(stream.read(sum(self._places[last]) - begin))
        for number in range(first, last + 1):
            place, size = self._places[number]
            packed = _checked(
                data[place - begin : place - begin + size], what=f"chunk {number} of {self.file}"
            )
            low = number * self.chunk_rows
            inside = out[max(low - start, 0) : low + self.chunk_rows - start]
            if len(inside) == self.chunk_rows:
                blosc.decompress(packed, inside)
            else:
                whole = np.empty((self.chunk_rows, *row), self.dtype)
                blosc.decompress(packed, whole)
                skipped = max(start - low, 0)
                inside[:] = whole[skipped : skipped + len(inside)]
        return out


def _checked(data: bytes | memoryview, *, what: str) -> bytes | memoryview:
    """Give the data without the CRC-32C that ends it, or raise."""
    body, checksum = data[:-4], bytes(data[-4:])
    if len(checksum) < 4 or struct.pack("<I", google_crc32c.value(bytes(body))) != checksum:
        raise ValueError(f"the checksum of {what} does not hold")
    return body
