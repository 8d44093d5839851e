"""From events to single particles: which clusters are kept, with what label, in which split."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from pilarnet_convert.errors import PilarnetError
from pilarnet_convert.ragged import gather_rows, join_offsets, row_of
from pilarnet_convert.readers.events import Events
from pilarnet_convert.readers.units import below_mass
from pilarnet_convert.shards.format import MOST_PROCESSES, REJECTIONS, SPLITS
from pilarnet_convert.species import CLASSES, OTHER, label_of_pdg
from pilarnet_convert.tally import Tally

__all__ = [
    "ParticleArrays",
    "Selection",
    "concatenate_particles",
    "split_of_event",
    "split_up",
]

_REASONS: Final = tuple(REJECTIONS)
_KEPT: Final = -1


@dataclass(frozen=True, kw_only=True)
class Selection:
    """Which clusters become particles of the shards.

    Attributes
    ----------
    min_voxels : int
        The minimum number of voxels of a particle; 10 in the original study.
    primaries_only : bool
        Keep only primary particles: as the file marks them, else those that name themselves as
        their parent track, as dlp_opendata_api defines them.
    splits : mapping of str to float
        The fraction of the events that goes to each split; they add up to 1.
    """

    min_voxels: int
    primaries_only: bool
    splits: Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class ParticleArrays:
    """Every array of a shard for some particles; ``process`` indexes `process_names`."""

    arrays: dict[str, NDArray[Any]]
    process_names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.arrays["label"])


def split_of_event(
    events: Events, *, identity: str, splits: Mapping[str, float], repeated: NDArray[np.bool_]
) -> NDArray[np.uint8]:
    """Assign events to splits, by a hash of their source's UUID and of their numbers.

    An event is in the same split wherever and whenever it is converted, under any file name. If
    several events of a source have the same numbers, as in a file in which they were never set,
    their entries are hashed too.

    Parameters
    ----------
    events : Events
        E events.
    identity : str
        The UUID of their source.
    splits : mapping of str to float
        Fractions that add up to 1.
    repeated : bool array [E]
        Whether another event of the source has the same numbers.

    Returns
    -------
    uint8 array [E]
        Indices into `SPLITS`.
    """
    bounds = np.cumsum([splits.get(split, 0.0) for split in SPLITS])
    bounds[bounds == bounds[-1]] = np.inf  # rounding gives nothing to a split of no fraction
    numbers = np.stack([events.run, events.subrun, events.event], axis=1)
    names = [f"{identity}:{run}:{subrun}:{event}" for run, subrun, event in numbers.tolist()]
    for i in np.flatnonzero(repeated):
        names[i] += f":{events.first_entry + i}"
    digests = b"".join(hashlib.blake2b(n.encode(), digest_size=8).digest() for n in names)
    uniform = np.frombuffer(digests, "<u8") / 2.0**64
    return np.searchsorted(bounds, uniform, "right").astype(np.uint8)


def split_up(
    events: Events,
    *,
    identity: str,
    source: int,
    selection: Selection,
    repeated: NDArray[np.bool_],
) -> tuple[dict[str, ParticleArrays], Tally]:
    """Split events up into single particles.

    Parameters
    ----------
    events : Events
        Checked events of one source.
    identity : str
        The UUID of the source, see `split_of_event`.
    source : int
        The index of the source.
    selection : Selection
        What to keep.
    repeated : bool array [E]
        Whether another event of the source has the same numbers.

    Returns
    -------
    particles : dict of str to ParticleArrays
        The particles of each split, in the order of the file.
    tally : Tally
        What became of every cluster.
    """
    event = np.repeat(np.arange(events.num_events), np.diff(events.cluster_offset))
    cluster = np.arange(events.num_clusters) - events.cluster_offset[event]
    has_particle = cluster < np.diff(events.particle_offset)[event]
    particle = np.where(has_particle, events.particle_offset[event] + cluster, -1)
    num_voxels = np.diff(events.voxel_offset)
    label = np.full(len(event), OTHER, np.int8)
    label[has_particle] = label_of_pdg(events.pdg[particle[has_particle]])
    reason = _reasons(events, particle, label, num_voxels, selection)
    split = split_of_event(events, identity=identity, splits=selection.splits, repeated=repeated)[
        event
    ]

    # Ids below 2**32, as in all cubes of PILArNet, are divided in half the time.
    small = events.grid.prod(axis=1).max(initial=0) < 2**32
    voxel_id: NDArray[Any] = events.voxel_id.astype(np.uint32 if small else np.uint64)
    particles = {}
    for number, name in enumerate(SPLITS):
        kept = np.flatnonzero((reason == _KEPT) & (split == number))
        owner, of_event = particle[kept], event[kept]
        arrays = {
            **_voxels(events, voxel_id, kept, of_event, num_voxels),
            "label": label[kept],
            **{field: getattr(events, field)[owner] for field in _OF_PARTICLE},
            **{field: getattr(events, field)[of_event] for field in _OF_EVENT},
            "origin": events.origin[of_event].astype(np.float32),
            "source": np.full(len(kept), source, np.int32),
            "entry": (events.first_entry + of_event).astype(np.int32),
            "cluster": cluster[kept].astype(np.int32),
        }
        particles[name] = ParticleArrays(arrays=arrays, process_names=events.process_names)
    tally = _tally(events, reason, split, label, particle, source)
    tally.repeated_numbers = int(np.count_nonzero(repeated))
    return particles, tally


_OF_PARTICLE: Final = (
    "pdg",
    "process",
    "energy_init",
    "energy_deposit",
    "momentum",
    "start",
    "end",
    "track_id",
    "parent_track_id",
)
_OF_EVENT: Final = ("run", "subrun", "event")


def concatenate_particles(parts: Sequence[ParticleArrays]) -> ParticleArrays:
    """Join particles, with the creation processes that occur, in order of first appearance."""
    codes: dict[str, int] = {}
    processes = []
    for part in parts:
        process = part.arrays["process"]
        used, first, local = np.unique(process, return_index=True, return_inverse=True)
        for code in used[np.argsort(first)]:
            codes.setdefault(part.process_names[code], len(codes))
        if len(codes) > MOST_PROCESSES:
            raise PilarnetError(
                "too many creation processes in one shard",
                expected=f"at most {MOST_PROCESSES} names",
                found=len(codes),
                advice="make smaller shards with --events-per-shard",
            )
        table = np.array([codes[part.process_names[code]] for code in used], np.uint16)
        processes.append(table[local])
    arrays = {
        name: np.concatenate([part.arrays[name] for part in parts]) if len(parts) > 1 else values
        for name, values in parts[0].arrays.items()
        if name not in ("offset", "process")
    }
    arrays["offset"] = join_offsets([part.arrays["offset"] for part in parts])
    arrays["process"] = np.concatenate(processes)
    return ParticleArrays(arrays=arrays, process_names=tuple(codes))


def _reasons(
    events: Events,
    particle: NDArray[np.int64],
    label: NDArray[np.int8],
    num_voxels: NDArray[np.int64],
    selection: Selection,
) -> NDArray[np.int64]:
    """Return the index of the first reason against each cluster, or -1."""
    primary = events.primary
    secondary = events.track_id != events.parent_track_id if primary is None else ~primary
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
    events: Events,
    reason: NDArray[np.int64],
    split: NDArray[np.uint8],
    label: NDArray[np.int8],
    particle: NDArray[np.int64],
    source: int,
) -> Tally:
    written = np.zeros((len(SPLITS), len(CLASSES)), np.int64)
    kept = reason == _KEPT
    np.add.at(written, (split[kept], label[kept]), 1)
    rejected = np.bincount(reason[~kept], minlength=len(_REASONS))
    other = events.pdg[particle[reason == _REASONS.index("other_species")]]
    codes, counts = np.unique(other, return_counts=True)
    wrong = np.flatnonzero(below_mass(events.pdg, events.energy_init))
    entries = events.first_entry + row_of(events.particle_offset, wrong)
    has_voxels = np.diff(events.voxel_offset[events.cluster_offset]) > 0
    # Some files have other rounding errors in each event.
    cubes = np.hstack([events.grid, events.voxel_size.round(9)])[has_voxels]
    return Tally(
        events=events.num_events,
        seen=events.num_clusters,
        written=Counter(
            {
                (SPLITS[s], CLASSES[c].name): int(written[s, c])
                for s, c in zip(*written.nonzero(), strict=True)
            }
        ),
        rejected=Counter({_REASONS[r]: int(n) for r, n in enumerate(rejected) if n}),
        other_pdg=Counter(dict(zip(codes.tolist(), counts.tolist(), strict=True))),
        below_mass=len(wrong),
        first_below_mass=(source, int(entries[0])) if len(wrong) else None,
        cubes={tuple(cube) for cube in np.unique(cubes, axis=0).tolist()},
    )


def _voxels(
    events: Events,
    voxel_id: NDArray[np.unsignedinteger],
    kept: NDArray[np.int64],
    event: NDArray[np.int64],
    num_voxels: NDArray[np.int64],
) -> dict[str, NDArray[Any]]:
    """Gather the voxels of the kept clusters and turn their ids into indices."""
    counts = num_voxels[kept]
    take, offset = gather_rows(events.voxel_offset[kept], counts)
    voxel_id = voxel_id[take]
    nx, ny = (
        _scalar_if_same(events.grid[:, axis].astype(voxel_id.dtype), event, counts)
        for axis in (0, 1)
    )
    row = voxel_id // nx
    z = row // ny
    return {
        "x": (voxel_id - row * nx).astype(np.uint16),
        "y": (row - z * ny).astype(np.uint16),
        "z": z.astype(np.uint16),
        "energy": events.energy[take],
        "offset": offset,
    }


def _scalar_if_same(
    values: NDArray[np.unsignedinteger], event: NDArray[np.int64], counts: NDArray[np.int64]
) -> Any:
    """Repeat the value of each event for its voxels; return a scalar if all events agree."""
    if len(np.unique(values)) == 1:
        return values[0]
    return np.repeat(values[event], counts)
