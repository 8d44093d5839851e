"""The batches of an epoch, planned from sizes, labels and a seed; nothing is read.

A block is a number of consecutive particles of a shard, which are cheap to read together. An epoch
permutes the blocks of the whole split, and cuts the sequence of particles into spans of a whole
number of batches; within a span the particles are permuted. So a span is read from few blocks, each
batch lies in one span, and any batch can be made without those before it.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

from clr_train.keys import fold_in, key, permutation
from clr_train.stream.config import StreamConfig
from clr_train.stream.layout import Layout
from pilarnet_convert.ragged import offsets_of

__all__ = ["EpochPlan", "balance", "fill_batches", "keep_within", "plan_epoch"]

# Each use of random keys has its own number.
_BLOCKS: Final = 1
_SPANS: Final = 2
_BALANCE: Final = 3


def balance(
    particles: NDArray[np.int64], label: NDArray[np.int64], *, seed: int, epoch: int
) -> NDArray[np.int64]:
    """Draw the same number of particles of each class without replacement, anew for each epoch.

    All particles of the rarest class are used. `particles` and the result, int64, are indices in
    the split, ascending; `label`, int64 [P], has the class of every particle of the split.
    """
    words = fold_in(key(seed, epoch, _BALANCE), torch.from_numpy(particles)).numpy()
    classes = [np.flatnonzero(label[particles] == c) for c in np.unique(label[particles])]
    count = min(len(members) for members in classes)
    drawn = [members[np.argsort(words[members], kind="stable")[:count]] for members in classes]
    return particles[np.sort(np.concatenate(drawn))]


@dataclass(frozen=True, kw_only=True)
class EpochPlan:
    """The batches of an epoch: B particles each, before the voxel budget cuts any, over W ranks.

    Parameters
    ----------
    order : array, int64 [batches, W, B / W]
        Particles of each batch and rank.
    keep : array, bool [batches, W, B / W]
        False for a particle that the voxel budget cuts; every rank keeps the same number.
    span_start : array, int64 [spans + 1]
        First batch of each span; ends with the number of batches.
    unbalanced, remainder : int
        Particles left out to balance the classes, and because they do not fill a batch.
    """

    order: NDArray[np.int64]
    keep: NDArray[np.bool_]
    span_start: NDArray[np.int64]
    unbalanced: int
    remainder: int

    def spans(self, start_batch: int = 0) -> list[tuple[int, int]]:
        """List the first and last batch, end excluded, of the spans from `start_batch` on."""
        return [
            (max(first, start_batch), last)
            for first, last in pairwise(self.span_start.tolist())
            if last > start_batch
        ]

    def particles(self, first: int, last: int, *, rank: int) -> NDArray[np.int64]:
        """List the particles of a rank in batches `first` to `last`, end excluded: int64 [n]."""
        part: NDArray[np.int64] = self.order[first:last, rank][self.keep[first:last, rank]]
        return part

    def sizes(self, first: int, last: int) -> list[int]:
        """Count the particles of a rank in each of the batches `first` to `last`, end excluded."""
        sizes: list[int] = self.keep[first:last, 0].sum(axis=1).tolist()
        return sizes


def plan_epoch(
    layout: Layout,
    particles: NDArray[np.int64],
    *,
    config: StreamConfig,
    epoch: int,
    span_batches: int,
    world_size: int = 1,
) -> EpochPlan:
    """Plan an epoch.

    Parameters
    ----------
    layout : Layout
        The split.
    particles : array, int64 [K]
        Particles that the filters keep, ascending.
    config : StreamConfig
        Batch size, a multiple of `world_size`; seed; balance; voxel budget.
    span_batches : int
        The most batches of a span; the spans of an epoch differ by at most one batch.
    world_size : int
        Ranks that share each batch; the joined batches do not depend on it.
    """
    seed, batch_size = config.seed, config.batch_size
    drawn = particles
    if config.balanced:
        drawn = balance(particles, layout.label, seed=seed, epoch=epoch)
    place = np.empty(len(layout.block_start) - 1, np.int64)
    place[permutation(len(place), key(seed, epoch, _BLOCKS))] = np.arange(len(place))
    sequence = drawn[np.argsort(place[layout.block_of(drawn)], kind="stable")]

    num_batches = len(sequence) // batch_size
    sequence = sequence[: num_batches * batch_size]
    # Spans of equal length: a short one at the end would mix few blocks.
    num_spans = -(-num_batches // span_batches)
    span_start = np.arange(num_spans + 1) * num_batches // max(1, num_spans)
    span = np.repeat(np.arange(num_spans), np.diff(span_start) * batch_size)
    words = fold_in(key(seed, epoch, _SPANS), torch.from_numpy(sequence)).numpy()
    order = sequence[np.lexsort((words, span))]
    order = order.reshape(num_batches, world_size, batch_size // world_size)
    return EpochPlan(
        order=order,
        keep=keep_within(layout.num_voxels[order], budget=config.voxel_budget),
        span_start=span_start,
        unbalanced=len(particles) - len(drawn),
        remainder=len(drawn) - order.size,
    )


def keep_within(size: NDArray[np.int64], *, budget: int | None) -> NDArray[np.bool_]:
    """Cut the largest particles of batches that have too many voxels, as few as possible.

    `size`, int64 [batches, W, n], holds the voxels of each particle, and `budget` is the most of a
    batch on a rank. The result, bool of the same shape, is True for the particles to keep. Every
    rank cuts as many as the rank that must cut most: the loss over the particles of all ranks
    needs the same number from each.
    """
    keep = np.ones(size.shape, bool)
    if budget is None or size.size == 0:
        return keep
    by_size = np.argsort(-size, axis=-1, kind="stable")
    descending = np.take_along_axis(size, by_size, axis=-1)
    # Voxels left when the d largest are cut, for d = 0 .. n - 1.
    left = np.cumsum(descending[..., ::-1], axis=-1)[..., ::-1]
    num_cut = np.count_nonzero(left > budget, axis=-1).max(axis=1)
    kept_by_size: NDArray[Any] = np.arange(size.shape[-1]) >= num_cut[:, None, None]
    np.put_along_axis(keep, by_size, np.broadcast_to(kept_by_size, size.shape), axis=-1)
    return keep


def fill_batches(
    num_voxels: NDArray[np.int64], batch_size: int, *, budget: int | None
) -> list[int]:
    """Cut a sequence of particles into batches that are as full as possible; return their sizes.

    A batch has at most `batch_size` particles and `budget` voxels. `num_voxels`, int64 [P], are
    those of the particles, each at most `budget`.
    """
    voxel_end = offsets_of(num_voxels)
    sizes, start = [], 0
    while start < len(num_voxels):
        end = min(start + batch_size, len(num_voxels))
        if budget is not None:
            fitting = np.searchsorted(voxel_end, voxel_end[start] + budget, side="right")
            end = min(end, int(fitting) - 1)
        sizes.append(end - start)
        start = end
    return sizes
