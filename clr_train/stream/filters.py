"""Which particles of a split a stream keeps, and how many it leaves out and why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from clr_train.stream.config import StreamConfig
from clr_train.stream.layout import Layout

__all__ = ["StreamSummary", "apply_filters"]

_REASONS: Final = {
    "classes": "cut: not of --classes",
    "min_voxels": "cut: fewer voxels than --min-voxels",
    "max_voxels": "cut: more voxels than --max-voxels",
    "voxel_budget": "cut: larger alone than --voxel-budget",
}


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
    """How many particles of a split are used, over all processes.

    Parameters
    ----------
    split : str
    total, kept : int
        Particles of the split, and those that the filters keep.
    counts : mapping of str to int
        Particles kept, by class.
    removed : mapping of str to int
        As `apply_filters` counts them.
    unbalanced, remainder, over_budget : int
        Particles left out of the first epoch: to balance the classes, because they do not fill a
        batch, and because a batch has more voxels than the budget.
    """

    split: str
    total: int
    kept: int
    counts: Mapping[str, int]
    removed: Mapping[str, int]
    unbalanced: int
    remainder: int
    over_budget: int

    def lines(self) -> list[str]:
        """Describe the counts that are not zero, a line for each reason."""
        kept = ", ".join(f"{name} {n}" for name, n in self.counts.items() if n) or "none"
        reasons = [
            *((n, _REASONS[name]) for name, n in self.removed.items()),
            (self.unbalanced, "left out of an epoch to balance the classes"),
            (self.remainder, "left out of an epoch, as they fill no batch"),
            (self.over_budget, "cut from the batches of an epoch by --voxel-budget"),
        ]
        return [
            f"{self.split}: {self.kept} of {self.total} particles ({kept})",
            *(f"{self.split}: {n} {reason}" for n, reason in reasons if n),
        ]
