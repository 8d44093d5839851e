"""Counts of what became of the clusters of some events."""

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
    """What became of the clusters of some events; the tallies of several ranges can be added.

    Attributes
    ----------
    events, seen : int
        Events, and clusters in them.
    repeated_numbers : int
        Events with the same run, subrun and number as another event of their source.
    written : Counter of (split, class name)
        Particles kept.
    rejected : Counter of reason
        Clusters not kept; the reasons are those of `REJECTIONS`.
    other_pdg : Counter of PDG code
        The species behind ``other_species``.
    repeated_voxels : int
        Rows that repeat a voxel of a particle and were merged into its first row.
    below_mass : int
        Particles whose total energy is below their mass, which is impossible.
    first_below_mass : (source, entry) or None
        The first event with such a particle.
    cubes : set of (nx, ny, nz, dx, dy, dz)
        The numbers of voxels along x, y and z, and the edges of a voxel in cm, as found.
    """

    events: int = 0
    seen: int = 0
    repeated_numbers: int = 0
    written: Counter[tuple[str, str]] = field(default_factory=Counter)
    rejected: Counter[str] = field(default_factory=Counter)
    other_pdg: Counter[int] = field(default_factory=Counter)
    repeated_voxels: int = 0
    below_mass: int = 0
    first_below_mass: tuple[int, int] | None = None
    cubes: set[tuple[float, ...]] = field(default_factory=set)

    def add(self, other: Tally) -> None:
        """Add the tally of other events."""
        self.events += other.events
        self.seen += other.seen
        self.repeated_numbers += other.repeated_numbers
        self.written += other.written
        self.rejected += other.rejected
        self.other_pdg += other.other_pdg
        self.repeated_voxels += other.repeated_voxels
        self.below_mass += other.below_mass
        firsts = (self.first_below_mass, other.first_below_mass)
        self.first_below_mass = min(filter(None, firsts), default=None)
        self.cubes |= other.cubes

    def to_json(self) -> dict[str, Any]:
        """Return the tally as JSON values, with every split, class and reason in a fixed order."""
        return {
            "events": self.events,
            "clusters_seen": self.seen,
            "repeated_numbers": self.repeated_numbers,
            "particles_written": {
                split: {c.name: self.written[split, c.name] for c in CLASSES} for split in SPLITS
            },
            "clusters_rejected": {reason: self.rejected[reason] for reason in REJECTIONS},
            "other_species": {str(pdg): n for pdg, n in sorted(self.other_pdg.items())},
            "repeated_voxels": self.repeated_voxels,
            "below_mass": self.below_mass,
            "first_below_mass": self.first_below_mass and list(self.first_below_mass),
            "cubes": [list(cube) for cube in sorted(self.cubes)],
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Tally:
        """Read a tally back from its JSON values."""
        written, first = document["particles_written"], document["first_below_mass"]
        return cls(
            events=document["events"],
            seen=document["clusters_seen"],
            repeated_numbers=document["repeated_numbers"],
            written=Counter({(s, c): n for s, row in written.items() for c, n in row.items()}),
            rejected=Counter(document["clusters_rejected"]),
            other_pdg=Counter({int(pdg): n for pdg, n in document["other_species"].items()}),
            repeated_voxels=document["repeated_voxels"],
            below_mass=document["below_mass"],
            first_below_mass=None if first is None else (first[0], first[1]),
            cubes={tuple(cube) for cube in document["cubes"]},
        )
