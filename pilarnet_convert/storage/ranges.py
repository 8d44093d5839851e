"""Planning which ranges of bytes of a remote file are fetched together."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from typing import Final

__all__ = ["Range", "merge_ranges"]

#: The first byte, and the end, excluded.
Range = tuple[int, int]

#: Bytes that may be fetched without need, as a share of those that are needed.
_WASTE: Final = 0.04
#: Larger ranges are split, so that they use several connections and cost less to repeat.
_MOST_BYTES: Final = 8_000_000


def merge_ranges(
    ranges: Iterable[Range], *, waste: float = _WASTE, most_bytes: int = _MOST_BYTES
) -> list[Range]:
    """Join ranges into few requests.

    Gaps between the ranges are fetched too, the smallest first, as long as they add up to no more
    than a share of what is needed.

    Parameters
    ----------
    ranges : iterable of (start, stop)
        Bytes that are needed; they may touch and overlap, in any order.
    waste : float
        The most bytes of gaps, as a share of the bytes needed.
    most_bytes : int
        The largest request.

    Returns
    -------
    list of (start, stop)
        Ascending and disjoint; each range lies within consecutive requests without a gap.
    """
    needed = _union(ranges)
    allowed = waste * sum(stop - start for start, stop in needed)
    gaps = sorted((b[0] - a[1], b[0]) for a, b in pairwise(needed))
    bridged: set[int] = set()
    for size, position in gaps:
        allowed -= size
        if allowed < 0:
            break
        bridged.add(position)
    joined: list[Range] = []
    for start, stop in needed:
        if start in bridged:
            start = joined.pop()[0]
        joined.append((start, stop))
    return [piece for whole in joined for piece in _cut(*whole, most_bytes=most_bytes)]


def _union(ranges: Iterable[Range]) -> list[Range]:
    found: list[Range] = []
    for start, stop in sorted(ranges):
        if found and start <= found[-1][1]:
            start, stop = found[-1][0], max(stop, found.pop()[1])
        if start < stop:
            found.append((start, stop))
    return found


def _cut(start: int, stop: int, *, most_bytes: int) -> list[Range]:
    """Cut a range into equal pieces of at most `most_bytes`."""
    count = -(-(stop - start) // most_bytes)
    borders = [start + (stop - start) * i // count for i in range(count + 1)]
    return list(pairwise(borders))
