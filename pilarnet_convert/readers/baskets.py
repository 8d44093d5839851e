"""The baskets of one tree of a file: fetched, decompressed, decoded.

Nothing here parses the metadata of a tree: a `TreeIndex` has the positions of its baskets.
"""

from __future__ import annotations

import lzma
import struct
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, Final, TypeVar

import cramjam
import numpy as np
import xxhash
from numpy.typing import NDArray

from pilarnet_convert.errors import RemoteError, while_reading
from pilarnet_convert.readers import decode
from pilarnet_convert.readers.decode import Basket
from pilarnet_convert.readers.root_file import (
    DAMAGE,
    TreeIndex,
    damaged,
    read_embedded,
)
from pilarnet_convert.storage.byte_file import RemoteFile, open_file

try:
    import deflate  # libdeflate: twice as fast as zlib
except ImportError:
    deflate = None  # type: ignore[assignment]

__all__ = ["BasketReader", "decompress"]

_Result = TypeVar("_Result")


class BasketReader:
    """Reads the branches of one tree.

    The methods that read take the name of a branch and N entries, ``start`` to ``stop``, end
    excluded. They raise `InputError` if the bytes are damaged. Arrays are native-endian.
    """

    def __init__(self, index: TreeIndex) -> None:
        self.index = index
        self._file = open_file(index.file)

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def prefetch(self, start: int, stop: int, names: Iterable[str] | None = None) -> None:
        """Fetch the baskets of all branches, or of some, at once, if the file is a remote one.

        Raises
        ------
        ConnectionFault
            If the connection fails for good.
        InputError
            If the file is gone or truncated, or has changed since it was indexed.
        """
        if not isinstance(self._file, RemoteFile):
            return
        first_entry = {
            (int(table.seek[n]), int(table.seek[n] + table.num_bytes[n])): int(table.entries[n])
            for name, table in self.index.branches.items()
            if names is None or name in names
            for n in table.numbers(start, stop)
            if table.seek[n] >= 0
        }
        try:
            self._file.prefetch(first_entry)
            self._file.check_unchanged(self.index.head)
        except RemoteError as error:
            behind = [place for place in first_entry if place[0] >= error.position]
            at = max(start, first_entry[min(behind)]) if behind else start
            raise while_reading(error, entry=at) from error

    def flat(self, name: str, start: int, stop: int) -> NDArray[Any]:
        """Read a branch with one value per entry: an array [N] of the dtype of the branch."""
        dtype = self.index.branches[name].dtype
        return self._decode(partial(decode.flat, dtype=dtype), name, start, stop)

    def jagged(self, name: str, start: int, stop: int) -> tuple[NDArray[np.int64], NDArray[Any]]:
        """Read a branch with any number of values per entry.

        Returns
        -------
        counts : int64 array [N]
            The number of values of each entry.
        values : array [counts.sum()]
            All of them, of the dtype of the branch.
        """
        dtype = self.index.branches[name].dtype
        return self._decode(partial(decode.jagged, dtype=dtype), name, start, stop)

    def strings(self, name: str, start: int, stop: int) -> tuple[NDArray[np.intp], tuple[str, ...]]:
        """Read a branch with any number of strings per entry.

        Returns
        -------
        codes : intp array [number of strings]
            An index into `texts` for each string of all entries.
        texts : tuple of str
            The different strings, in the order in which they first occur.
        """
        return self._decode(decode.strings, name, start, stop)

    def voxel_sets(
        self, name: str, start: int, stop: int
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
        """Read the voxels of the clusters of each entry.

        Returns
        -------
        clusters : int64 array [N]
            The number of clusters of each entry.
        voxels : int64 array [clusters.sum()]
            The number of voxels of each cluster.
        voxel_id : int64 array [voxels.sum()]
            Ids.
        energy : float32 array [voxels.sum()]
            Energies, MeV.
        """
        return self._decode(decode.voxel_sets, name, start, stop)

    def _decode(
        self,
        decoder: Callable[[Sequence[Basket], int, int], _Result],
        name: str,
        start: int,
        stop: int,
    ) -> _Result:
        entries = self.index.branches[name].entries
        numbers = self.index.branches[name].numbers(start, stop)
        try:
            return decoder([self._basket(name, n) for n in numbers], start, stop)
        except DAMAGE as error:
            entry = start
            with suppress(*DAMAGE):  # one by one, to name the first that cannot be decoded
                for number in numbers:
                    entry = max(start, int(entries[number]))
                    basket = self._basket(name, number)
                    while entry < min(stop, entries[number + 1]):
                        decoder([basket], entry, entry + 1)
                        entry += 1
            raise damaged(self.index, name, entry, error) from error

    def _basket(self, name: str, number: int) -> Basket:
        table = self.index.branches[name]
        first_entry = int(table.entries[number])
        if table.seek[number] < 0:
            return Basket(*read_embedded(self.index, table.name, number), first_entry)
        raw = self._file.read_at(int(table.seek[number]), int(table.num_bytes[number]))
        num_entries = int(table.entries[number + 1]) - first_entry
        unpacked = _unpack_basket(raw, num_entries, most_bytes=table.total_bytes)
        return Basket(*unpacked, first_entry)


def _unpack_basket(
    raw: bytes, num_entries: int, *, most_bytes: int
) -> tuple[bytes | bytearray, NDArray[np.int64] | None]:
    """Decompress a basket and split off the positions of its entries.

    The key of a basket is a ``TKey`` (sizes, then names) that ends with the ``TBasket`` members
    fVersion, fBufferSize, fNevBufSize, fNevBuf, fLast and a flag. If entries differ in size, the
    data are followed by the list of their positions, counted from the start of the key.
    """
    num_bytes, _, object_bytes, _, key_bytes = struct.unpack_from(">ihiIh", raw)
    if num_bytes != len(raw):
        raise ValueError(f"a basket of {num_bytes} bytes was cut at {len(raw)}")
    _, _, _, found, last, _ = struct.unpack_from(">hiiiib", raw, key_bytes - 19)
    if found != num_entries:
        raise ValueError(f"a basket of {num_entries} entries holds {found}")
    if object_bytes > most_bytes:
        raise ValueError(f"a basket of {object_bytes} bytes in a branch of {most_bytes}")
    stored = num_bytes - key_bytes == object_bytes
    data = raw[key_bytes:] if stored else decompress(memoryview(raw)[key_bytes:], object_bytes)
    border = last - key_bytes
    if border == object_bytes:
        return data, None
    positions = np.frombuffer(data, ">i4", offset=border)[1:].astype(np.int64) - key_bytes
    positions[-1] = border
    if len(positions) != num_entries + 1 or (positions[1:] < positions[:-1]).any():
        raise ValueError("the positions of the entries do not ascend")
    return data, positions


def decompress(data: memoryview, num_bytes: int) -> bytes | bytearray:
    """Decompress the blocks of a ROOT record.

    Parameters
    ----------
    data : memoryview
        Blocks with a header of nine bytes: two letters for the algorithm, a method, then the
        compressed and the uncompressed size in three bytes each, little-endian.
    num_bytes : int
        The size of the result.

    Raises
    ------
    ValueError
        If the algorithm is unknown or the sizes do not agree.
    """
    parts: list[bytes | bytearray] = []
    missing, position = num_bytes, 0
    while missing > 0:
        header = bytes(data[position : position + 9])
        algorithm = _ALGORITHMS.get(header[:2])
        if algorithm is None:
            raise ValueError(f"unknown compression {repr(header[:2])[1:]}")
        packed = int.from_bytes(header[3:6], "little")
        unpacked = int.from_bytes(header[6:9], "little")
        try:
            part = algorithm(bytes(data[position + 9 : position + 9 + packed]), unpacked)
        except Exception as error:  # each library has errors of its own
            raise ValueError(f"a block cannot be decompressed: {error}") from error
        if len(part) != unpacked or not unpacked:
            raise ValueError(f"a block of {unpacked} bytes decompressed to {len(part)}")
        parts.append(part)
        missing -= unpacked
        position += 9 + packed
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _zlib(data: bytes, num_bytes: int) -> bytes | bytearray:
    if deflate is not None:
        return deflate.zlib_decompress(data, num_bytes)
    stream = zlib.decompressobj()
    unpacked = stream.decompress(data, num_bytes)
    if not stream.eof:  # with all bytes read, this is where the checksum is compared
        unpacked += stream.decompress(stream.unconsumed_tail, 1)
    return unpacked


def _lzma(data: bytes, num_bytes: int) -> bytes:
    stream = lzma.LZMADecompressor()
    unpacked = stream.decompress(data, num_bytes)
    return unpacked if stream.eof else unpacked + stream.decompress(b"", 1)


def _lz4(data: bytes, num_bytes: int) -> bytes:
    """Decompress a block of LZ4, which follows its XXH64."""
    if xxhash.xxh64_digest(data[8:]) != data[:8]:
        raise ValueError("the checksum does not hold")
    return bytes(cramjam.lz4.decompress_block(data[8:], output_len=num_bytes))


def _zstd(data: bytes, num_bytes: int) -> bytearray:
    unpacked = bytearray(num_bytes + 1)
    del unpacked[cramjam.zstd.decompress_into(data, unpacked) :]
    return unpacked


#: Functions that decompress a block, into at most one byte more than the block claims to hold.
_ALGORITHMS: Final[Mapping[bytes, Callable[[bytes, int], bytes | bytearray]]] = {
    b"ZL": _zlib,
    b"XZ": _lzma,
    b"L4": _lz4,
    b"ZS": _zstd,
}
