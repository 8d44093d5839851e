"""HDF5 in the layout of PILArNet-M, as its dataset card and the readers of pimm document it.

``SPLIT/generic_v2_SHARD_EVENTS_v3.h5`` has one flat row per event in each dataset (the revision is
that called v3_extra, which includes all of v3):

================= ==== ========================================================================
point             8    x, y, z (voxels), energy (MeV) twice; time, electrons and dx are unknown
cluster           6    points, cluster, group, interaction, semantic class, particle class
cluster_extra     6    mass (MeV), momentum (GeV/c), vertex (voxels), whether primary
cluster_extra_2   5    px, py, pz (GeV/c), PDG code and track of the parent
interaction_extra 4    interaction, vertex (voxels)
run_subrun_event  3    run, subrun, event (our addition, a plain table; readers ignore it)
================= ==== ========================================================================

The second column is the width of the table that the flat row holds. A cluster is a particle; its
number and that of its group are the index of the cluster in the event's file. Particles whose
primary ancestors began at the same place in the volume share an interaction and its vertex. Points
are in the order of the clusters. The first cluster of an event is that of low-energy deposits,
which readers drop because it is the first; here it is empty. Unknown values are -1. Beside each
file, ``..._points.npy`` has the number of points of each of its events, which readers use to leave
out small events. Revision v1 has ``point`` and the first five columns of ``cluster``: the loader
published with PoLAr-MAE reads no other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import h5py
import numpy as np
from numpy.typing import NDArray

from pilarnet_convert.export.numbering import numbered_shards
from pilarnet_convert.ragged import offsets_of
from pilarnet_convert.shards.particle import BLOCK
from pilarnet_convert.shards.reader import Shards
from pilarnet_convert.shards.shard import Shard
from pilarnet_convert.species import CLASSES, MASSES_MEV

__all__ = ["write_split"]

Arrays = dict[str, NDArray[Any]]

_UNKNOWN: Final = -1.0
_LOW_ENERGY: Final = (0, -1, -1, -1, 4, -1)
#: By label: mass (MeV), particle class, and semantic class.
_MASS_MEV: Final = np.array([MASSES_MEV[species.pdg_codes[0]] for species in CLASSES])
_PID: Final = np.array([1, 4, 0, 2, 3])
_SHOWER, _TRACK, _MICHEL, _DELTA = range(4)
_SEMANTIC: Final = np.array([_SHOWER, _TRACK, _SHOWER, _TRACK, _TRACK])
#: Creation processes of Geant4 by which an electron is a Michel electron, or a delta ray.
_MICHEL_PROCESSES: Final = ("Decay", "muMinusCaptureAtRest")
_DELTA_PROCESSES: Final = ("muIoni", "hIoni", "ionIoni")
_DTYPES: Final = {"cluster": h5py.vlen_dtype(np.int32), "run_subrun_event": np.int64}
_V1: Final = ("point", "cluster")


def write_split(
    shards: Shards,
    split: str,
    folder: Path,
    advance: Callable[[int], object],
    *,
    revision: str,
) -> None:
    """Write the events of a split.

    Parameters
    ----------
    shards, split, folder, advance
        As for `pilarnet_convert.export.npz.write_split`.
    revision : {"v3", "v1"}
        What is written.
    """
    inside = folder / split
    inside.mkdir()
    voxel_cm = shards.voxel_cm
    for number, shard in numbered_shards(shards, split):
        # In memory, as HDF5 crashes if the disk is full. The readers use this libver.
        with h5py.File.in_memory(libver="latest") as file:
            sizes: list[int] = []
            for block in _whole_events(shard):
                rows = _rows(block, shard.process_names, voxel_cm)
                if revision == "v1":
                    rows = {name: rows[name] for name in _V1}
                    rows["cluster"] = [row.reshape(-1, 6)[:, :5].ravel() for row in rows["cluster"]]
                sizes += [len(row) // 8 for row in rows["point"]]
                _append(file, rows, len(sizes))
                advance(len(block["label"]))
            file.flush()
            image = file.id.get_file_image()
        name = f"generic_v2_{number}_{len(sizes)}_{revision}"
        (inside / f"{name}.h5").write_bytes(image)
        np.save(inside / f"{name}_points.npy", np.array(sizes))


def _append(file: h5py.File, rows: dict[str, list[NDArray[Any]]], stop: int) -> None:
    """Add rows to the datasets, which then have `stop`."""
    for name, values in rows.items():
        if name not in file:
            dtype = _DTYPES.get(name, h5py.vlen_dtype(np.float32))
            width = (3,) if name == "run_subrun_event" else ()
            file.create_dataset(name, (0, *width), dtype, maxshape=(None, *width), chunks=True)
        dataset = file[name]
        dataset.resize(stop, axis=0)
        # One by one, as h5py would take rows of the same length for a table.
        for place, row in enumerate(values, stop - len(values)):
            dataset[place] = row


def _whole_events(shard: Shard) -> Iterator[Arrays]:
    """Read a shard in blocks of whole events."""
    start = 0
    for stop in _event_ends(shard.read(("source", "entry"))):
        if stop - start >= BLOCK or stop == shard.num_particles:
            yield shard.read(start=start, stop=stop)
            start = stop


def _event_ends(arrays: Arrays) -> list[int]:
    """Find where the particles of each event end."""
    differs = np.diff(arrays["source"]).astype(bool) | np.diff(arrays["entry"]).astype(bool)
    return [*(np.flatnonzero(differs) + 1).tolist(), len(arrays["entry"])]


def _rows(
    block: Arrays, process_names: tuple[str, ...], voxel_cm: tuple[float, float, float] | None
) -> dict[str, list[NDArray[Any]]]:
    """Return the rows of each dataset, one per event."""
    ends = _event_ends(block)
    counts = np.diff(ends, prepend=0)
    event = np.repeat(np.arange(len(ends)), counts)
    parent = _parents(event, block)
    interaction, vertex, table = _interactions(event, parent, block, voxel_cm)
    momentum = np.nan_to_num(block["momentum"] / 1e3, nan=_UNKNOWN)
    size = np.linalg.norm(block["momentum"], axis=1) / 1e3
    is_primary = parent == np.arange(len(parent))
    parent_pdg = np.append(block["pdg"], _UNKNOWN)[parent]
    cluster = [np.diff(block["offset"]), block["cluster"], block["cluster"], interaction]
    cluster += [_semantic(block, process_names), _PID[block["label"]]]
    extra = [_MASS_MEV[block["label"]], np.nan_to_num(size, nan=_UNKNOWN), *vertex.T]
    extra += [np.where(block["track_id"] >= 0, is_primary, _UNKNOWN)]
    voxels = [block[name] for name in ("x", "y", "z", "energy", "energy")]
    points = np.full((len(block["energy"]), 8), _UNKNOWN, np.float32)
    points[:, :5] = np.stack(voxels, axis=1)
    of_event = offsets_of(counts)
    first = of_event[:-1]
    numbers = np.stack([block[name][first] for name in ("run", "subrun", "event")], axis=1)
    unknown = [_UNKNOWN] * 6
    parent_pdg[is_primary] = _UNKNOWN
    lineage = np.column_stack([momentum, parent_pdg, block["parent_track_id"]])
    return {
        "point": _cut(points, block["offset"][of_event]),
        "cluster": _cut(np.stack(cluster, axis=1), of_event, before=_LOW_ENERGY),
        "cluster_extra": _cut(np.stack(extra, axis=1), of_event, before=unknown),
        "cluster_extra_2": _cut(lineage, of_event, before=unknown[:5]),
        "interaction_extra": [table[table[:, 0] == e][:, 1:].ravel() for e in range(len(ends))],
        "run_subrun_event": list(numbers),
    }


def _cut(table: NDArray[Any], offset: NDArray[np.int64], *, before: Any = ()) -> list[NDArray[Any]]:
    """Cut a table into one flat row per event, each of which begins with the row `before`."""
    return [np.concatenate([before, table[start:stop].ravel()]) for start, stop in pairwise(offset)]


def _semantic(block: Arrays, process_names: tuple[str, ...]) -> NDArray[np.int64]:
    """Return the semantic class of each particle: shower, track, Michel electron or delta ray."""
    semantic = _SEMANTIC[block["label"]]
    process = np.array(process_names)[block["process"]]
    is_electron = block["label"] == 0
    semantic[is_electron & np.isin(process, _MICHEL_PROCESSES)] = _MICHEL
    semantic[is_electron & np.isin(process, _DELTA_PROCESSES)] = _DELTA
    return semantic


def _parents(event: NDArray[np.int64], block: Arrays) -> NDArray[np.int64]:
    """Find the position of the parent of each of N particles; N if it is not one of them."""
    n = len(event)
    order = np.lexsort((block["track_id"], event))
    tracks = np.stack([event, block["track_id"]], axis=1)[order]
    wanted = np.stack([event, block["parent_track_id"]], axis=1)
    kind = np.dtype([("event", np.int64), ("track", np.int64)])
    keys, searched = (np.ascontiguousarray(a).view(kind).ravel() for a in (tracks, wanted))
    place = np.searchsorted(keys, searched).clip(max=n - 1)
    found = (keys[place] == searched) & (block["parent_track_id"] >= 0)
    return np.where(found, order[place], n)


def _interactions(
    event: NDArray[np.int64],
    parent: NDArray[np.int64],
    block: Arrays,
    voxel_cm: tuple[float, float, float] | None,
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
    """Group particles by where their primary ancestors began.

    Returns
    -------
    interaction : int64 array [N]
        Counted from 0 in each event; -1 where the ancestor is not among the particles.
    vertex : float64 array [N, 3]
        Where the ancestor began, in voxels of the event's cube; -1 if that is not known.
    table : float64 array [K, 5]
        Event (its position), number and vertex of each interaction.
    """
    n = len(event)
    ancestor = np.append(parent, n)
    for _ in range(n.bit_length()):  # twice as far each time; a primary is its own parent
        ancestor = ancestor[ancestor]
    ancestor = ancestor[:n]
    is_primary = np.append(parent == np.arange(n), False)
    ancestor = np.where(is_primary[ancestor], ancestor, n)  # parents may form a cycle
    if voxel_cm is None:
        start = np.full((n, 3), np.nan)
    else:
        start = (block["start"].astype(np.float64) - block["origin"]) / voxel_cm
    vertex = np.vstack([start, [[np.nan] * 3]])[ancestor]
    interaction = np.full(n, -1, np.int64)
    known = np.isfinite(vertex).all(axis=1)
    unique, which = np.unique(
        np.column_stack([event[known], vertex[known]]), axis=0, return_inverse=True
    )
    # The interactions of an event are consecutive.
    number = np.arange(len(unique)) - np.searchsorted(unique[:, 0], unique[:, 0])
    interaction[known] = number[which.ravel()]
    table = np.column_stack([unique[:, 0], number, unique[:, 1:]])
    return interaction, np.where(known[:, None], vertex, _UNKNOWN), table
