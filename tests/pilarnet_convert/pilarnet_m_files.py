"""Files in the layout of PILArNet-M, written with h5py or pyarrow, and a plain loop over them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
import pytest
from numpy.typing import NDArray

__all__ = [
    "REVISIONS",
    "Event",
    "Particle",
    "random_events",
    "rows_of",
    "write_hdf5",
    "write_parquet",
]

#: Revisions, and the columns of ``cluster_extra`` that each has.
REVISIONS = {"v2": 5, "v3": 6, "v3_extra": 6, "v3, packed 9": 9, "v3, packed 11": 11}


class Event(NamedTuple):
    """The tables of an event: points [N, 8], clusters [M, 6], truth of the clusters [M, 11].

    The columns of the truth are those of ``cluster_extra``, packed.
    """

    point: NDArray[np.float32]
    cluster: NDArray[np.int32]
    extra: NDArray[np.float32]


class Particle(NamedTuple):
    """What a plain loop reads of a particle: its voxels [n, 4] and a row of truth."""

    voxels: NDArray[np.float32]
    deposit: float
    pid: int
    truth: NDArray[np.float32]


def random_events(
    seed: int, *, num_events: int = 12, mean_voxels: int = 40, num_groups: int = 6
) -> list[Event]:
    """Make events: showers in fragments, groups without a pid, low-energy clusters, one empty."""
    random = np.random.default_rng(seed)
    return [
        _event(random, num_groups if number != 3 else 0, mean_voxels)
        for number in range(num_events)
    ]


def _event(random: np.random.Generator, num_groups: int, mean_voxels: int) -> Event:
    rows = [(-1, -1, -1, 4, -1)] if num_groups else []  # low energy comes first
    for group in range(num_groups):
        interaction, pid = group % 3, int(random.integers(-1, 6))
        semantic = int(random.integers(0, 4))
        leads = bool(random.integers(0, 2))  # whether the leading fragment left voxels
        for fragment in range(int(random.integers(1, 5))):
            number = 10 * group if fragment == 0 and leads else 10 * group + fragment + 1
            rows.append((number, 10 * group, interaction, semantic, pid))
        rows.append((10 * group + 9, 10 * group, interaction, 4, -1))  # low energy in a group
    rows = [rows[i] for i in random.permutation(len(rows))]
    sizes = random.integers(0, 2 * mean_voxels, len(rows))
    cluster = np.array([(n, *row) for n, row in zip(sizes, rows, strict=True)], np.int32)
    cluster = cluster.reshape(-1, 6)
    point = random.random((int(sizes.sum()), 8)).astype(np.float32)
    point[:, :3] = random.integers(0, 768, (len(point), 3))
    extra = random.random((len(rows), 11)).astype(np.float32)
    extra[:, 0] *= 1000
    extra[:, 5] = random.integers(0, 2, len(rows))
    extra[:, 9] = random.choice([11, 13, -1, 2212], len(rows))
    extra[:, 10] = random.integers(-1, 50, len(rows))
    unknown = random.random(len(rows)) < 0.2
    extra[np.ix_(unknown, [0, 1, 2, 3, 4, 6, 7, 8])] = -1
    return Event(point, cluster, extra)


def _columns(event: Event, revision: str) -> dict[str, NDArray[Any]]:
    columns = {
        "point": event.point,
        "cluster": event.cluster,
        "cluster_extra": event.extra[:, : REVISIONS[revision]],
    }
    if revision == "v3_extra":
        columns["cluster_extra_2"] = event.extra[:, 6:]
        columns["interaction_extra"] = np.zeros((1, 4), np.float32)
    return {name: values.ravel() for name, values in columns.items()}


def write_hdf5(path: Path, events: list[Event], *, revision: str = "v3", **more: Any) -> Path:
    """Write events; `more` are options of `create_dataset`."""
    with h5py.File(path, "w") as file:
        for number, event in enumerate(events):
            for name, values in _columns(event, revision).items():
                if number == 0:
                    kind = h5py.vlen_dtype(values.dtype)
                    file.create_dataset(name, (len(events),), kind, **more)
                file[name][number] = values
    return path


def write_parquet(
    path: Path,
    events: list[Event],
    *,
    revision: str = "v3",
    event_id: list[Any] | None = None,
    row_group_size: int = 5,
) -> Path:
    """Write events."""
    pa, pq = (pytest.importorskip(name) for name in ("pyarrow", "pyarrow.parquet"))
    tables = [_columns(event, revision) for event in events]
    columns: dict[str, Any] = {
        name: pa.array([table[name] for table in tables], pa.list_(pa.from_numpy_dtype(v.dtype)))
        for name, v in tables[0].items()
    }
    columns["n_points"] = [len(event.point) for event in events]
    if event_id is not None:
        columns["event_id"] = event_id
    pq.write_table(pa.table(columns), path, row_group_size=row_group_size)
    return path


def rows_of(path: Path) -> Iterator[list[Particle]]:
    """Yield the particles of each event, read by a plain loop over h5py, cluster by cluster."""
    with h5py.File(path) as file:
        for number in range(len(file["point"])):
            point = file["point"][number].reshape(-1, 8)
            cluster = file["cluster"][number].reshape(-1, 6)
            if not len(cluster):
                yield []
                continue
            extra = file["cluster_extra"][number].reshape(len(cluster), -1)
            if "cluster_extra_2" in file:
                more = file["cluster_extra_2"][number].reshape(len(cluster), -1)
                extra = np.concatenate([extra, more], axis=1)
            groups: dict[tuple[int, int], list[tuple[int, int]]] = {}
            start = 0
            for row, (size, _, group, interaction, semantic, _) in enumerate(cluster.tolist()):
                if group != -1 and semantic != 4:
                    groups.setdefault((interaction, group), []).append((row, start))
                start += size
            yield [
                particle
                for (_, group), members in groups.items()
                if (particle := _particle(point, cluster, extra, group, members)).pid != -1
            ]


def _particle(
    point: NDArray[Any],
    cluster: NDArray[Any],
    extra: NDArray[Any],
    group: int,
    members: list[tuple[int, int]],
) -> Particle:
    voxels = np.concatenate([point[at : at + cluster[row, 0]] for row, at in members])
    leading = members[0][0]
    for row, _ in members:
        ours, best = (int(cluster[r, 1] == group) for r in (row, leading))
        if (ours, cluster[row, 0]) > (best, cluster[leading, 0]):
            leading = row
    deposit = sum(float(value) for value in voxels[:, 4])
    return Particle(voxels[:, :4], deposit, int(cluster[leading, 5]), extra[leading])
