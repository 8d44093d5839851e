"""What a reading process does: plan an epoch, read a span of its batches.

A span is sent as one ragged batch: its few tensors cost few of the file descriptors through which
processes share memory.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Dataset

from clr_train.batch import ParticleBatch
from clr_train.stream.reader import SplitReader
from clr_train.stream.sampling import EpochPlan, plan_epoch
from pilarnet_convert.errors import PilarnetError

__all__ = ["Request", "SpanOptions", "Spans", "fill"]


@dataclass(frozen=True, kw_only=True)
class Request:
    """Batches `first` to `last`, end excluded, of an epoch."""

    epoch: int
    first: int
    last: int


@dataclass(frozen=True, kw_only=True)
class SpanOptions:
    """What a plan is made with, besides the epoch; the names are those of `plan_epoch`."""

    seed: int
    batch_size: int
    span_batches: int
    world_size: int
    balanced: bool
    voxel_budget: int | None


class Spans(Dataset[ParticleBatch | PilarnetError]):
    """What one rank sees of any batches of any epoch, as one ragged batch.

    Parameters
    ----------
    reader : SplitReader
        The split.
    particles : array, int64 [K]
        Those that pass the filters, ascending.
    options : SpanOptions
        How epochs are planned.
    rank : int
        Whose part of each batch to read.
    """

    def __init__(
        self,
        reader: SplitReader,
        particles: NDArray[np.int64],
        *,
        options: SpanOptions,
        rank: int,
    ) -> None:
        self.reader = reader
        self.particles = particles
        self.options = options
        self.rank = rank
        self._plan: tuple[int, EpochPlan] | None = None

    def plan(self, epoch: int) -> EpochPlan:
        """Plan an epoch; the last one is remembered."""
        if self._plan is None or self._plan[0] != epoch:
            plan = plan_epoch(self.reader.layout, self.particles, epoch=epoch, **vars(self.options))
            self._plan = epoch, plan
        return self._plan[1]

    def requests(self, epoch: int, start_batch: int) -> list[Request]:
        """List what to ask for to have the batches of an epoch from `start_batch` on."""
        return [
            Request(epoch=epoch, first=max(first, start_batch), last=last)
            for first, last in pairwise(self.plan(epoch).bounds.tolist())
            if last > start_batch
        ]

    def __getitem__(self, request: Request) -> ParticleBatch | PilarnetError:
        particles = self.plan(request.epoch).particles(request.first, request.last, rank=self.rank)
        try:
            return self.reader.read(particles)
        except PilarnetError as error:
            # Returned, not raised: a DataLoader would wrap it in the traceback of the worker.
            return error


def fill(
    num_voxels: NDArray[np.int64], batch_size: int, *, budget: int | None
) -> NDArray[np.int64]:
    """Cut a row of particles into batches as full as may be, int64 [batches] particles of each."""
    total = np.concatenate([[0], np.cumsum(num_voxels)])
    ends = [0]
    while ends[-1] < len(num_voxels):
        end = ends[-1] + batch_size
        if budget is not None:
            fits = int(np.searchsorted(total, total[ends[-1]] + budget, side="right")) - 1
            end = min(end, fits)
        ends.append(min(end, len(num_voxels)))
    return np.diff(ends)
