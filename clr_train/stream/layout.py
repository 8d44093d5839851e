"""The particles of a split as numbers; which of them a stream keeps, and why not the others."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
from numpy.typing import NDArray

from clr_train.stream.config import StreamConfig
from pilarnet_convert.ragged import row_of

__all__ = ["Layout", "StreamSummary", "apply_filters"]

_REASONS: Final = {
    "classes": "cut: not of --classes",
    "min_voxels": "cut: fewer voxels than --min-voxels",
    "max_voxels": "cut: more voxels than --max-voxels",
    "voxel_budget": "cut: larger alone than --voxel-budget",
}


@dataclass(frozen=True, kw_only=True)
class Layout:
    """The P particles of a split, in the order of the shards.

    Parameters
    ----------
    num_voxels, label : array, int64 [P]
        Voxels and class of each particle.
    shard_start : array, int64 [S + 1]
        First particle of each shard; ends with P.
    block_particles : int
        Consecutive particles of a shard that are read together; the last block of a shard may
        have fewer.
    """

    num_voxels: NDArray[np.int64]
    label: NDArray[np.int64]
    shard_start: NDArray[np.int64]
    block_particles: int

    @cached_property
    def block_start(self) -> NDArray[np.int64]:
        """First particle of each block, int64 [blocks + 1]; ends with P."""
        bounds = zip(self.shard_start[:-1], self.shard_start[1:], strict=True)
        starts = [np.arange(a, b, self.block_particles) for a, b in bounds]
        return np.concatenate([*starts, self.shard_start[-1:]]).astype(np.int64)

    def block_of(self, particles: NDArray[np.int64]) -> NDArray[np.int64]:
        """Find the block of each particle, int64 [n], from indices in the split, int64 [n]."""
        return row_of(self.block_start, particles)


def apply_filters(
    layout: Layout, *, config: StreamConfig
) -> tuple[NDArray[np.int64], dict[str, int]]:
    """Keep particles by class and size; one that alone exceeds the voxel budget is not kept.

    Returns
    -------
    kept : array, int64 [K]
        Indices in the split, ascending.
    removed : dict of str to int
        The number of particles that each option removed, each counted for the first that applies.
    """
    size = layout.num_voxels
    removes = {
        "classes": ~np.isin(layout.label, config.labels),
        "min_voxels": size < config.min_voxels,
        "max_voxels": size > (config.max_voxels or np.inf),
        "voxel_budget": size > (config.voxel_budget or np.inf),
    }
    kept = np.ones(len(size), bool)
    removed = {}
    for name, remove in removes.items():
        removed[name] = int(np.count_nonzero(kept & remove))
        kept &= ~remove
    return np.flatnonzero(kept), removed


@dataclass(frozen=True, kw_only=True)
class StreamSummary:
    """How many particles of a split are used, over all processes."""

    split: str
    total: int
    kept: int
    counts: Mapping[str, int]  # of those kept, by class
    removed: Mapping[str, int]  # as `apply_filters` counts them
    unbalanced: int  # left out of the first epoch to balance the classes
    remainder: int  # left out of the first epoch because they do not fill a batch
    over_budget: int  # cut from the batches of the first epoch by the voxel budget

    def lines(self) -> list[str]:
        """Describe the counts that are not zero, a line for each reason."""
        used = f"{self.kept:,}" + (f" of {self.total:,}" if self.kept < self.total else "")
        kept = ", ".join(f"{name} {n:,}" for name, n in self.counts.items() if n) or "none"
        reasons = [
            *((n, _REASONS[name]) for name, n in self.removed.items()),
            (self.unbalanced, "left out of an epoch to balance the classes"),
            (self.remainder, "left out of an epoch, as they fill no batch"),
            (self.over_budget, "cut from the batches of an epoch by --voxel-budget"),
        ]
        return [
            f"{self.split}: {used} particles ({kept})",
            *(f"{self.split}: {n:,} {reason}" for n, reason in reasons if n),
        ]
