"""Reading every byte of a set of shards again, and saying all that is wrong with it."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from pilarnet_convert.console.progress import progress_bar
from pilarnet_convert.errors import in_words
from pilarnet_convert.shards.array import SHARD_FILES, ArrayFile
from pilarnet_convert.shards.format import (
    ARRAYS,
    SPLITS,
    FileCheck,
    ShardEntry,
    attributes_checksum,
)
from pilarnet_convert.shards.reader import ShardPaths, Shards, list_paths, read_root_attributes
from pilarnet_convert.shards.shard import Shard, damage_reported
from pilarnet_convert.shards.writer import (
    group_document,
    shard_array_metadata,
)
from pilarnet_convert.species import CLASS_NAMES, CLASSES, OTHER, label_of_pdg
from pilarnet_convert.storage.byte_file import file_sizes, read_if_there
from pilarnet_convert.storage.remote import AnyPath

__all__ = ["verify"]


def verify(shards: Shards | ShardPaths, *, show_progress: bool = False) -> list[str]:
    """Check sets of shards against the sizes and checksums of their files, and their format.

    Parameters
    ----------
    shards : Shards, path or URL, or a list of paths and URLs
        The sets.
    show_progress : bool
        Draw a bar on standard error.

    Returns
    -------
    list of str
        A line for each fault; empty if there is none.

    Raises
    ------
    ShardError
        If a folder cannot be opened as a set of shards at all.
    """
    paths = shards.paths if isinstance(shards, Shards) else list_paths(shards)
    return [fault for path in paths for fault in _faults(path, show_progress=show_progress)]


def _faults(path: AnyPath, *, show_progress: bool) -> list[str]:
    """Find what is wrong with one set."""
    attributes = read_root_attributes(path)
    found = attributes_checksum(attributes)
    if attributes.get("checksum") != found:
        # Nothing that the root says can be relied on, so nothing is measured against it.
        return [
            f"{path / 'zarr.json'}: the checksum of the attributes does not hold (expected "
            f"{attributes.get('checksum')}, found {found})"
        ]
    with damage_reported(path, field="zarr.json"):  # what it says need not make sense
        every = [s for of_split in Shards((path, attributes)).splits.values() for s in of_split]
        faults = [f"{path}: {fault}" for fault in _layout_faults(path, {s.name for s in every})]
        for shard in progress_bar(every, unit="shard", description="verifying", show=show_progress):
            faults += [f"{shard.path}: {fault}" for fault in _shard_faults(shard, attributes)]
        return faults + [f"{path}: {fault}" for fault in _total_faults(attributes, every)]


def _read(file: AnyPath) -> bytes | None:
    try:
        return read_if_there(file)
    except OSError:
        return None


def _layout_faults(path: AnyPath, names: set[str]) -> Iterator[str]:
    """Find groups of splits that are damaged, and shards that the root does not list."""
    for split in SPLITS:
        if _read(path / split / "zarr.json") != group_document({}):
            yield f"{split}/zarr.json: missing or damaged"
        folders = {file.partition("/")[0] for file in file_sizes(path / split) if "/" in file}
        for extra in sorted(folders):
            if f"{split}/{extra}" not in names:
                yield f"{split}/{extra}: a shard that the root does not list"


def _shard_faults(shard: Shard, attributes: dict[str, Any]) -> list[str]:
    """Check the files of a shard, and their values if the files are those that were written."""
    data = {name: _read(shard.path / file) for name, file in SHARD_FILES.items()}
    faults = list(_file_faults(shard.path, shard.entry, data))
    return faults or list(_value_faults(shard.entry, data, attributes))


def _file_faults(
    folder: AnyPath, entry: ShardEntry, data: dict[str, bytes | None]
) -> Iterator[str]:
    """Compare the files of a shard with what the root says of them."""
    for name, file in SHARD_FILES.items():
        expected, content = entry.files[name], data[name]
        if content is None:
            yield f"{file}: missing"
        elif (found := FileCheck.of(content)) != expected:
            yield (
                f"{file}: expected {expected.size} bytes with the checksum {expected.crc32:08x}, "
                f"found {found.size} with {found.crc32:08x}"
            )
    metadata = {array: Path(array, "zarr.json") for array in ARRAYS}
    for array, file in metadata.items():
        if fault := _metadata_fault(_read(folder / file), shard_array_metadata(entry, array)):
            yield f"{array}: {fault}"
    known = map(str, [*SHARD_FILES.values(), *metadata.values()])
    for extra in sorted(file_sizes(folder).keys() - known):
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


def _value_faults(
    entry: ShardEntry, data: dict[str, bytes | None], attributes: dict[str, Any]
) -> Iterator[str]:
    """Check the values in files whose checksums hold."""
    arrays = {}
    for name, spec in ARRAYS.items():
        try:
            arrays[name] = ArrayFile(
                partial(io.BytesIO, data[name] or b""),
                shape=entry.shape(name),
                dtype=spec.dtype,
                check=entry.files[name],
            )[:]
        except (ValueError, RuntimeError) as error:
            yield f"{name}: {error}"
            return
    offset = arrays["offset"]
    if offset[0] != 0 or offset[-1] != entry.voxels or np.any(np.diff(offset) <= 0):
        yield "offset: the offsets do not describe the voxels of particles that have some"
    found = {c.name: int(np.count_nonzero(arrays["label"] == c.label)) for c in CLASSES}
    if found != entry.counts:
        yield f"label: expected {in_words(entry.counts)}, found {in_words(found)}"
    pairs = np.unique(np.stack([arrays["pdg"], arrays["label"]], 1), axis=0)
    for pdg, label in pairs[(label_of_pdg(pairs[:, 0]) != pairs[:, 1]) | (pairs[:, 1] == OTHER)]:
        yield f"label: PDG code {pdg} has the label {label}"
    limits = np.max([geometry["voxels"] for geometry in attributes["geometry"]], axis=0)
    process_names = json.loads(data["zarr.json"] or b"")["attributes"]["process_names"]
    lengths = {"process": len(process_names), "source": len(attributes["sources"])}
    for name, length in {**dict(zip("xyz", limits, strict=True)), **lengths}.items():
        low, high = arrays[name].min(), arrays[name].max()
        if low < 0 or high >= length:
            yield f"{name}: expected indices below {length}, found {low} to {high}"
    if not np.isfinite(arrays["energy"]).all():
        yield "energy: not all finite"


def _total_faults(attributes: dict[str, Any], shards: list[Shard]) -> Iterator[str]:
    counts = {split: dict.fromkeys(CLASS_NAMES, 0) for split in SPLITS}
    for shard in shards:
        for species, count in shard.counts.items():
            counts[shard.split][species] += count
    tally = attributes["statistics"]
    if counts != tally["particles_written"]:
        expected = in_words(tally["particles_written"])
        yield f"statistics: expected {expected}, found {in_words(counts)} in the shards"
    written = sum(sum(row.values()) for row in counts.values())
    rejected = sum(tally["clusters_rejected"].values())
    if written + rejected != tally["clusters_seen"]:
        yield (
            f"statistics: {written} written and {rejected} rejected are not the "
            f"{tally['clusters_seen']} clusters seen"
        )
