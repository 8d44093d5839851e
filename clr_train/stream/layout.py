"""The particles of a split as numbers: size, label, shard and block of each."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

__all__ = ["Layout"]


@dataclass(frozen=True, kw_only=True)
class Layout:
    """The P particles of a split, in the order of the shards.

    Parameters
    ----------
    num_voxels : array, int64 [P]
    label : array, int64 [P]
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
        """Find the block of each particle."""
        return np.searchsorted(self.block_start, particles, side="right") - 1
