"""Small LArCV3 files, written with h5py in the layout that larcv 3.5.1 writes."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
from numpy.typing import NDArray

__all__ = ["GRID", "ORIGIN_CM", "SIZE_CM", "Event", "random_events", "write_larcv3"]

#: A box with unequal sides, and a voxel with unequal edges.
GRID = (20, 30, 40)
SIZE_CM = (6.0, 15.0, 4.0)
ORIGIN_CM = (-1.0, 2.0, 3.5)

_EXTENT = np.dtype([("first", "<u8"), ("N", "<u4")], align=True)
_EXTENT_ID = np.dtype([("first", "<u8"), ("N", "<u4"), ("ID", "<u4")])
_VOXEL = np.dtype([("id", "<u8"), ("value", "<f4")], align=True)
_META = np.dtype(
    [
        ("valid", "u1"),
        ("projection_id", "<u8"),
        ("image_sizes", "<f8", 3),
        ("number_of_voxels", "<u8", 3),
        ("origin", "<f8", 3),
    ],
    align=True,
)
_VERTEX = np.dtype([(axis, "<f8") for axis in "xyzt"])
_PARTICLE = np.dtype(
    [
        *[(name, "<u2") for name in ("id", "mcst_index", "mct_index")],
        ("shape", "<i4"),
        *[(name, "<i2") for name in ("current_type", "interaction_type")],
        ("trackid", "<u4"),
        ("pdg", "<i4"),
        *[(name, "<f8") for name in ("px", "py", "pz")],
        *[(name, _VERTEX) for name in ("vtx", "end_pt", "first_step", "last_step")],
        *[(name, "<f8") for name in ("dist_travel", "energy_init", "energy_deposit")],
        ("process", "S64"),
        *[("parent_trackid", "<u4"), ("parent_pdg", "<i4"), ("parent_vtx", _VERTEX)],
        *[("ancestor_trackid", "<u4"), ("ancestor_pdg", "<i4"), ("ancestor_vtx", _VERTEX)],
    ],
    align=True,
)


class Event(NamedTuple):
    """The clusters of an event, xyz [n, 3] and values [n] of each, and its particles."""

    clusters: list[tuple[NDArray[np.int64], NDArray[np.float32]]]
    particles: NDArray[Any]


def random_events(seed: int, *, num_events: int = 7) -> list[Event]:
    """Make events; the last cluster of each has no particle, and event 2 has nothing."""
    random = np.random.default_rng(seed)
    events = []
    for number in range(num_events):
        count = 0 if number == 2 else int(random.integers(1, 6))
        clusters = []
        for _ in range(count + (count > 0)):
            ids = np.sort(random.choice(np.prod(GRID), int(random.integers(0, 60)), replace=False))
            xyz = np.stack(np.unravel_index(ids, GRID), axis=1)
            clusters.append((xyz, random.random(len(xyz)).astype(np.float32)))
        particles = np.zeros(count, _PARTICLE)
        for name in ("px", "py", "pz"):
            particles[name] = random.normal(0, 200, count)
        for name in ("first_step", "last_step"):
            for axis in "xyz":
                particles[name][axis] = random.random(count)
        particles["pdg"] = random.choice([11, 2212, 22, -13, 211, 321], count)
        particles["energy_init"] = random.uniform(950, 2000, count)
        particles["energy_deposit"] = random.uniform(0, 100, count)
        particles["trackid"] = np.arange(count) + 1
        particles["parent_trackid"] = np.where(np.arange(count) % 3, 1, np.arange(count) + 1)
        particles["process"] = random.choice([b"primary", b"conv", b""], count)
        events.append(Event(clusters, particles))
    return events


def write_larcv3(
    path: Path,
    events: list[Event],
    *,
    names: tuple[str, ...] = ("mcst",),
    projections: int = 1,
    skip_empty: bool = False,
    **how: Any,
) -> Path:
    """Write events, under one or several names; `how` are options of `create_dataset`.

    With `skip_empty` an event without clusters has no projection, as where it is never set.
    """
    if how:
        how["chunks"] = (100,)
    with h5py.File(path, "w") as file:
        ids = np.array(
            [(1, 2, 100 + number) for number in range(len(events))],
            [("run", "<i8"), ("subrun", "<i8"), ("event", "<i8")],
        )
        file.create_dataset("Events/event_id", data=ids)
        for name in names:
            _write(
                file,
                f"Data/cluster3d_{name}_group",
                _clusters(events, projections, skip_empty),
                how,
            )
            _write(file, f"Data/particle_{name}_group", _particles(events), how)
    return path


def _write(
    file: h5py.File, group: str, tables: dict[str, NDArray[Any]], how: dict[str, Any]
) -> None:
    for name, rows in tables.items():
        file.create_dataset(f"{group}/{name}", data=rows, maxshape=(None,), **how)


def _extents(counts: list[int], *, ids: list[int] | None = None) -> NDArray[Any]:
    rows = np.zeros(len(counts), _EXTENT if ids is None else _EXTENT_ID)
    rows["first"], rows["N"] = np.cumsum([0, *counts])[:-1], counts
    if ids is not None:
        rows["ID"] = ids
    return rows


def _clusters(events: list[Event], projections: int, skip_empty: bool) -> dict[str, NDArray[Any]]:
    each = [cluster for event in events for cluster in event.clusters for _ in range(projections)]
    numbers = [projections if event.clusters or not skip_empty else 0 for event in events]
    counts = [len(e.clusters) for e, n in zip(events, numbers, strict=True) for _ in range(n)]
    voxels = np.zeros(sum(len(values) for _, values in each), _VOXEL)
    x, y, z = np.concatenate([xyz for xyz, _ in each]).T
    voxels["id"] = (x * GRID[1] + y) * GRID[2] + z
    voxels["value"] = np.concatenate([values for _, values in each])
    meta = np.zeros(len(counts), _META)
    meta["valid"], meta["image_sizes"] = 1, SIZE_CM
    meta["number_of_voxels"], meta["origin"] = GRID, ORIGIN_CM
    return {
        "extents": _extents(numbers),
        "projection_extents": _extents(counts, ids=[0] * len(counts)),
        "cluster_extents": _extents([len(v) for _, v in each], ids=list(range(len(each)))),
        "image_meta": meta,
        "voxels": voxels,
    }


def _particles(events: list[Event]) -> dict[str, NDArray[Any]]:
    return {
        "extents": _extents([len(event.particles) for event in events]),
        "particles": np.concatenate([event.particles for event in events]),
    }
