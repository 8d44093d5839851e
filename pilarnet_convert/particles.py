"""From the columns of events to single-particle clouds: which are kept, in which split."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pilarnet_convert.ragged import offsets_of
from pilarnet_convert.readers.events import EventColumns
from pilarnet_convert.shards.format import REJECTIONS, SPLITS
from pilarnet_convert.species import CLASSES, OTHER, label_of_pdg

__all__ = ["Selection", "Tally", "particle_clouds", "split_of_event"]


@dataclass(frozen=True, kw_only=True)
class Selection:
    """Which clusters become particles of the shards.

    Attributes
    ----------
    min_voxels : int
        The least number of voxels of a cloud; 10 in the original study.
    primaries_only : bool
        Keep only particles that are their own parent track, as dlp_opendata_api defines them.
    splits : mapping of str to float
        The fraction of the events that goes to each split; they add up to 1.
    """

    min_voxels: int = 10
    primaries_only: bool = False
    splits: Mapping[str, float] = field(
        default_factory=lambda: {"train": 0.8, "val": 0.1, "test": 0.1}
    )


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


def split_of_event(
    source_name: str, columns: EventColumns, splits: Mapping[str, float]
) -> NDArray[np.uint8]:
    """Assign events to splits by a hash of what they are called.

    Parameters
    ----------
    source_name : str
        The name of the source.
    columns : EventColumns
        E events.
    splits : mapping of str to float
        Fractions that add up to 1.

    Returns
    -------
    uint8 array [E]
        Indices into `SPLITS`; the same for an event wherever and whenever it is converted.
    """
    bounds = np.cumsum([splits.get(split, 0.0) for split in SPLITS])[:-1]
    keys = zip(columns.run.tolist(), columns.subrun.tolist(), columns.event.tolist(), strict=True)
    digests = b"".join(
        hashlib.blake2b(f"{source_name}:{run}:{subrun}:{event}".encode(), digest_size=8).digest()
        for run, subrun, event in keys
    )
    uniform = np.frombuffer(digests, "<u8") / 2.0**64
    return np.searchsorted(bounds, uniform, "right").astype(np.uint8)


def particle_clouds(
    columns: EventColumns, *, source_name: str, source: int, selection: Selection
) -> tuple[dict[str, NDArray[Any]], NDArray[np.int64], Tally]:
    """Split events into the clouds of single particles.

    Parameters
    ----------
    columns : EventColumns
        Checked events.
    source_name : str
        The name of the source, which decides on the split together with the event's numbers.
    source : int
        The index of the source.
    selection : Selection
        What to keep.

    Returns
    -------
    clouds : dict of str to array
        The arrays of the shard format, the particles of ``train`` first, then ``val``, ``test``;
        within a split in the order of the file. ``process`` indexes ``columns.process_names``.
    split_bounds : int64 array [4]
        Where each split begins among the particles, and the end.
    tally : Tally
        What became of every cluster.
    """
    event = np.repeat(np.arange(columns.num_events), np.diff(columns.cluster_offset))
    cluster = np.arange(columns.num_clusters) - columns.cluster_offset[event]
    has_particle = cluster < np.diff(columns.particle_offset)[event]
    particle = np.where(has_particle, columns.particle_offset[event] + cluster, -1)
    num_voxels = np.diff(columns.voxel_offset)
    label = np.full(len(event), OTHER, np.int8)
    label[has_particle] = label_of_pdg(columns.pdg[particle[has_particle]])

    reason = _reasons(columns, particle, label, num_voxels, selection)
    split = split_of_event(source_name, columns, selection.splits)[event]
    kept = np.flatnonzero(reason == _KEPT)
    kept = kept[np.argsort(split[kept], kind="stable")]
    tally = _tally(columns, reason, split, label, particle)

    owner, number = particle[kept], event[kept]
    clouds = {
        **_voxels(columns, kept, number, num_voxels),
        "label": label[kept],
        "pdg": columns.pdg[owner],
        "process": columns.process[owner],
        "energy_init": columns.energy_init[owner],
        "energy_deposit": columns.energy_deposit[owner],
        "momentum": columns.momentum[owner],
        "start": columns.start[owner],
        "end": columns.end[owner],
        "origin": columns.origin[number].astype(np.float32),
        "track_id": columns.track_id[owner],
        "parent_track_id": columns.parent_track_id[owner],
        "run": columns.run[number],
        "subrun": columns.subrun[number],
        "event": columns.event[number],
        "source": np.full(len(kept), source, np.int32),
        "entry": (columns.first_entry + number).astype(np.int32),
        "cluster": cluster[kept].astype(np.int32),
    }
    split_bounds = np.searchsorted(split[kept], np.arange(len(SPLITS) + 1))
    return clouds, split_bounds, tally


_KEPT = -1
_REASONS = tuple(REJECTIONS)


def _reasons(
    columns: EventColumns,
    particle: NDArray[np.int64],
    label: NDArray[np.int8],
    num_voxels: NDArray[np.int64],
    selection: Selection,
) -> NDArray[np.int64]:
    """Give each cluster the index of the first reason against it, or -1."""
    secondary = columns.track_id != columns.parent_track_id
    against = {
        "no_particle": particle < 0,
        "other_species": label == OTHER,
        "not_primary": np.append(secondary, False)[particle] & selection.primaries_only,
        "below_min_voxels": num_voxels < selection.min_voxels,
    }
    return np.select(
        [against[reason] for reason in _REASONS], list(range(len(_REASONS))), default=_KEPT
    )


def _tally(
    columns: EventColumns,
    reason: NDArray[np.int64],
    split: NDArray[np.uint8],
    label: NDArray[np.int8],
    particle: NDArray[np.int64],
) -> Tally:
    written = np.zeros((len(SPLITS), len(CLASSES)), np.int64)
    kept = reason == _KEPT
    np.add.at(written, (split[kept], label[kept]), 1)
    rejected = np.bincount(reason[~kept], minlength=len(_REASONS))
    other = columns.pdg[particle[reason == _REASONS.index("other_species")]]
    codes, counts = np.unique(other, return_counts=True)
    cubes = np.unique(np.hstack([columns.grid, columns.voxel_size]), axis=0)
    return Tally(
        events=columns.num_events,
        seen=columns.num_clusters,
        written=Counter(
            {
                (SPLITS[s], CLASSES[c].name): int(written[s, c])
                for s, c in zip(*written.nonzero(), strict=True)
            }
        ),
        rejected=Counter({_REASONS[r]: int(n) for r, n in enumerate(rejected) if n}),
        other_pdg=Counter(dict(zip(codes.tolist(), counts.tolist(), strict=True))),
        cubes={tuple(cube) for cube in cubes.tolist()},
    )


def _voxels(
    columns: EventColumns,
    kept: NDArray[np.int64],
    event: NDArray[np.int64],
    num_voxels: NDArray[np.int64],
) -> dict[str, NDArray[Any]]:
    """Gather the voxels of the kept clusters and turn their ids into indices."""
    counts = num_voxels[kept]
    offset = offsets_of(counts)
    take = np.repeat(columns.voxel_offset[kept] - offset[:-1], counts) + np.arange(offset[-1])
    # Below 2**32, which the largest cube of PILArNet is, division takes half the time.
    small = columns.grid.prod(axis=1).max(initial=0) < 2**32
    voxel_id = columns.voxel_id.astype(np.uint32 if small else np.uint64)[take]
    nx, ny = (
        _scalar_if_same(columns.grid[:, axis].astype(voxel_id.dtype), event, counts)
        for axis in (0, 1)
    )
    row = voxel_id // nx
    z = row // ny
    return {
        "x": (voxel_id - row * nx).astype(np.uint16),
        "y": (row - z * ny).astype(np.uint16),
        "z": z.astype(np.uint16),
        "energy": columns.energy[take],
        "offset": offset,
    }


def _scalar_if_same(
    values: NDArray[np.unsignedinteger], event: NDArray[np.int64], counts: NDArray[np.int64]
) -> Any:
    """Give a value of each event to its voxels, as a scalar where all events agree."""
    if len(np.unique(values)) == 1:
        return values[0]
    return np.repeat(values[event], counts)
