"""Which rows of a ragged tensor belong to which particle, and sums, means and extremes over them.

Legend: M rows (voxels or sites), N particles, C channels, R any number of quantities.

Values come in two layouts. Features of the network are [M, C], with gradients, and a particle may
own no row. Quantities of voxels, when views are made, are [M] or [R, M] (``dim=-1``), without
gradients, and every particle owns at least one row.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["Piece", "RaggedIndex", "list_rows", "offsets_of", "starts_run", "sum_groups"]


def offsets_of(counts: Tensor) -> Tensor:
    """Turn counts, int64 [N], into offsets that begin at 0, int64 [N + 1]."""
    return torch.cat([counts.new_zeros(1), counts.cumsum(0)])


def list_rows(first: Tensor, counts: Tensor) -> tuple[Tensor, Tensor]:
    """List the rows of n ranges, one range after the other.

    This is the torch form of `pilarnet_convert.ragged.gather_rows`, which gives offsets too.
    Range i has the rows ``first[i]`` to ``first[i] + counts[i]``, end excluded, both int64 [n].
    The results, int64 [counts.sum()], are the rows and, for each, the number of its range.
    """
    owner = torch.repeat_interleave(counts)
    rows = torch.arange(owner.shape[0], device=first.device)
    rows += (first - (counts.cumsum(0) - counts)).index_select(0, owner)
    return rows, owner


def starts_run(values: Tensor) -> Tensor:
    """Return where runs of equal values begin in sorted `values` [M], bool [M]."""
    starts = torch.ones_like(values, dtype=torch.bool)
    starts[1:] = values[1:] != values[:-1]
    return starts


class RaggedIndex:
    """Which of `num_rows` rows belong to which particle.

    Particle i owns the rows offset[i] to offset[i + 1], end excluded; `offset` is int64 [N + 1].
    The number of rows is given: this avoids a synchronisation with the GPU.
    """

    def __init__(self, offset: Tensor, *, num_rows: int) -> None:
        self.offset = offset
        self.num_rows = num_rows
        self.num_particles = offset.shape[0] - 1
        self.is_sorted = True
        self._pieces: dict[int, list[Piece]] = {}

    @classmethod
    def of_particles(
        cls, particle: Tensor, *, num_particles: int, is_sorted: bool = False
    ) -> RaggedIndex:
        """Group rows by the particle of each, int64 [M] of 0 .. `num_particles` - 1.

        Say `is_sorted` if `particle` is ascending: this saves a sort. If not, particle i owns the
        rows ``order[offset[i] : offset[i + 1]]``.
        """
        # Stable: a sum adds the rows of a particle in their order, whatever lies between them.
        ascending, order = (particle, None) if is_sorted else torch.sort(particle, stable=True)
        bounds = torch.arange(num_particles + 1, device=particle.device)
        index = cls(torch.searchsorted(ascending, bounds), num_rows=particle.shape[0])
        index.is_sorted, index.particle = is_sorted, particle
        if order is not None:
            index.order = order
        return index

    @cached_property
    def count(self) -> Tensor:
        """Rows of each particle, int64 [N]."""
        return self.offset.diff()

    @cached_property
    def particle(self) -> Tensor:
        """Particle of each row, int64 [M]."""
        return torch.repeat_interleave(self.count, output_size=self.num_rows)

    @cached_property
    def order(self) -> Tensor:
        """The rows, those of particle 0 first, int64 [M]."""
        return torch.arange(self.num_rows, device=self.offset.device)

    @cached_property
    def local_index(self) -> Tensor:
        """Index of each row within its particle, from 0, int64 [M]; for sorted rows."""
        return self.order - self.broadcast(self.offset[:-1], dim=-1)

    def broadcast(self, values: Tensor, *, dim: Literal[0, -1] = 0) -> Tensor:
        """Repeat the value of each particle for its rows: float [N, C] to [M, C].

        With ``dim=-1``, of any dtype: [N] to [M] or [R, N] to [R, M].
        """
        if dim == 0:
            out: Tensor = _Broadcast.apply(values, self)  # type: ignore[no-untyped-call]
            return out
        if _on_cpu(values):
            # numpy repeats runs at a fraction of the cost of torch's index_select.
            return torch.from_numpy(np.repeat(values.numpy(), self.count.numpy(), axis=-1))
        return values.index_select(-1, self.particle)

    def sum(self, values: Tensor, *, dim: Literal[0, -1] = 0) -> Tensor:
        """Sum the rows of each particle: float [M, C] to [N, C], zeros if it has none.

        With ``dim=-1``, [M] to [N] or [R, M] to [R, N].
        """
        if dim == -1:
            return self._reduce(values, "sum")
        out: Tensor = _Sum.apply(values, self)  # type: ignore[no-untyped-call]
        return out

    def mean(self, values: Tensor, *, dim: Literal[0, -1] = 0) -> Tensor:
        """Average the rows of each particle: float [M, C] to [N, C], zeros if it has none.

        With ``dim=-1``, [M] to [N] or [R, M] to [R, N].
        """
        if dim == -1:
            return self._reduce(values, "sum") / self.count
        return self.sum(values) / self.count.clamp(min=1).to(values.dtype)[:, None]

    def max(self, values: Tensor, *, dim: Literal[0, -1] = 0) -> Tensor:
        """Take the largest value of each particle and channel: float [M, C] to [N, C].

        It is 0 for a particle without rows. The gradient goes to the first of the rows that attain
        it. With ``dim=-1``, [M] to [N] or [R, M] to [R, N].
        """
        if dim == -1:
            return self._reduce(values, "max")
        return _reduce_bags(self, values, mode="max")

    def min(self, values: Tensor) -> Tensor:
        """Take the smallest value of each particle along the last axis: [R, M] to [R, N]."""
        return self._reduce(values, "min")

    def _reduce(self, values: Tensor, how: Literal["sum", "min", "max"]) -> Tensor:
        """Reduce sorted rows, [M] to [N] or [R, M] to [R, N]."""
        if _on_cpu(values):
            ufunc = {"sum": np.add, "min": np.minimum, "max": np.maximum}[how]
            first = self.offset[:-1].numpy()
            return torch.from_numpy(ufunc.reduceat(values.numpy(), first, axis=-1))
        rows = values.view(-1, self.num_rows)
        # unsafe=True skips a check of the offsets, which are valid.
        reduced = [torch.segment_reduce(row, how, offsets=self.offset, unsafe=True) for row in rows]
        return torch.stack(reduced).view(*values.shape[:-1], -1)

    def pieces(self, num_rows: int) -> list[Piece]:
        """Cut the batch between particles into pieces of about `num_rows` rows.

        Rows that are not sorted make one piece, and so do those on a GPU: this avoids a
        synchronisation.
        """
        if num_rows not in self._pieces:
            self._pieces[num_rows] = self._cut(num_rows)
        return self._pieces[num_rows]

    def _cut(self, num_rows: int) -> list[Piece]:
        particles = [0, self.num_particles]
        if self.is_sorted and _on_cpu(self.offset):
            marks = torch.arange(num_rows, max(self.num_rows, num_rows), num_rows)
            cuts = torch.searchsorted(self.offset, marks, right=True).sub(1).tolist()
            particles = sorted({*particles, *cuts})
        if len(particles) <= 2:
            whole = slice(0, self.num_rows), slice(0, self.num_particles)
            return [Piece(rows=whole[0], particles=whole[1], index=self)]
        ends, rows = pairwise(particles), self.offset[particles].tolist()
        return [
            Piece(
                rows=slice(first, last),
                particles=slice(start, stop),
                index=RaggedIndex(self.offset[start : stop + 1] - first, num_rows=last - first),
            )
            for (start, stop), (first, last) in zip(ends, pairwise(rows), strict=True)
        ]


@dataclass(frozen=True, kw_only=True)
class Piece:
    """Some consecutive particles of a batch."""

    rows: slice
    particles: slice
    index: RaggedIndex
    """Index of these rows and particles, counted from the first."""


def sum_groups(
    values: Tensor, group: Tensor, *, num_groups: int, is_sorted: bool = False
) -> Tensor:
    """Sum the rows of each group in their order, so that the bits are the same each time.

    Parameters
    ----------
    values : Tensor, [M] or [M, C]
        Without a gradient.
    group : Tensor, int64 [M]
        The group of each row, 0 .. `num_groups` - 1.
    num_groups : int
        Rows of the result; zeros for a group without rows.
    is_sorted : bool
        Whether `group` is ascending, which saves a sort.
    """
    if _on_cpu(values):
        return values.new_zeros(num_groups, *values.shape[1:]).index_add_(0, group, values)
    # On a GPU index_add adds in arbitrary order.
    index = RaggedIndex.of_particles(group, num_particles=num_groups, is_sorted=is_sorted)
    return index.sum(values.view(len(values), -1)).view(num_groups, *values.shape[1:])


def _on_cpu(values: Tensor) -> bool:
    """Whether to compute as is fastest on the CPU, often with numpy; the bits are the same."""
    return values.device.type == "cpu"


def _reduce_bags(index: RaggedIndex, values: Tensor, *, mode: Literal["sum", "max"]) -> Tensor:
    if values.shape[0] == 0:
        return values.new_zeros(index.num_particles, values.shape[1])
    # On the CPU ten times as fast as other operations, and the same bits for any number of
    # threads: one thread reduces the rows of a particle, in order.
    return F.embedding_bag(index.order, values, index.offset, mode=mode, include_last_offset=True)


class _Sum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, index: RaggedIndex) -> Tensor:
        ctx.index = index
        return _reduce_bags(index, values, mode="sum")

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return ctx.index.broadcast(grad), None


class _Broadcast(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, index: RaggedIndex) -> Tensor:
        ctx.index = index
        return values.index_select(0, index.particle)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return ctx.index.sum(grad.contiguous()), None
