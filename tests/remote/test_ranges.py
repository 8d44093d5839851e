"""Planning requests: properties that hold for any ranges."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pilarnet_convert.storage.ranges import merge_ranges

_RANGES = st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 300)), max_size=30).map(
    lambda pairs: [(start, start + size) for start, size in pairs]
)


@given(ranges=_RANGES, waste=st.floats(0, 1), most_bytes=st.integers(1, 500))
def test_requests_cover_the_ranges_and_little_else(ranges, waste, most_bytes):
    requests = merge_ranges(ranges, waste=waste, most_bytes=most_bytes)
    needed = {byte for start, stop in ranges for byte in range(start, stop)}
    fetched = [byte for start, stop in requests for byte in range(start, stop)]
    assert fetched == sorted(set(fetched))
    assert needed <= set(fetched)
    assert len(fetched) <= (1 + waste) * len(needed)
    assert all(0 < stop - start <= most_bytes for start, stop in requests)


def test_small_gaps_are_bridged_first():
    ranges = [(0, 100), (102, 200), (230, 300), (301, 400)]
    # 367 bytes are needed: 4 % allow the gaps of 1 and 2 bytes, and not the one of 30.
    assert merge_ranges(ranges, waste=0.04) == [(0, 200), (230, 400)]
    assert merge_ranges(ranges, waste=0.1) == [(0, 400)]
    assert merge_ranges(ranges, waste=0) == ranges
