"""Counting what became of the clusters of some events."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pilarnet_convert.shards.format import REJECTIONS, SPLITS
from pilarnet_convert.species import CLASSES

__all__ = ["Tally"]


@dataclass(kw_only=True)
class Tally:
    """What became of the clusters of some events; tallies of ranges add up.

    Attributes
    ----------
    events, seen : int
        Events, and clusters in them.
    written : Counter of (split, class name)
        Particles kept.
    rejected : Counter of reason
        Clusters not kept; the reasons are those of `REJECTIONS`.
    other_pdg : Counter of PDG code
        The species behind ``other_species``.
    cubes : set of (nx, ny, nz, dx, dy, dz)
        Voxels a side and their edges in cm, as found.
    """

    events: int = 0
    seen: int = 0
    written: Counter[tuple[str, str]] = field(default_factory=Counter)
    rejected: Counter[str] = field(default_factory=Counter)
    other_pdg: Counter[int] = field(default_factory=Counter)
    cubes: set[tuple[float, ...]] = field(default_factory=set)

    def add(self, other: Tally) -> None:
        """Add the tally of other events."""
        self.events += other.events
        self.seen += other.seen
        self.written += other.written
        self.rejected += other.rejected
        self.other_pdg += other.other_pdg
        self.cubes |= other.cubes

    def to_json(self) -> dict[str, Any]:
        """Give the tally as a document, with every split, class and reason in a fixed order."""
        return {
            "events": self.events,
            "clusters_seen": self.seen,
            "particles_written": {
                split: {c.name: self.written[split, c.name] for c in CLASSES} for split in SPLITS
            },
            "clusters_rejected": {reason: self.rejected[reason] for reason in REJECTIONS},
            "other_species": {str(pdg): n for pdg, n in sorted(self.other_pdg.items())},
            "cubes": [list(cube) for cube in sorted(self.cubes)],
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Tally:
        """Read a tally back from its document."""
        written = document["particles_written"]
        return cls(
            events=document["events"],
            seen=document["clusters_seen"],
            written=Counter({(s, c): n for s, row in written.items() for c, n in row.items()}),
            rejected=Counter(document["clusters_rejected"]),
            other_pdg=Counter({int(pdg): n for pdg, n in document["other_species"].items()}),
            cubes={tuple(cube) for cube in document["cubes"]},
        )
