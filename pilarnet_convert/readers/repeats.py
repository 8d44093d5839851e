"""Merging voxels that a file lists several times in one particle."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pilarnet_convert.ragged import gather_rows, offsets_of, row_of
from pilarnet_convert.readers.events import Events

__all__ = ["merge_repeats"]

#: The number of voxels that are sorted at once.
_PIECE: Final = 4096


def merge_repeats(events: Events) -> tuple[Events, int]:
    """Merge rows that repeat a voxel of a particle into its first row; their energies are added.

    Files written in 2017 have such rows; LArCV2 itself keeps them as they are.

    Parameters
    ----------
    events : Events
        Checked events. If ids ascend in each cluster, as LArCV2 writes them, they are read once;
        otherwise they are sorted.

    Returns
    -------
    events : Events
        The events, in which a voxel occurs once in a particle. Clusters without a particle are
        left as they are.
    num_merged : int
        The number of rows that were merged into others.
    """
    suspects = _unordered_clusters(events)
    if not len(suspects):
        return events, 0
    counts = np.diff(events.voxel_offset)[suspects]
    rows, _ = gather_rows(events.voxel_offset[suspects], counts)
    largest = int(events.grid.prod(axis=1).max(initial=1))
    key = np.repeat(np.arange(len(suspects)), counts) * largest + events.voxel_id[rows]
    if not _has_repeats(key, np.cumsum(counts)):
        return events, 0
    _, first, place = np.unique(key, return_index=True, return_inverse=True)
    energy = events.energy.copy()
    energy[rows[first]] = np.bincount(place, weights=energy[rows])
    kept = np.ones(len(energy), bool)
    kept[rows] = False
    kept[rows[first]] = True
    offset = offsets_of(kept)[events.voxel_offset]
    merged = replace(
        events, voxel_offset=offset, voxel_id=events.voxel_id[kept], energy=energy[kept]
    )
    return merged, len(kept) - len(merged.energy)


def _unordered_clusters(events: Events) -> NDArray[np.int64]:
    """List the clusters, of those with a particle, whose ids do not ascend."""
    descends = events.voxel_id[1:] <= events.voxel_id[:-1]
    first = events.voxel_offset[1:-1]
    descends[first[(first > 0) & (first < len(events.voxel_id))] - 1] = False
    at = np.flatnonzero(descends)
    clusters = np.unique(row_of(events.voxel_offset, at))
    event = row_of(events.cluster_offset, clusters)
    inside = clusters - events.cluster_offset[event]
    return clusters[inside < np.diff(events.particle_offset)[event]]


def _has_repeats(key: NDArray[np.int64], ends: NDArray[np.int64]) -> bool:
    """Return whether a key occurs twice, given where each cluster ends."""
    start = 0
    while start < len(key):  # pieces that fit into the cache are sorted twice as fast
        stop = int(ends[np.searchsorted(ends, min(start + _PIECE, len(key)))])
        ordered = np.sort(key[start:stop])
        if (ordered[1:] == ordered[:-1]).any():
            return True
        start = stop
    return False
