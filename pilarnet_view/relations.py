"""How the particles of an event are related: vertices, and links from parents."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pilarnet_view.scene import Panel, ParticleCloud

__all__ = ["event_panel"]


def event_panel(
    clouds: Sequence[ParticleCloud], *, parents: Mapping[int, int], **known: Any
) -> Panel:
    """Make the panel of an event, with its vertices and the links from parents.

    Parameters
    ----------
    clouds : sequence of ParticleCloud
        The particles of the event.
    parents : mapping of int to int
        From each track, with or without a cloud, to the track of its parent.
    **known
        The other fields of `Panel`.
    """
    linked, links = _link_parents(clouds, parents=parents)
    return Panel.around(linked, vertices=_find_vertices(linked), links=links, **known)


def _find_vertices(clouds: Sequence[ParticleCloud]) -> NDArray[np.float64]:
    """Find where two or more primary particles start together, float64 [n, 3] in voxels."""
    starts = [
        cloud.start
        for cloud in clouds
        if cloud.start is not None and (cloud.process == "primary" or _names_itself(cloud))
    ]
    if not starts:
        return np.empty((0, 3))
    # To a hundredth of a voxel: the file has them as 32-bit floats.
    places, counts = np.unique(np.round(starts, 2), axis=0, return_counts=True)
    shared: NDArray[np.float64] = places[counts > 1]
    return shared


def _link_parents(
    clouds: Sequence[ParticleCloud], *, parents: Mapping[int, int]
) -> tuple[tuple[ParticleCloud, ...], NDArray[np.float64]]:
    """Link every cloud to that of its parent, or of the nearest ancestor that has one.

    Returns
    -------
    clouds : tuple of ParticleCloud
        The same, with the names of their parents.
    links : float64 array [n, 3, 3]
        For each link the parent's voxel that is closest to where the particle starts, that start,
        and the particle's own voxel that is closest to it.
    """
    by_track = {cloud.track_id: cloud for cloud in clouds if cloud.track_id >= 0}
    named, links = [], []
    for cloud in clouds:
        parent = by_track.get(_ancestor(cloud, parents, by_track))
        if parent is None:
            named.append(cloud)
            continue
        named.append(replace(cloud, parent=f"{parent.name}, {parent.species}"))
        if cloud.start is not None:
            ends = (_closest(c, cloud.start) for c in (parent, cloud))
            links.append(np.stack([next(ends), cloud.start, next(ends)]))
    return tuple(named), np.array(links).reshape(-1, 3, 3)


def _names_itself(cloud: ParticleCloud) -> bool:
    return cloud.track_id >= 0 and cloud.track_id == cloud.parent_track_id


def _ancestor(cloud: ParticleCloud, parents: Mapping[int, int], having: Mapping[int, Any]) -> int:
    """Return the track of the nearest ancestor that is in `having`; -1 if there is none."""
    seen = {cloud.track_id}
    track = cloud.parent_track_id
    while track not in seen:
        if track in having:
            return track
        seen.add(track)
        track = parents.get(track, track)
    return -1


def _closest(cloud: ParticleCloud, place: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the voxel of a cloud that is closest to a place."""
    distance = np.linalg.norm(cloud.xyz - place, axis=1)
    voxel: NDArray[np.float64] = cloud.xyz[distance.argmin()].astype(np.float64)
    return voxel
