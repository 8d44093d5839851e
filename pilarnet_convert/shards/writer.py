"""Writing a shard, and the root that makes a set of shards readable."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pilarnet_convert.shards.array import array_metadata, data_file, encode_array
from pilarnet_convert.shards.format import (
    ARRAYS,
    FORMAT_NAME,
    FORMAT_VERSION,
    FileCheck,
    ShardEntry,
    attributes_checksum,
)
from pilarnet_convert.species import CLASSES

__all__ = ["group_document", "root_attributes", "shard_array_metadata", "write_shard"]


def write_shard(
    folder: Path,
    arrays: Mapping[str, NDArray[Any]],
    *,
    name: str,
    process_names: Sequence[str],
) -> ShardEntry:
    """Write one shard into an empty folder, its metadata last.

    Parameters
    ----------
    folder : Path
        The folder.
    arrays : mapping of str to array
        Every array of the format (`ARRAYS`), for at least one particle.
    name : str
        The path of the shard in its set, such as ``"train/00012"``.
    process_names : sequence of str
        What the values of ``process`` index.

    Returns
    -------
    ShardEntry
        What the root says of it.
    """
    files: dict[str, FileCheck] = {}
    metadata: dict[str, Any] = {}
    label = np.asarray(arrays["label"])
    entry = ShardEntry(
        name=name,
        particles=len(label),
        voxels=len(arrays["energy"]),
        counts={c.name: int(np.count_nonzero(label == c.label)) for c in CLASSES},
        files=files,
    )
    for array, spec in ARRAYS.items():
        data = encode_array(np.asarray(arrays[array]).astype(spec.dtype, copy=False))
        metadata[array] = shard_array_metadata(entry, array)
        (folder / array).mkdir()
        data_file(folder / array, len(spec.dimensions)).write_bytes(data)
        (folder / array / "zarr.json").write_bytes(_json_bytes(metadata[array]))
        files[array] = FileCheck.of(data)
    attributes = {
        "split": entry.split,
        "num_particles": entry.particles,
        "num_voxels": entry.voxels,
        "counts": entry.counts,
        "process_names": list(process_names),
    }
    data = group_document(attributes, metadata)
    (folder / "zarr.json").write_bytes(data)
    files["zarr.json"] = FileCheck.of(data)
    return entry


def shard_array_metadata(entry: ShardEntry, array: str) -> dict[str, Any]:
    """Return the metadata document of an array of a shard."""
    spec = ARRAYS[array]
    return array_metadata(
        entry.shape(array),
        spec.dtype,
        dimension_names=spec.dimensions,
        attributes=dict(spec.attributes),
    )


def group_document(
    attributes: Mapping[str, Any], arrays: Mapping[str, Mapping[str, Any]] | None = None
) -> bytes:
    """Return the metadata of a Zarr v3 group, consolidated with those of its arrays if given."""
    document = {"zarr_format": 3, "node_type": "group", "attributes": attributes}
    if arrays is not None:
        consolidated = {"kind": "inline", "must_understand": False, "metadata": arrays}
        document |= {"consolidated_metadata": consolidated}
    return _json_bytes(document)


def root_attributes(attributes: Mapping[str, Any], shards: Sequence[ShardEntry]) -> dict[str, Any]:
    """Return the attributes of the root of a set of shards, with their checksum."""
    document = {
        "format": FORMAT_NAME,
        "version": FORMAT_VERSION,
        "classes": [
            {"label": c.label, "name": c.name, "pdg_codes": list(c.pdg_codes)} for c in CLASSES
        ],
        **attributes,
        "shards": [entry.to_json() for entry in shards],
    }
    return document | {"checksum": attributes_checksum(document)}


def _json_bytes(document: Mapping[str, Any]) -> bytes:
    return json.dumps(document).encode() + b"\n"
