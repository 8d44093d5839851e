"""Reading every byte of a set of shards again, and saying all that is wrong with it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pilarnet_convert.console import progress_bar
from pilarnet_convert.errors import ShardError
from pilarnet_convert.shards.array import array_metadata
from pilarnet_convert.shards.format import PARTICLE_ARRAYS, SPLITS, VOXEL_ARRAYS
from pilarnet_convert.shards.reader import Shard, open_shard_attributes
from pilarnet_convert.shards.writer import array_attributes, root_checksum, shard_checksum
from pilarnet_convert.species import CLASSES

__all__ = ["verify"]


def verify(path: str | Path, *, show_progress: bool = False) -> list[str]:
    """Check a set of shards against its checksums and its format.

    Parameters
    ----------
    path : path
        The shards.
    show_progress : bool
        Show a bar over shards on the terminal.

    Returns
    -------
    list of str
        A line for each fault; empty if there is none.

    Raises
    ------
    ShardError
        If the folder cannot be opened as a set of shards at all.
    """
    path = Path(path)
    attributes = open_shard_attributes(path)
    if attributes.get("checksum") != root_checksum(attributes):
        # Nothing that the root says can be relied on, so nothing is measured against it.
        return [
            f"{path / 'zarr.json'}: the checksum of the attributes does not hold (expected "
            f"{attributes.get('checksum')}, found {root_checksum(attributes)})"
        ]
    names: list[str] = list(attributes["shards"])
    checksums = dict(zip(names, attributes["shard_checksums"], strict=True))
    faults = list(_split_faults(path))
    faults += [
        f"{path / extra}: a shard that the root does not list" for extra in _extra(path, names)
    ]
    counts = {split: dict.fromkeys((c.name for c in CLASSES), 0) for split in SPLITS}
    for name in progress_bar(names, unit="shard", description="verifying", show=show_progress):
        try:
            shard = Shard(path, name)
            if shard_checksum(shard.path) != checksums[name]:
                faults.append(f"{shard.path}: the checksum of its metadata does not hold")
                continue
            faults += [f"{shard.path}: {fault}" for fault in _shard_faults(shard, attributes)]
            for species, count in shard.counts.items():
                counts[name.split("/")[0]][species] += count
        except ShardError as error:
            faults.append(str(error))
    return faults + [f"{path}: {fault}" for fault in _total_faults(attributes, counts)]


def _extra(path: Path, names: list[str]) -> Iterator[str]:
    for split in SPLITS:
        for folder in sorted((path / split).glob("*/")):
            if f"{split}/{folder.name}" not in names:
                yield f"{split}/{folder.name}"


def _split_faults(path: Path) -> Iterator[str]:
    expected = {"zarr_format": 3, "node_type": "group", "attributes": {}}
    for split in SPLITS:
        if fault := _metadata_fault(path / split, expected):
            yield f"{path / split}: {fault}"


def _metadata_fault(folder: Path, expected: dict[str, Any]) -> str | None:
    """Compare the metadata of a node with what the format asks for."""
    try:
        found = json.loads((folder / "zarr.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        return f"the metadata are missing or damaged ({type(error).__name__}: {error})"
    if found == expected:
        return None
    if not isinstance(found, dict):
        return "the metadata are no JSON object"
    key = next(k for k in {**expected, **found} if found.get(k) != expected.get(k))
    return f"metadata {key}: expected {expected.get(key)}, found {found.get(key)}"


def _shard_faults(shard: Shard, attributes: dict[str, Any]) -> Iterator[str]:
    columns: dict[str, NDArray[Any]] = {}
    for name, spec in {**VOXEL_ARRAYS, **PARTICLE_ARRAYS}.items():
        rows = shard.num_voxels if name in VOXEL_ARRAYS else shard.num_particles
        shape = (rows + (name == "offset"), *spec.shape)
        expected = array_metadata(shape, np.dtype(spec.dtype), array_attributes(spec))
        if fault := _metadata_fault(shard.path / name, expected):
            yield f"{name}: {fault}"
            continue
        try:
            columns[name] = shard.read_whole(name)
        except ShardError as error:
            yield f"{name}: {error.problem} ({error.details['found']})"
            continue
        if columns[name].shape != shape or columns[name].dtype != np.dtype(spec.dtype):
            yield (
                f"{name}: expected {spec.dtype} {shape}, "
                f"found {columns[name].dtype} {columns[name].shape}"
            )
            del columns[name]
    yield from _value_faults(shard, columns, attributes)


def _value_faults(
    shard: Shard, columns: dict[str, NDArray[Any]], attributes: dict[str, Any]
) -> Iterator[str]:
    if "offset" in columns:
        offset = columns["offset"]
        if offset[0] != 0 or offset[-1] != shard.num_voxels or np.any(np.diff(offset) <= 0):
            yield "offset: does not ascend from 0 to the number of voxels"
    if "label" in columns:
        found = {c.name: int(np.count_nonzero(columns["label"] == c.label)) for c in CLASSES}
        if found != shard.counts:
            yield f"label: expected counts {shard.counts}, found {found}"
        if "pdg" in columns:
            allowed = [(code, c.label) for c in CLASSES for code in c.pdg_codes]
            pairs = np.unique(np.stack([columns["pdg"], columns["label"]], 1), axis=0).tolist()
            for pdg, label in pairs:
                if (pdg, label) not in allowed:
                    yield f"label: PDG code {pdg} has the label {label}"
    limits = np.max([geometry["voxels"] for geometry in attributes["geometry"]], axis=0)
    for axis, limit in zip("xyz", limits, strict=True):
        if axis in columns and len(columns[axis]) and columns[axis].max() >= limit:
            yield f"{axis}: expected indices below {limit}, found {columns[axis].max()}"
    if "energy" in columns and not np.isfinite(columns["energy"]).all():
        yield "energy: not all finite"
    for name, length in (
        ("process", len(shard.process_names)),
        ("source", len(attributes["sources"])),
    ):
        if name in columns and (columns[name].max() >= length or columns[name].min() < 0):
            yield f"{name}: expected indices below {length}, found {columns[name].max()}"


def _total_faults(attributes: dict[str, Any], counts: dict[str, dict[str, int]]) -> Iterator[str]:
    tally = attributes["statistics"]
    if counts != tally["particles_written"]:
        yield f"statistics: expected {tally['particles_written']}, found {counts} in the shards"
    written = sum(sum(row.values()) for row in tally["particles_written"].values())
    rejected = sum(tally["clusters_rejected"].values())
    if written + rejected != tally["clusters_seen"]:
        yield (
            f"statistics: {written} written and {rejected} rejected are not the "
            f"{tally['clusters_seen']} clusters seen"
        )
