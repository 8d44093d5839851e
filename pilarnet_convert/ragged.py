"""Ragged arrays: rows of different lengths in one flat array, and where each of them begins."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["Ragged", "gather_rows", "offsets_of"]


class Ragged(NamedTuple):
    """Rows of any length: how many values each has (int64 [n]), then all of them."""

    counts: NDArray[np.int64]
    values: NDArray[Any]


def offsets_of(counts: NDArray[np.integer]) -> NDArray[np.int64]:
    """Turn counts [n] into offsets [n + 1] that begin at 0, int64."""
    offsets = np.zeros(len(counts) + 1, np.int64)
    np.cumsum(counts, out=offsets[1:])
    return offsets


def gather_rows(
    first: NDArray[np.integer], counts: NDArray[np.integer]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """List the elements of n runs of consecutive ones, one run after the other.

    Returns
    -------
    rows : int64 array [counts.sum()]
        ``first[i]`` to ``first[i] + counts[i]``, end excluded, for each run i in turn.
    offset : int64 array [n + 1]
        Where each run begins in `rows`, and the end.
    """
    offset = offsets_of(counts)
    # The steps from each element to the next, summed in place: one array is faster than three.
    rows = np.ones(offset[-1], np.int64)
    (run,) = np.nonzero(counts)
    begin = first[run].astype(np.int64)  # differences of unsigned numbers would wrap around
    end = begin + counts[run]
    rows[offset[run[:1]]] = begin[:1]
    rows[offset[run[1:]]] = begin[1:] - end[:-1] + 1
    return np.cumsum(rows, out=rows), offset
