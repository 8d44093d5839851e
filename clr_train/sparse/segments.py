"""Sums, means, maxima over the rows of each particle, and the way back.

Legend: M rows, N segments (particles), C channels.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["Piece", "Segments"]


@dataclass(frozen=True, kw_only=True)
class Piece:
    """Some whole segments; `index`, `order` and `offset` count from their first."""

    rows: slice
    segments: slice
    index: Tensor
    order: Tensor
    offset: Tensor

    def sum(self, values: Tensor) -> Tensor:
        """Sum the piece's values [rows, C] over each of its segments; no gradient."""
        return _bag_sum(self.order, values, self.offset)


@dataclass(frozen=True, kw_only=True)
class Segments:
    """Which rows belong to which particle.

    Parameters
    ----------
    index : Tensor, int64 [M]
        Segment of each row, 0 .. N-1.
    order : Tensor, int64 [M]
        The rows, those of segment 0 first. Within a segment they keep their order, so that a sum
        does not depend on anything but the rows themselves.
    offset : Tensor, int64 [N + 1]
        Segment i owns order[offset[i] : offset[i + 1]]; it may be empty.
    is_sorted : bool
        Whether `index` ascends, so that `order` leaves the rows as they are.
    """

    index: Tensor
    order: Tensor
    offset: Tensor
    is_sorted: bool

    @classmethod
    def of(cls, index: Tensor, *, num_segments: int, is_sorted: bool = False) -> Segments:
        """Group rows by `index`, int64 [M]; `is_sorted` saves the sort where it ascends."""
        if is_sorted:
            ascending, order = index, torch.arange(index.shape[0], device=index.device)
        else:
            ascending, order = torch.sort(index, stable=True)
        bounds = torch.arange(num_segments + 1, device=index.device)
        offset = torch.searchsorted(ascending, bounds)
        return cls(index=index, order=order, offset=offset, is_sorted=is_sorted)

    @property
    def num_segments(self) -> int:
        """Number of segments, N."""
        return self.offset.shape[0] - 1

    @property
    def count(self) -> Tensor:
        """Rows of each segment, int64 [N]."""
        return self.offset.diff()

    def pieces(self, num_rows: int) -> list[Piece]:
        """Cut the batch between segments into pieces of about `num_rows` rows.

        Where the rows are not sorted, or on a GPU, which would have to be asked for the bounds,
        the whole is one piece.
        """
        if num_rows not in self._pieces:
            self._pieces[num_rows] = list(self._cut(num_rows))
        return self._pieces[num_rows]

    @cached_property
    def _pieces(self) -> dict[int, list[Piece]]:
        return {}

    def _cut(self, num_rows: int) -> Iterator[Piece]:
        starts = [0]
        if self.is_sorted and self.index.device.type == "cpu":
            marks = torch.arange(num_rows, max(self.index.shape[0], num_rows), num_rows)
            starts = torch.searchsorted(self.offset, marks, right=True).sub(1).tolist()
            starts = sorted({0, *starts} - {self.num_segments})
        for start, stop in pairwise([*starts, self.num_segments]):
            whole = len(starts) == 1
            first = 0 if whole else int(self.offset[start])
            last = self.index.shape[0] if whole else int(self.offset[stop])
            yield Piece(
                rows=slice(first, last),
                segments=slice(start, stop),
                index=self.index[first:last] - start,
                order=self.order[first:last] - first,
                offset=self.offset[start : stop + 1] - first,
            )

    def sum(self, values: Tensor) -> Tensor:
        """Sum `values` [M, C] over each segment: [N, C], zeros for an empty one."""
        out: Tensor = _Sum.apply(values, self)  # type: ignore[no-untyped-call]
        return out

    def spread(self, values: Tensor) -> Tensor:
        """Give every row the value of its segment: [N, C] to [M, C]; the adjoint of `sum`."""
        out: Tensor = _Spread.apply(values, self)  # type: ignore[no-untyped-call]
        return out

    def mean(self, values: Tensor) -> Tensor:
        """Average `values` [M, C] over each segment: [N, C], zeros for an empty one."""
        return self.sum(values) / self.count.clamp(min=1).to(values.dtype)[:, None]

    def max(self, values: Tensor) -> Tensor:
        """Largest of `values` [M, C] in each segment and channel: [N, C], zeros for an empty one.

        The gradient goes to the first of the rows that attain it.
        """
        if values.shape[0] == 0:
            return values.new_zeros(self.num_segments, values.shape[1])
        return F.embedding_bag(
            self.order, values, self.offset, mode="max", include_last_offset=True
        )


def _bag_sum(order: Tensor, values: Tensor, offset: Tensor) -> Tensor:
    if values.shape[0] == 0:
        return values.new_zeros(offset.shape[0] - 1, values.shape[1])
    # The fastest segmented sum that torch has, on the CPU by an order of magnitude, and the same
    # bits whatever the number of threads: one bag is summed by one thread, in order.
    return F.embedding_bag(order, values, offset, mode="sum", include_last_offset=True)


class _Sum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, segments: Segments) -> Tensor:
        ctx.segments = segments
        return _bag_sum(segments.order, values, segments.offset)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return ctx.segments.spread(grad), None


class _Spread(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, segments: Segments) -> Tensor:
        ctx.segments = segments
        return values.index_select(0, segments.index)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return ctx.segments.sum(grad.contiguous()), None
