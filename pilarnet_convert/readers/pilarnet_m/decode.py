"""From the columns of PILArNet-M to events, a block at a time: one decoder for both file kinds.

A row of each column is an event. ``point`` has 8 numbers per voxel: x, y, z, value, energy deposit,
time, electrons, dx. ``cluster`` has 6 per cluster: voxels, fragment, group, interaction, semantic
class, pid. ``cluster_extra`` has 5 (v2) or 6 (v3) per cluster: mass (MeV), momentum (GeV/c), vertex
x, y, z (voxels), is_primary. Then px, py, pz (GeV/c) and the PDG code and track of the parent may
follow, in the same rows (packed) or in ``cluster_extra_2``. Voxels are in the order of the
clusters; unknown values are -1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pilarnet_convert.errors import FETCH_OR_SKIP, InputError
from pilarnet_convert.ragged import Ragged, gather_rows, join_offsets, offsets_of, row_of
from pilarnet_convert.readers.events import Events

__all__ = ["Block", "decode", "join_events"]

_CUBE_VOXELS: Final = 768
_VOXEL_CM: Final = 0.3
_POINT_WIDTH: Final = 8
_CLUSTER_WIDTH: Final = 6
_LOW_ENERGY: Final = 4  # semantic class
#: PDG codes of pid 0 to 5; the files do not distinguish antiparticles.
_PDG_OF_PID: Final = np.array([22, 11, 13, 211, 2212, 321], np.int32)


class Block(NamedTuple):
    """Consecutive events as a file has them: its columns by name, from event `first_entry` on.

    `extra_width` is the number of columns of ``cluster_extra``, `event` the number of each event.
    """

    file: str
    first_entry: int
    columns: Mapping[str, Ragged]
    extra_width: int
    event: NDArray[np.int64]


class _Grouping(NamedTuple):
    """Which clusters of a block make up which particle.

    `event` and `leading` are the event and the leading cluster of each particle; `owner` is the
    number of the particle to which each cluster belongs, or -1.
    """

    event: NDArray[np.int64]
    leading: NDArray[np.int64]
    owner: NDArray[np.int64]


def decode(block: Block) -> Events:
    """Decode a block of events.

    A particle is one group of an interaction, in the order of their first clusters; its truth is
    that of its leading cluster: the one whose fragment is the group, else the largest. Clusters
    without a group or of semantic class 4 and groups without a pid become the last cluster of
    their event, which has no particle.

    Raises
    ------
    InputError
        If the columns do not fit each other, or a voxel lies outside the cube.
    """
    points = _table(block, "point", _POINT_WIDTH)
    numbers = _table(block, "cluster", _CLUSTER_WIDTH)
    per_event = block.columns["cluster"].counts // _CLUSTER_WIDTH
    event = np.repeat(np.arange(len(per_event)), per_event)
    _check_finite(block, numbers, event)
    cluster = numbers.astype(np.int64)
    sizes = cluster[:, 0]
    _check_sizes(block, sizes, event)
    grouping = _group_clusters(cluster, event)

    num_events = len(per_event)
    counts = np.bincount(grouping.event, minlength=num_events)
    particle_offset = offsets_of(counts)
    loose = grouping.owner < 0
    has_loose = np.bincount(event[loose], minlength=num_events) > 0
    cluster_offset = offsets_of(counts + has_loose)
    # In each event the clusters of particles come first, and the one of loose clusters last.
    inside = grouping.owner - particle_offset[event]
    target = np.where(loose, cluster_offset[event + 1] - 1, cluster_offset[event] + inside)
    owner = np.repeat(target, sizes)
    voxel_counts = np.bincount(owner, minlength=cluster_offset[-1])
    deposit = np.bincount(owner, weights=points[:, 4], minlength=cluster_offset[-1])
    voxel_id, energy = _voxel_ids(block, points), points[:, 3].astype(np.float32)
    order = np.argsort(target, kind="stable")
    if (order[1:] < order[:-1]).any():
        take, _ = gather_rows(offsets_of(sizes)[:-1][order], sizes[order])
        voxel_id, energy = voxel_id[take], energy[take]
    place = cluster_offset[grouping.event] + np.arange(len(grouping.event))
    place -= particle_offset[grouping.event]
    return Events(
        file=block.file,
        products=("point", "cluster"),
        first_entry=block.first_entry,
        run=np.full(num_events, -1),
        subrun=np.full(num_events, -1),
        event=block.event,
        grid=np.full((num_events, 3), _CUBE_VOXELS),
        origin=np.zeros((num_events, 3)),
        voxel_size=np.full((num_events, 3), _VOXEL_CM),
        cluster_offset=cluster_offset,
        voxel_offset=offsets_of(voxel_counts),
        voxel_id=voxel_id,
        energy=energy,
        particle_offset=particle_offset,
        energy_deposit=deposit[place].astype(np.float32),
        **_truth(block, per_event, cluster[:, 5], grouping.leading),
    )


def join_events(parts: Sequence[Events]) -> Events:
    """Join consecutive blocks of events of one file."""
    first = parts[0]
    if len(parts) == 1:
        return first
    joined: dict[str, Any] = {}
    for field in fields(Events):
        values = [getattr(part, field.name) for part in parts]
        if field.name.endswith("_offset"):
            joined[field.name] = join_offsets(values)
        elif isinstance(values[0], np.ndarray):
            joined[field.name] = np.concatenate(values)
    return replace(first, **joined)


def _table(
    block: Block, name: str, width: int, *, rows: NDArray[np.int64] | None = None
) -> NDArray[Any]:
    """Return a column as a table [rows, width]; each event must have whole rows, or so many."""
    column = block.columns[name]
    wrong = column.counts % width != 0 if rows is None else column.counts != rows * width
    if wrong.any():
        at = int(np.argmax(wrong))
        raise _fault(
            block,
            at,
            f"not rows of {width} numbers",
            field=name,
            expected=None if rows is None else f"{rows[at]} rows, one for each cluster",
            found=f"{column.counts[at]} numbers",
        )
    return column.values.reshape(-1, width)


def _check_finite(block: Block, clusters: NDArray[Any], event: NDArray[np.int64]) -> None:
    finite = np.isfinite(clusters).all(axis=1)
    if not finite.all():
        row = int(np.argmin(finite))
        raise _fault(
            block,
            event[row],
            "a number of a cluster is not finite",
            field="cluster",
            found=f"{clusters[row].tolist()}",
        )


def _check_sizes(block: Block, sizes: NDArray[np.int64], event: NDArray[np.int64]) -> None:
    points = block.columns["point"].counts // _POINT_WIDTH
    owned = np.zeros(len(points), np.int64)
    np.add.at(owned, event, sizes)
    wrong = np.flatnonzero(owned != points)
    negative = event[sizes < 0]
    if len(wrong) or len(negative):
        at = min([*wrong[:1], *negative[:1]])
        raise _fault(
            block,
            at,
            "clusters and voxels do not match",
            field="cluster",
            expected=f"sizes that add up to {points[at]} voxels",
            found=f"{owned[at]}",
        )


def _group_clusters(cluster: NDArray[np.int64], event: NDArray[np.int64]) -> _Grouping:
    """Group the clusters into particles and choose the leading cluster of each."""
    size, fragment, group, interaction, semantic, pid = cluster.T
    rows = np.flatnonzero((group >= 0) & (semantic != _LOW_ENERGY))
    secondary = fragment[rows] != group[rows]
    # In each group the leading cluster comes first; of equals, the first of the file.
    ranked = np.lexsort((-size[rows], secondary, group[rows], interaction[rows], event[rows]))
    rows = rows[ranked]
    key = np.stack([event[rows], interaction[rows], group[rows]])
    starts = np.flatnonzero(np.any(np.diff(key, axis=1, prepend=key[:, :1] - 1), axis=0))
    leading = rows[starts]
    first = np.minimum.reduceat(rows, starts) if len(starts) else leading
    known = pid[leading] >= 0
    rank = np.argsort(np.where(known, first, len(cluster) + 1), kind="stable")[: known.sum()]
    number = np.full(len(starts), -1)
    number[rank] = np.arange(len(rank))
    owner = np.full(len(cluster), -1)
    owner[rows] = np.repeat(number, np.diff(np.append(starts, len(rows))))
    return _Grouping(event[leading[rank]], leading[rank], owner)


def _voxel_ids(block: Block, points: NDArray[Any]) -> NDArray[np.int64]:
    """Turn positions, in voxels, into ids: a position belongs to the voxel that holds it."""
    position = points[:, :3]
    inside = (position >= 0) & (position < _CUBE_VOXELS)
    if not inside.all():
        voxel = int(np.argmin(inside.all(axis=1)))
        offset = offsets_of(block.columns["point"].counts // _POINT_WIDTH)
        raise _fault(
            block,
            row_of(offset, voxel),
            "a voxel lies outside its cube",
            field="point",
            expected=f"positions from 0 to below {_CUBE_VOXELS}",
            found=f"{position[voxel].tolist()}",
        )
    x, y, z = (position[:, axis].astype(np.int32) for axis in range(3))
    ids: NDArray[np.int64] = ((z * _CUBE_VOXELS + y) * _CUBE_VOXELS + x).astype(np.int64)
    return ids


def _truth(
    block: Block, rows: NDArray[np.int64], pid: NDArray[np.int64], leading: NDArray[np.int64]
) -> dict[str, Any]:
    """Return the arrays of the particles, from their leading clusters; -1 means unknown."""
    width = block.extra_width
    extra = _table(block, "cluster_extra", width, rows=rows)[leading].astype(np.float64)
    if "cluster_extra_2" in block.columns:
        more = _table(block, "cluster_extra_2", 5, rows=rows)[leading].astype(np.float64)
    else:
        more = np.full((len(leading), 5), -1.0)
        more[:, : max(width - 6, 0)] = extra[:, 6:]
    mass, momentum = extra[:, 0], extra[:, 1] * 1000
    energy = np.where((mass < 0) | (momentum < 0), np.nan, np.hypot(mass, momentum))
    code = pid[leading]
    named = code < len(_PDG_OF_PID)
    primary = extra[:, 5] == 1 if width > 5 else np.zeros(len(leading), bool)
    return {
        "pdg": np.where(named, _PDG_OF_PID[np.where(named, code, 0)], np.int32(0)),
        "track_id": np.full(len(leading), -1),
        "parent_track_id": np.where(np.isfinite(more[:, 4]), more[:, 4], -1).astype(np.int64),
        "energy_init": energy.astype(np.float32),
        "momentum": _known(more[:, :3], scale=1000),
        "start": _known(extra[:, 2:5], scale=_VOXEL_CM),
        "end": np.full((len(leading), 3), np.nan, np.float32),
        "process": np.zeros(len(leading), np.uint16),
        "process_names": ("",),
        "primary": primary,
    }


def _known(vectors: NDArray[np.float64], *, scale: float) -> NDArray[np.float32]:
    """Scale vectors [P, 3]; those with all components -1 become NaN."""
    unknown = np.all(vectors == -1, axis=1, keepdims=True)
    return np.where(unknown, np.nan, vectors * scale).astype(np.float32)


def _fault(block: Block, event: Any, problem: str, **details: Any) -> InputError:
    return InputError(
        problem,
        file=block.file,
        entry=block.first_entry + int(event),
        advice=FETCH_OR_SKIP,
        **details,
    )
