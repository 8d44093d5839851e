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
from pilarnet_convert.shards.array import SHARD_FILES
from pilarnet_convert.shards.format import ARRAYS, SPLITS, FileCheck, ShardEntry
from pilarnet_convert.shards.reader import Shard, Shards, read_root_attributes
from pilarnet_convert.shards.writer import (
    attributes_checksum,
    group_document,
    shard_array_metadata,
)
from pilarnet_convert.species import CLASSES

__all__ = ["verify"]


def verify(path: str | Path, *, show_progress: bool = False) -> list[str]:
    """Check a set of shards against the sizes and checksums of its files, and against its format.

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
    attributes = read_root_attributes(path)
    found = attributes_checksum(attributes)
    if attributes.get("checksum") != found:
        # Nothing that the root says can be relied on, so nothing is measured against it.
        return [
            f"{path / 'zarr.json'}: the checksum of the attributes does not hold (expected "
            f"{attributes.get('checksum')}, found {found})"
        ]
    shards = Shards(path, attributes)
    every = [shard for split in SPLITS for shard in shards.splits[split]]
    faults = [f"{path}: {fault}" for fault in _layout_faults(path, {s.name for s in every})]
    for shard in progress_bar(every, unit="shard", description="verifying", show=show_progress):
        file_faults = list(_file_faults(shard.path, shard.entry))
        found_faults = file_faults or _value_faults(shard, attributes)
        faults += [f"{shard.path}: {fault}" for fault in found_faults]
    return faults + [f"{path}: {fault}" for fault in _total_faults(attributes, every)]


def _layout_faults(path: Path, names: set[str]) -> Iterator[str]:
    """Find groups of splits that are damaged, and shards that the root does not list."""
    for split in SPLITS:
        if _read(path / split / "zarr.json") != group_document({}):
            yield f"{split}/zarr.json: missing or damaged"
        for extra in sorted((path / split).glob("*/")):
            if f"{split}/{extra.name}" not in names:
                yield f"{split}/{extra.name}: a shard that the root does not list"


def _read(file: Path) -> bytes | None:
    try:
        return file.read_bytes()
    except OSError:
        return None


def _file_faults(folder: Path, entry: ShardEntry) -> Iterator[str]:
    """Compare the files of a shard with what the root says of them."""
    files = {file: name for name, file in SHARD_FILES.items()}
    metadata = {Path(array, "zarr.json"): array for array in ARRAYS}
    for file, name in files.items():
        data = _read(folder / file)
        if data is None:
            yield f"{file}: missing"
        elif (check := FileCheck.of(data)) != entry.files[name]:
            expected = entry.files[name]
            yield (
                f"{file}: expected {expected.size} bytes with the checksum {expected.crc32:08x}, "
                f"found {check.size} with {check.crc32:08x}"
            )
    for file, array in metadata.items():
        if fault := _metadata_fault(_read(folder / file), shard_array_metadata(entry, array)):
            yield f"{array}: {fault}"
    found = {path.relative_to(folder) for path in folder.rglob("*") if not path.is_dir()}
    for extra in sorted(found - files.keys() - metadata.keys()):
        yield f"{extra}: a file that the root does not list"


def _metadata_fault(data: bytes | None, expected: dict[str, Any]) -> str | None:
    """Compare the metadata of an array with what the format asks for."""
    try:
        found = json.loads(data or b"")
        if found == expected:
            return None
        key = next(k for k in {**expected, **found} if found.get(k) != expected.get(k))
        return f"metadata {key}: expected {expected.get(key)}, found {found.get(key)}"
    except (ValueError, TypeError, AttributeError, RecursionError):
        return "the metadata are missing or damaged"


def _value_faults(shard: Shard, attributes: dict[str, Any]) -> list[str]:
    """Check the values of a shard whose files are those that were written."""
    try:
        arrays = shard.read()
        return list(_inconsistencies(shard, arrays, attributes))
    except ShardError as error:
        return [f"{error.details['field']}: {error.problem} ({error.details['found']})"]


def _inconsistencies(
    shard: Shard, arrays: dict[str, NDArray[Any]], attributes: dict[str, Any]
) -> Iterator[str]:
    if np.any(np.diff(arrays["offset"]) <= 0):
        yield "offset: a particle has no voxels"
    found = {c.name: int(np.count_nonzero(arrays["label"] == c.label)) for c in CLASSES}
    if found != shard.counts:
        yield f"label: expected counts {shard.counts}, found {found}"
    allowed = [(code, c.label) for c in CLASSES for code in c.pdg_codes]
    pairs = np.unique(np.stack([arrays["pdg"], arrays["label"]], 1), axis=0).tolist()
    for pdg, label in pairs:
        if (pdg, label) not in allowed:
            yield f"label: PDG code {pdg} has the label {label}"
    limits = np.max([geometry["voxels"] for geometry in attributes["geometry"]], axis=0)
    lengths = {"process": len(shard.process_names), "source": len(attributes["sources"])}
    for name, length in {**dict(zip("xyz", limits, strict=True)), **lengths}.items():
        low, high = arrays[name].min(), arrays[name].max()
        if low < 0 or high >= length:
            yield f"{name}: expected indices below {length}, found {low} to {high}"
    if not np.isfinite(arrays["energy"]).all():
        yield "energy: not all finite"


def _total_faults(attributes: dict[str, Any], shards: list[Shard]) -> Iterator[str]:
    counts = {split: dict.fromkeys((c.name for c in CLASSES), 0) for split in SPLITS}
    for shard in shards:
        for species, count in shard.counts.items():
            counts[shard.name.split("/")[0]][species] += count
    tally = attributes["statistics"]
    if counts != tally["particles_written"]:
        yield f"statistics: expected {tally['particles_written']}, found {counts} in the shards"
    written = sum(sum(row.values()) for row in counts.values())
    rejected = sum(tally["clusters_rejected"].values())
    if written + rejected != tally["clusters_seen"]:
        yield (
            f"statistics: {written} written and {rejected} rejected are not the "
            f"{tally['clusters_seen']} clusters seen"
        )
