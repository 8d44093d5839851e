"""Ragged arrays: rows of different lengths in one flat array, and where each of them begins."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, overload

import numpy as np
from numpy.typing import NDArray

__all__ = ["Ragged", "gather_rows", "join_offsets", "offsets_of", "row_of"]


class Ragged(NamedTuple):
    """Rows of any length: how many values each has (int64 [n]), then all of them."""

    counts: NDArray[np.int64]
    values: NDArray[Any]


def offsets_of(counts: NDArray[np.integer]) -> NDArray[np.int64]:
    """Turn counts [n] into offsets [n + 1] that begin at 0, int64."""
    offsets = np.zeros(len(counts) + 1, np.int64)
    np.cumsum(counts, out=offsets[1:])
    return offsets


def join_offsets(parts: Sequence[NDArray[np.integer]]) -> NDArray[np.int64]:
    """Return the offsets of ragged arrays put one after the other, int64, from those of each."""
    return offsets_of(np.concatenate([np.diff(offset) for offset in parts]))


@overload
def row_of(offset: NDArray[np.integer], element: int) -> int: ...
@overload
def row_of(offset: NDArray[np.integer], element: NDArray[np.integer]) -> NDArray[np.intp]: ...
def row_of(offset: NDArray[np.integer], element: Any) -> Any:
    """Return which row of a ragged array holds an element, or each of some elements.

    Parameters
    ----------
    offset : integer array [n] or [n + 1]
        Where each row begins, ascending; the end may follow.
    element : int or integer array
        Indices of elements.

    Returns
    -------
    int, or intp array of the shape of `element`
        Indices of rows. A row without elements holds none.
    """
    found = np.searchsorted(offset, element, side="right") - 1
    return found if isinstance(element, np.ndarray) else int(found)


def gather_rows(
    first: NDArray[np.integer], counts: NDArray[np.integer]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """List the row indices of n ranges, one range after the other.

    Parameters
    ----------
    first, counts : integer arrays [n]
        The first row of each range, and how many rows it has.

    Returns
    -------
    rows : int64 array [counts.sum()]
        ``first[i]`` to ``first[i] + counts[i]``, end excluded, for each range i in turn.
    offset : int64 array [n + 1]
        Where each range begins in `rows`, and the end.
    """
    offset = offsets_of(counts)
    # The steps from each row to the next, summed in place: one array is faster than three.
    rows = np.ones(offset[-1], np.int64)
    (filled,) = np.nonzero(counts)
    begin = first[filled].astype(np.int64)  # differences of unsigned numbers would wrap around
    end = begin + counts[filled]
    rows[offset[filled[:1]]] = begin[:1]
    rows[offset[filled[1:]]] = begin[1:] - end[:-1] + 1
    return np.cumsum(rows, out=rows), offset
