"""Sums, means, maxima over the rows of each particle, and the way back.

Legend: M rows, N segments (particles), C channels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["Segments"]


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
    """

    index: Tensor
    order: Tensor
    offset: Tensor

    @classmethod
    def of(cls, index: Tensor, *, num_segments: int, is_sorted: bool = False) -> Segments:
        """Group rows by `index`, int64 [M]; `is_sorted` saves the sort where it ascends."""
        if is_sorted:
            ascending, order = index, torch.arange(index.shape[0], device=index.device)
        else:
            ascending, order = torch.sort(index, stable=True)
        bounds = torch.arange(num_segments + 1, device=index.device)
        return cls(index=index, order=order, offset=torch.searchsorted(ascending, bounds))

    @property
    def num_segments(self) -> int:
        """Number of segments, N."""
        return self.offset.shape[0] - 1

    @property
    def count(self) -> Tensor:
        """Rows of each segment, int64 [N]."""
        return self.offset.diff()

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


def _sum(values: Tensor, segments: Segments) -> Tensor:
    if values.shape[0] == 0:
        return values.new_zeros(segments.num_segments, values.shape[1])
    # The fastest segmented sum that torch has, on the CPU by an order of magnitude, and the same
    # bits whatever the number of threads: one bag is summed by one thread, in order.
    return F.embedding_bag(
        segments.order, values, segments.offset, mode="sum", include_last_offset=True
    )


class _Sum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, segments: Segments) -> Tensor:
        ctx.segments = segments
        return _sum(values, segments)

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
