"""How many particles of a split are used, and why others are not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

__all__ = ["StreamSummary"]

_REASONS: Final = {
    "classes": "cut: not of --classes",
    "min_voxels": "cut: fewer voxels than --min-voxels",
    "max_voxels": "cut: more voxels than --max-voxels",
    "voxel_budget": "cut: larger alone than --voxel-budget",
}


@dataclass(frozen=True, kw_only=True)
class StreamSummary:
    """How many particles of a split are used, over all processes.

    Parameters
    ----------
    split : str
        The split.
    total, kept : int
        Particles of the split, and those that the filters keep.
    counts : mapping of str to int
        Particles kept, by class.
    removed : mapping of str to int
        Particles removed by the filters, as `apply_filters` counts them.
    unbalanced : int
        Particles left out of the first epoch to balance the classes.
    remainder : int
        Particles left out of the first epoch because they do not fill a batch.
    over_budget : int
        Particles cut from the batches of the first epoch by the voxel budget.
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
