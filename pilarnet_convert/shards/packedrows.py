"""Rows of an array as `encode` lays it out, read without the detour of a general reader.

zarr-python reads the same arrays, at three times the cost: it takes each of the many small chunks
through an event loop and a thread.
"""

from __future__ import annotations

import json
import math
import os
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numcodecs import blosc
from numpy.typing import NDArray

from pilarnet_convert.shards.array import array_metadata, crc32c, data_file

__all__ = ["PackedRows"]


class PackedRows:
    """An array on disk whose rows are read a run at a time.

    Parameters
    ----------
    file : Path
        The file of the chunks, one behind the other.
    shape : tuple of int
        Rows, and what a row is.
    dtype : dtype
        Of the values.
    chunk_rows : int
        Rows of a chunk.
    bounds : list of int
        Where each chunk begins in the file, and where the last ends.
    """

    def __init__(
        self,
        file: Path,
        *,
        shape: tuple[int, ...],
        dtype: np.dtype[Any],
        chunk_rows: int,
        bounds: list[int],
    ) -> None:
        self.file, self.shape, self.dtype = file, shape, dtype
        self.chunk_rows, self.bounds = chunk_rows, bounds

    @classmethod
    def open(cls, folder: Path) -> PackedRows | None:
        """Open the array in a folder; None where another program laid it out differently.

        Raises
        ------
        ValueError
            If the index of the chunks is damaged.
        OSError
            If a file cannot be read.
        """
        found = json.loads((folder / "zarr.json").read_text(encoding="utf-8"))
        shape, dtype = tuple(found["shape"]), np.dtype(found["data_type"])
        if not shape or not shape[0]:
            return None
        ours = array_metadata(shape, dtype, found["attributes"])
        if found != ours:
            return None
        chunk_rows = ours["codecs"][0]["configuration"]["chunk_shape"][0]
        file = data_file(folder, len(shape))
        num_bytes = 16 * math.ceil(shape[0] / chunk_rows) + 4
        with file.open("rb") as stream:
            stream.seek(-num_bytes, os.SEEK_END)
            index = _checked(stream.read(num_bytes), what="the index of chunks")
        begin, size = np.frombuffer(index, "<u8").reshape(-1, 2).T.tolist()
        bounds = [0, *accumulate(size)]
        # Others may leave a chunk of zeros out, or order chunks as they like.
        if begin != bounds[:-1]:
            return None
        return cls(file, shape=shape, dtype=dtype, chunk_rows=chunk_rows, bounds=bounds)

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
        with self.file.open("rb") as stream:
            stream.seek(self.bounds[first])
            pieces = [
                stream.read(end - begin) for begin, end in pairwise(self.bounds[first : last + 2])
            ]
        for number, piece in enumerate(pieces, first):
            packed = _checked(piece, what=f"chunk {number} of {self.file}")
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


def _checked(data: bytes, *, what: str) -> bytes:
    """Give the data without the CRC-32C that ends it, or raise."""
    body, checksum = data[:-4], data[-4:]
    if crc32c(body) != checksum:
        raise ValueError(f"the checksum of {what} does not hold")
    return body
