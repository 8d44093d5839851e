"""Ragged arrays, against loops."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pilarnet_convert.ragged import gather_rows, join_offsets, offsets_of, row_of

COUNTS = st.lists(st.integers(0, 4), min_size=1)


@given(COUNTS)
def test_every_element_is_found_in_its_row(counts: list[int]) -> None:
    offset = offsets_of(np.array(counts))
    expected = [row for row, count in enumerate(counts) for _ in range(count)]
    assert row_of(offset, np.arange(len(expected))).tolist() == expected
    assert [row_of(offset, element) for element in range(len(expected))] == expected
    starts = offset[:-1]  # without the end
    assert row_of(starts, np.arange(len(expected))).tolist() == expected


@given(st.lists(COUNTS, min_size=1))
def test_offsets_of_parts_are_those_of_all_rows(parts: list[list[int]]) -> None:
    offset = join_offsets([offsets_of(np.array(counts)) for counts in parts])
    every = [count for counts in parts for count in counts]
    assert offset.tolist() == [sum(every[:i]) for i in range(len(every) + 1)]
    assert offset.dtype == np.int64


@given(st.lists(st.tuples(st.integers(0, 2**40), st.integers(0, 20))))
def test_runs_are_listed_one_after_the_other(runs: list[tuple[int, int]]) -> None:
    first, counts = np.array(runs, np.int64).reshape(-1, 2).T
    rows, offset = gather_rows(first, counts)
    assert rows.tolist() == [begin + i for begin, count in runs for i in range(count)]
    assert offset.tolist() == [sum(count for _, count in runs[:i]) for i in range(len(runs) + 1)]
    assert rows.dtype == offset.dtype == np.int64


@given(
    st.sampled_from(["uint16", "uint32", "int32"]),
    st.lists(st.tuples(st.integers(0, 2**15), st.integers(0, 20)), min_size=1),
)
def test_runs_of_numbers_of_any_width(dtype: str, runs: list[tuple[int, int]]) -> None:
    first, counts = np.array(runs, dtype).T
    rows, _ = gather_rows(first, counts)
    assert rows.tolist() == [begin + i for begin, count in runs for i in range(count)]
