"""From the bytes of baskets to numpy arrays: pure functions, one for each layout.

Values are big-endian. Objects that ROOT streams start with a byte count (4 bytes, bit 30 set)
and a version (2 bytes; if zero, a checksum of 4 follows). A ``vector<larcv::Voxel>`` inside a split
``vector<larcv::VoxelSet>`` is a count n (4 bytes) for each set, and then its voxels in one of two
layouts. If bit 14 of the entry's version is set, it is member-wise: there is one class version for
all voxels, and a set holds n ids (8 bytes each), then n values (4 bytes each). Otherwise it is
object-wise: each voxel is an object with its byte count and version, id and value.

Objects of varying length are decoded by AwkwardForth (arXiv:2102.13516), a small compiled language
that reads typed values from a buffer. ``->`` reads one value, ``#..->`` as many as the number on
the stack, ``!`` means big-endian, and the letters are those of `struct`.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple

import numpy as np
from awkward_cpp.lib._ext import ForthMachine64  # awkward.forth, without 0.2 s for all of awkward
from numpy.typing import NDArray

from pilarnet_convert.ragged import offsets_of

__all__ = ["Basket", "flat", "jagged", "strings", "voxel_sets"]

#: Reads the entries one after the other. An entry is empty, or a byte count that leads to its end,
#: followed by what ``{body}`` reads.
_ENTRIES: Final = """
input data  input ends
{outputs}
variable stop
ends len 8 / 0 do
  ends q-> stack stop !
  0
  data pos stop @ < if
    data !I-> stack  stop @ data pos - 1073741824 or <> if halt then
    {body}
    data pos stop @ <> if halt then
  then
  per_entry <- stack
loop
"""
_VOXEL_SETS: Final = _ENTRIES.format(
    outputs="output per_entry int64  output voxels int64  output ids int64  output values float32",
    body="""
    data !H-> stack 16384 and if
      data !H-> stack 0= if 4 data skip then
      begin data pos stop @ < while
        data !I-> stack  dup voxels <- stack  dup data #!Q-> ids  data #!f-> values  1+
      repeat
    else
      begin data pos stop @ < while
        data !I-> stack  dup voxels <- stack
        0 do
          4 data skip  data !H-> stack 0= if 4 data skip then
          data !Q-> ids  data !f-> values
        loop
        1+
      repeat
    then""",
)
_STRINGS: Final = _ENTRIES.format(
    outputs="output per_entry int64  output lengths int64  output characters uint8",
    body="""
    2 data skip
    begin data pos stop @ < while
      data B-> stack  dup 255 = if drop data !I-> stack then
      dup lengths <- stack  data #B-> characters  1+
    repeat""",
)


class Basket(NamedTuple):
    """The contents of a basket.

    `starts` has where each entry begins in `data`, and the end of the last; it is None if all
    entries have the same size.
    """

    data: bytes | bytearray
    starts: NDArray[np.int64] | None
    first_entry: int


def flat(baskets: Iterable[Basket], start: int, stop: int, *, dtype: str) -> NDArray[Any]:
    """Decode a branch with one value per entry: an array [stop - start], native-endian."""
    parts = []
    for basket in baskets:
        values = np.frombuffer(basket.data, dtype)
        parts.append(values[max(start - basket.first_entry, 0) : stop - basket.first_entry])
    return _native(np.concatenate(parts) if parts else np.empty(0, dtype))


def jagged(
    baskets: Iterable[Basket], start: int, stop: int, *, dtype: str
) -> tuple[NDArray[np.int64], NDArray[Any]]:
    """Decode a branch with any number of values per entry.

    Returns
    -------
    counts : int64 array [stop - start]
        The number of values of each entry.
    values : array [counts.sum()]
        All of them, native-endian.
    """
    data, num_bytes = _joined(baskets, start, stop)
    counts, rest = np.divmod(num_bytes, np.dtype(dtype).itemsize)
    if rest.any():
        raise ValueError("an entry does not hold a whole number of values")
    return counts, _native(np.frombuffer(data, dtype))


def strings(
    baskets: Iterable[Basket], start: int, stop: int
) -> tuple[NDArray[np.intp], tuple[str, ...]]:
    """Decode a branch with any number of strings per entry, of which few are different.

    A string is stored as its length in one byte, or 255 and its length in four bytes, and then its
    characters.

    Returns
    -------
    codes : intp array [number of strings]
        An index into `texts` for each string of all entries.
    texts : tuple of str
        The different strings, in the order in which they first occur.
    """
    found = _run(_STRINGS, *_joined(baskets, start, stop))
    characters, ends = found["characters"].tobytes(), offsets_of(found["lengths"]).tolist()
    codes: dict[bytes, int] = {}
    of_each = [
        codes.setdefault(characters[begin:end], len(codes))
        for begin, end in itertools.pairwise(ends)
    ]
    return np.array(of_each, np.intp), tuple(text.decode() for text in codes)


def voxel_sets(
    baskets: Iterable[Basket], start: int, stop: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
    """Decode the voxels of the clusters of each event.

    Returns
    -------
    clusters : int64 array [stop - start]
        The number of clusters of each event.
    voxels : int64 array [clusters.sum()]
        The number of voxels of each cluster.
    voxel_id : int64 array [voxels.sum()]
        Ids.
    energy : float32 array [voxels.sum()]
        Values.

    Raises
    ------
    ValueError
        If the bytes do not add up.
    """
    found = _run(_VOXEL_SETS, *_joined(baskets, start, stop))
    return found["per_entry"], found["voxels"], found["ids"], found["values"]


def _joined(
    baskets: Iterable[Basket], start: int, stop: int
) -> tuple[bytearray, NDArray[np.int64]]:
    """Return the bytes of the entries ``start`` to ``stop`` in one piece, and the size of each."""
    parts: list[memoryview] = []
    sizes: list[NDArray[np.int64]] = []
    for basket in baskets:
        if basket.starts is None:
            raise ValueError("a basket lacks the positions of its entries")
        first = max(start - basket.first_entry, 0)
        located = basket.starts[first : stop - basket.first_entry + 1]
        parts.append(memoryview(basket.data)[located[0] : located[-1]])
        sizes.append(located[1:] - located[:-1])
    return bytearray().join(parts), np.concatenate(sizes) if sizes else np.empty(0, np.int64)


def _run(program: str, data: bytearray, num_bytes: NDArray[np.int64]) -> Mapping[str, Any]:
    """Run a program over entries of `num_bytes` each; `ValueError` if they do not add up."""
    machine = ForthMachine64(program, output_initial_size=len(data) // 12 + 1024)
    inputs = {"data": np.frombuffer(data, np.uint8), "ends": np.cumsum(num_bytes)}
    try:
        machine.run(inputs)
    except ValueError:
        raise ValueError("the bytes of an entry do not add up") from None
    return {name: np.asarray(values) for name, values in machine.outputs.items()}


def _native(values: NDArray[Any]) -> NDArray[Any]:
    return values.astype(values.dtype.newbyteorder("="), copy=False)
