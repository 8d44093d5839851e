"""Which particles a batch holds: a plan made of counts and a few integers, nothing read.

Particles stand in blocks of consecutive ones in a shard, which are cheap to read together. An
epoch permutes the blocks of the whole split and cuts the row of particles so made into spans,
each a whole number of batches; within a span particles are permuted. So a span is read from
few blocks, a batch never needs two spans, and any batch is found without what came before it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

from clr_train.keys import fold_in, key, permutation
from clr_train.stream.filters import Layout

__all__ = ["EpochPlan", "balance", "keep_within", "plan_epoch"]

# Purposes of the keys that a plan draws, apart from one another.
_BLOCKS: Final = 1
_SPANS: Final = 2
_BALANCE: Final = 3


def balance(
    particles: NDArray[np.int64], label: NDArray[np.int64], *, seed: int, epoch: int
) -> NDArray[np.int64]:
    """Draw the same number of particles of each class: all of the rarest, part of the others.

    Drawn without replacement, so that no particle comes twice in an epoch, and anew for each
    epoch, so that in the long run all particles are seen.

    Parameters
    ----------
    particles : array, int64 [K]
        Indices in the split, ascending.
    label : array, int64 [P]
        Class of every particle of the split.
    seed, epoch : int
        What the draw depends on.

    Returns
    -------
    array, int64
        Indices in the split, ascending.
    """
    words = fold_in(key(seed, epoch, _BALANCE), torch.from_numpy(particles)).numpy()
    classes = [np.flatnonzero(label[particles] == c) for c in np.unique(label[particles])]
    count = min(len(members) for members in classes)
    chosen = [members[np.argsort(words[members], kind="stable")[:count]] for members in classes]
    return particles[np.sort(np.concatenate(chosen))]


@dataclass(frozen=True, kw_only=True)
class EpochPlan:
    """The batches of an epoch.

    B particles a batch before the voxel budget, W ranks.

    Parameters
    ----------
    order : array, int64 [batches, W, B / W]
        Particles of each batch, a row a rank.
    keep : array, bool [batches, W, B / W]
        False where the voxel budget cuts a particle; as many true on every rank.
    bounds : array, int64 [spans + 1]
        First batch of each span, and the number of batches.
    left_out : int
        Particles that balancing leaves out of this epoch.
    remainder : int
        Particles that fill no batch.
    """

    order: NDArray[np.int64]
    keep: NDArray[np.bool_]
    bounds: NDArray[np.int64]
    left_out: int
    remainder: int

    def particles(self, first: int, last: int, *, rank: int) -> NDArray[np.int64]:
        """Give what a rank sees in the batches `first` to `last`, end excluded, in order."""
        part: NDArray[np.int64] = self.order[first:last, rank][self.keep[first:last, rank]]
        return part

    def sizes(self) -> NDArray[np.int64]:
        """Count the particles of each batch on a rank, int64 [batches]."""
        sizes: NDArray[np.int64] = self.keep[:, 0].sum(axis=1, dtype=np.int64)
        return sizes

    def num_cut(self) -> int:
        """Count the particles that the voxel budget cuts in this epoch, on all ranks."""
        return int(np.count_nonzero(~self.keep))


def plan_epoch(
    layout: Layout,
    particles: NDArray[np.int64],
    *,
    seed: int,
    epoch: int,
    batch_size: int,
    span_batches: int,
    world_size: int = 1,
    balanced: bool = False,
    voxel_budget: int | None = None,
) -> EpochPlan:
    """Plan an epoch.

    Parameters
    ----------
    layout : Layout
        The split.
    particles : array, int64 [K]
        Those to see, ascending.
    seed, epoch : int
        What the order depends on, besides.
    batch_size : int
        Particles of a batch over all ranks; a multiple of `world_size`.
    span_batches : int
        Batches of a span, at the most; spans of an epoch differ by one batch at the most.
    world_size : int
        Ranks that share each batch; which batches there are does not depend on it.
    balanced : bool
        Whether to `balance` the classes.
    voxel_budget : int, optional
        Most voxels of a batch on a rank; no particle alone may exceed it.
    """
    chosen = balance(particles, layout.label, seed=seed, epoch=epoch) if balanced else particles
    starts = layout.block_starts()
    place = np.empty(len(starts) - 1, np.int64)
    place[permutation(len(place), key(seed, epoch, _BLOCKS))] = np.arange(len(place))
    block = np.searchsorted(starts, chosen, side="right") - 1
    row = chosen[np.argsort(place[block], kind="stable")]

    num_batches = len(row) // batch_size
    row = row[: num_batches * batch_size]
    num_spans = -(-num_batches // span_batches)
    # Even, for the rest in a span of its own would be one batch of few blocks, hardly mixed.
    bounds = np.arange(num_spans + 1) * num_batches // max(1, num_spans)
    span = np.repeat(np.arange(num_spans), np.diff(bounds) * batch_size)
    words = fold_in(key(seed, epoch, _SPANS), torch.from_numpy(row)).numpy()
    order = row[np.lexsort((words, span))]
    order = order.reshape(num_batches, world_size, batch_size // world_size)
    return EpochPlan(
        order=order,
        bounds=bounds,
        keep=keep_within(layout.num_voxels[order], budget=voxel_budget),
        left_out=len(particles) - len(chosen),
        remainder=len(chosen) - order.size,
    )


def keep_within(size: NDArray[np.int64], *, budget: int | None) -> NDArray[np.bool_]:
    """Cut the largest particles of batches that hold too many voxels, as few as need be.

    Every rank cuts as many as the rank that must cut most, so that all keep the same number, as
    a loss over the particles of all ranks requires.

    Parameters
    ----------
    size : array, int64 [batches, W, n]
        Voxels of each particle.
    budget : int or None
        Most voxels of a batch on a rank.

    Returns
    -------
    array, bool [batches, W, n]
        True for those to keep.
    """
    keep = np.ones(size.shape, bool)
    if budget is None or size.size == 0:
        return keep
    by_size = np.argsort(-size, axis=-1, kind="stable")
    descending = np.take_along_axis(size, by_size, axis=-1)
    # What is left when the d largest are cut, for d = 0 .. n - 1.
    left = np.cumsum(descending[..., ::-1], axis=-1)[..., ::-1]
    num_cut = np.count_nonzero(left > budget, axis=-1).max(axis=1)
    kept_by_size: NDArray[Any] = np.arange(size.shape[-1]) >= num_cut[:, None, None]
    np.put_along_axis(keep, by_size, np.broadcast_to(kept_by_size, size.shape), axis=-1)
    return keep
