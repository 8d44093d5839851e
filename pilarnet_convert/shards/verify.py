"""Reading every byte of a set of shards again, and listing all that is wrong with it."""

from __future__ import annotations

import io
import json
import os
import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np

from pilarnet_convert.console.progress import progress_bar
from pilarnet_convert.errors import in_words
from pilarnet_convert.shards.array import SHARD_FILES, SHARD_PATHS, ArrayFile
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
from pilarnet_convert.storage.byte_file import read_if_there
from pilarnet_convert.storage.remote import AnyPath, RemotePath

__all__ = ["verify"]

_ZARR_FILE: Final = re.compile(r"zarr\.json|c(\.\d+)*")


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
        # Nothing that the root says can be trusted, so nothing is compared with it.
        return [
            f"{path / 'zarr.json'}: the checksum of the attributes does not hold (expected "
            f"{attributes.get('checksum')}, found {found})"
        ]
    with damage_reported(path, field="zarr.json"):  # its values may be inconsistent
        every = [s for of_split in Shards((path, attributes)).splits.values() for s in of_split]
        faults = [f"{path}: {fault}" for fault in _layout_faults(path, attributes, every)]
        for shard in progress_bar(every, unit="shard", description="verifying", show=show_progress):
            faults += [f"{shard.path}: {fault}" for fault in _shard_faults(shard, attributes)]
        return faults + [f"{path}: {fault}" for fault in _total_faults(attributes, every)]


def _read(file: AnyPath) -> bytes | None:
    try:
        return read_if_there(file)
    except OSError:
        return None


def _layout_faults(path: AnyPath, attributes: dict[str, Any], shards: list[Shard]) -> Iterator[str]:
    """Find metadata of groups that are damaged, and what does not belong to the set."""
    if json.loads(_read(path / "zarr.json") or b"") != json.loads(group_document(attributes)):
        yield "zarr.json: more than the attributes that were written"
    for split in SPLITS:
        if _read(path / split / "zarr.json") != group_document({}):
            yield f"{split}/zarr.json: missing or damaged"
    names = {shard.name for shard in shards}
    known = {"zarr.json", *(f"{split}/zarr.json" for split in SPLITS)}
    known |= {f"{name}/{file}" for name in names for file in SHARD_PATHS}
    extra = sorted(entry for entry in _entries(path) - known if _may_be_read(entry))
    yield from dict.fromkeys(_added(entry, names) for entry in extra)


def _may_be_read(entry: str) -> bool:
    """Return whether an entry is in a split, or is called as the files of Zarr are."""
    return entry.split("/")[0] in SPLITS or _ZARR_FILE.fullmatch(Path(entry).name) is not None


def _added(entry: str, names: set[str]) -> str:
    """Say what an entry is a part of that does not belong to the set; `names` are its shards."""
    top, second, *_ = (*entry.split("/"), "")
    if top not in SPLITS:
        return f"{top}: it does not belong to the set"
    within = f"{top}/{second}"
    return f"{entry if within in names else within}: the root does not list it"


def _entries(folder: AnyPath) -> set[str]:
    """List the files, links and empty folders below a folder, without hidden ones in itself."""
    if isinstance(folder, RemotePath):
        return {name for name in folder.sizes() if name[0] != "."}
    found = []
    for parent, folders, files in os.walk(folder):
        if parent == str(folder):
            folders[:] = [name for name in folders if name[0] != "."]
            files = [name for name in files if name[0] != "."]
        links = [name for name in folders if Path(parent, name).is_symlink()]
        found += [Path(parent, name) for name in (*files, *links)]
        if not folders and not files:
            found.append(Path(parent))
    return {str(path.relative_to(folder)) for path in found}


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
    for array in ARRAYS:
        data_of = _read(folder / array / "zarr.json")
        if fault := _metadata_fault(data_of, shard_array_metadata(entry, array)):
            yield f"{array}: {fault}"


def _metadata_fault(data: bytes | None, expected: dict[str, Any]) -> str | None:
    """Compare the metadata of an array with those of the format."""
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
    """Check the values in files whose checksums are right."""
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
