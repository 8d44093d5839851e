"""Which particles of a split are seen, and what is said of the others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

__all__ = ["Layout", "Selection", "StreamReport", "select"]


@dataclass(frozen=True, kw_only=True)
class Layout:
    """The particles of a split, in the order of the shards.

    Parameters
    ----------
    num_voxels : array, int64 [P]
        Voxels of each particle.
    label : array, int64 [P]
        Class of each particle.
    shard_start : array, int64 [S + 1]
        First particle of each shard; ends at P.
    block_particles : int
        Particles of a block; the last of a shard may have fewer.
    """

    num_voxels: NDArray[np.int64]
    label: NDArray[np.int64]
    shard_start: NDArray[np.int64]
    block_particles: int

    def block_starts(self) -> NDArray[np.int64]:
        """Give the first particle of each block, and P at the end, int64 [blocks + 1]."""
        bounds = zip(self.shard_start[:-1], self.shard_start[1:], strict=True)
        starts = [np.arange(a, b, self.block_particles) for a, b in bounds]
        return np.concatenate([*starts, self.shard_start[-1:]]).astype(np.int64)


@dataclass(frozen=True, kw_only=True)
class Selection:
    """The particles of a split that pass the filters.

    Parameters
    ----------
    particles : array, int64 [K]
        Their indices in the split, ascending.
    cut : mapping of str to int
        Why others are left out, and how many, each counted under the first reason that applies.
    """

    particles: NDArray[np.int64]
    cut: Mapping[str, int]


def select(
    layout: Layout,
    *,
    labels: Sequence[int],
    min_voxels: int,
    max_voxels: int | None = None,
    voxel_budget: int | None = None,
) -> Selection:
    """Choose particles by class and size.

    Parameters
    ----------
    layout : Layout
        The split.
    labels : sequence of int
        Classes to keep.
    min_voxels, max_voxels : int
        Smallest and largest size to keep; None sets no limit.
    voxel_budget : int, optional
        Most voxels of a batch: a particle that exceeds it alone is in none.
    """
    size = layout.num_voxels
    left_out = {
        "classes": ~np.isin(layout.label, list(labels)),
        "min_voxels": size < min_voxels,
        "max_voxels": size > (size.max() if max_voxels is None else max_voxels),
        "voxel_budget": size > (size.max() if voxel_budget is None else voxel_budget),
    }
    kept = np.ones(len(layout.label), bool)
    cut = {}
    for reason, out in left_out.items():
        cut[reason] = int(np.count_nonzero(kept & out))
        kept &= ~out
    return Selection(particles=np.flatnonzero(kept), cut=cut)


@dataclass(frozen=True, kw_only=True)
class StreamReport:
    """What of a split is seen, and what is not.

    Every particle of the split is kept or cut, under the first reason that applies; of those
    kept, an epoch leaves out some, others in each. Counts are of particles, over all ranks.

    Parameters
    ----------
    split : str
        The split.
    total, kept : int
        In the split, and after the filters.
    counts : mapping of str to int
        Kept, by class.
    cut : mapping of str to int
        Cut by the filters, by reason, as in `Selection`.
    unbalanced : int
        Left out of the epoch to balance the classes.
    remainder : int
        Left out of the epoch as they fill no batch.
    over_budget : int
        Cut from the batches of the epoch by the voxel budget.
    """

    split: str
    total: int
    kept: int
    counts: Mapping[str, int]
    cut: Mapping[str, int]
    unbalanced: int
    remainder: int
    over_budget: int

    def lines(self) -> list[str]:
        """Say it, a line for each thing that there is to say."""
        kept = ", ".join(f"{name} {n}" for name, n in self.counts.items() if n) or "none"
        said = [f"{self.split}: {self.kept} of {self.total} particles ({kept})"]
        left_out = [(n, _REASONS[reason]) for reason, n in self.cut.items()]
        left_out += [
            (self.unbalanced, "left out of an epoch to balance the classes"),
            (self.remainder, "left out of an epoch, as they fill no batch"),
            (self.over_budget, "cut from the batches of an epoch by --voxel-budget"),
        ]
        return said + [f"{self.split}: {n} {why}" for n, why in left_out if n]


_REASONS: Final = {
    "classes": "cut: not of --classes",
    "min_voxels": "cut: fewer voxels than --min-voxels",
    "max_voxels": "cut: more voxels than --max-voxels",
    "voxel_budget": "cut: larger alone than --voxel-budget",
}
