"""From the bytes of baskets to numpy arrays: pure functions, one a layout.

Values are big-endian. Objects that ROOT streams start with a byte count (4 bytes, bit 30 set)
and a version (2 bytes). A ``vector<larcv::Voxel>`` inside a split ``vector<larcv::VoxelSet>`` is
streamed member-wise: the version has bit 14 set, a class version follows (2 bytes; if zero, a
checksum of 4), and then for each set of voxels a count n (4 bytes), n ids (8 bytes each) and n
values (4 bytes each).
"""

from __future__ import annotations

import itertools
import struct
from collections.abc import Iterable, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["Basket", "ObjectWiseError", "flat", "jagged", "strings", "voxel_sets"]

_BYTE_COUNT: Final = 0x4000_0000
_MEMBER_WISE: Final = 0x4000


class Basket(NamedTuple):
    """The contents of a basket: `data`, where each of its entries begins, and the end (or None)."""

    data: bytes | bytearray
    starts: NDArray[np.int64] | None
    first_entry: int


class ObjectWiseError(Exception):
    """The voxels are streamed object by object, which uproot reads itself."""


def flat(baskets: Iterable[Basket], start: int, stop: int, *, dtype: str) -> NDArray[Any]:
    """Decode a branch of one value an entry: the entries ``start`` to ``stop``, native-endian."""
    parts = []
    for basket in baskets:
        values = np.frombuffer(basket.data, dtype)
        parts.append(values[max(start - basket.first_entry, 0) : stop - basket.first_entry])
    return _join(parts, dtype)


def jagged(
    baskets: Iterable[Basket], start: int, stop: int, *, dtype: str
) -> tuple[NDArray[np.int64], NDArray[Any]]:
    """Decode a branch of any number of values an entry.

    Returns
    -------
    counts : int64 array [stop - start]
        Values of each entry.
    values : array
        All of them, native-endian.
    """
    counts, parts = [], []
    size = np.dtype(dtype).itemsize
    for basket, positions in _located(baskets, start, stop):
        num_bytes = positions[1:] - positions[:-1]
        if (num_bytes % size).any():
            raise ValueError("an entry does not hold a whole number of values")
        counts.append(num_bytes // size)
        first, num_values = int(positions[0]), int(counts[-1].sum())
        parts.append(np.frombuffer(basket.data, dtype, num_values, first))
    return _join(counts, "=i8"), _join(parts, dtype)


def strings(baskets: Iterable[Basket], start: int, stop: int) -> list[str]:
    """Decode a branch of any number of strings an entry, all entries in one list.

    A string is a length of one byte, or 255 and a length of four, and its characters.
    """
    found: list[str] = []
    add = found.append
    known: dict[bytes, str] = {}  # few differ, and decoding costs more than looking up
    for basket, positions in _located(baskets, start, stop):
        data = bytes(basket.data)
        for position, end in _objects(data, positions):
            position += 6
            while position < end:
                length = data[position]
                position += 1
                if length == 255:
                    length = int.from_bytes(data[position : position + 4], "big")
                    position += 4
                raw = data[position : position + length]
                position += length
                text = known.get(raw)
                if text is None:
                    text = known[raw] = raw.decode()
                add(text)
            if position > end:
                raise ValueError("a string runs over the end of its entry")
    return found


def voxel_sets(
    baskets: Iterable[Basket], start: int, stop: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
    """Decode the member-wise voxels of the clusters of each event.

    Returns
    -------
    clusters : int64 array [stop - start]
        Clusters of each event.
    voxels : int64 array [clusters.sum()]
        Voxels of each cluster.
    voxel_id : int64 array [voxels.sum()]
        Ids.
    energy : float32 array [voxels.sum()]
        Values.

    Raises
    ------
    ObjectWiseError
        If the entries are streamed object-wise.
    ValueError
        If the bytes do not add up.
    """
    clusters: list[int] = []
    first: list[int] = []  # where the ids of each set begin, in words of four bytes
    counts: list[int] = []
    parts: list[NDArray[np.uint32]] = []
    before = 0
    read_count = struct.Struct(">I").unpack_from
    for basket, positions in _located(baskets, start, stop):
        if (positions & 3).any():
            raise ValueError("an entry does not hold a whole number of words")
        data = basket.data
        # Everything is a multiple of four bytes long, so that the basket is an array of words.
        parts.append(np.frombuffer(data, np.uint32, int(positions[-1]) >> 2))
        for position, end in _objects(data, positions):
            at = position + _header_bytes(data, position) if position < end else end
            sets_before = len(counts)
            while at < end:
                (count,) = read_count(data, at)
                counts.append(count)
                first.append(before + (at >> 2) + 1)
                at += 4 + 12 * count
            if at != end:
                raise ValueError("a set of voxels runs over the end of its entry")
            clusters.append(len(counts) - sets_before)
        before += len(parts[-1])
    voxels = np.array(counts, np.int64)
    ids, values = _split_words(_join(parts, "=u4"), np.array(first, np.int64), voxels)
    return (
        np.array(clusters, np.int64),
        voxels,
        ids.view(">u8").astype(np.int64),
        values.view(">f4").astype(np.float32),
    )


def _split_words(
    words: NDArray[np.uint32], first: NDArray[np.int64], voxels: NDArray[np.int64]
) -> tuple[NDArray[np.uint32], NDArray[np.uint32]]:
    """Take the ids (two words a voxel, from `first` on) and the values behind them, set by set."""
    end = first + 3 * voxels
    between = first - np.concatenate([[0], end[:-1]])[: len(first)]
    lengths = np.stack([between, 2 * voxels, voxels], axis=1).ravel()
    kind = np.repeat(np.tile(np.array([0, 1, 2], np.uint8), len(first)), lengths)
    words = words[: len(kind)]
    return words[kind == 1], words[kind == 2]


def _header_bytes(data: bytes | bytearray, position: int) -> int:
    version, class_version = struct.unpack_from(">HH", data, position + 4)
    if not version & _MEMBER_WISE:
        raise ObjectWiseError
    return 8 if class_version else 12


def _objects(data: bytes | bytearray, positions: NDArray[np.int64]) -> Iterable[tuple[int, int]]:
    """Yield where the object of each entry begins and ends; an entry of no bytes is empty."""
    for position, end in itertools.pairwise(positions.tolist()):
        if position < end:
            count = int.from_bytes(data[position : position + 4], "big")
            if count != (end - position - 4) | _BYTE_COUNT:
                raise ValueError("the byte count of an entry does not match its place")
        yield position, end


def _located(
    baskets: Iterable[Basket], start: int, stop: int
) -> Iterable[tuple[Basket, NDArray[np.int64]]]:
    """Yield each basket with the positions [n + 1] of its entries within ``start`` to ``stop``."""
    for basket in baskets:
        if basket.starts is None:
            raise ValueError("a basket lacks the positions of its entries")
        first = max(start - basket.first_entry, 0)
        last = min(stop - basket.first_entry, len(basket.starts) - 1)
        yield basket, basket.starts[first : last + 1]


def _join(parts: Sequence[NDArray[Any]], dtype: str) -> NDArray[Any]:
    native = np.dtype(dtype).newbyteorder("=")
    if not parts:
        return np.empty(0, native)
    return np.concatenate(parts).astype(native, copy=False)
