"""Writing shards: each whole or not at all, and the root that makes a set of them readable."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import google_crc32c
import numpy as np
from numpy.typing import NDArray

from pilarnet_convert.shards.array import write_array, write_group
from pilarnet_convert.shards.format import (
    FORMAT_NAME,
    FORMAT_VERSION,
    PARTICLE_ARRAYS,
    SPLITS,
    VOXEL_ARRAYS,
    ArraySpec,
)
from pilarnet_convert.species import CLASSES

__all__ = ["array_attributes", "root_checksum", "shard_checksum", "write_root", "write_shard"]


def write_shard(
    target: Path,
    columns: Mapping[str, NDArray[Any]],
    *,
    process_names: Sequence[str],
    scratch: Path,
) -> None:
    """Write one shard; it appears at `target` whole, by a rename, or not at all.

    Parameters
    ----------
    target : Path
        The folder of the shard, ``.../train/00000``; an unfinished one is never there.
    columns : mapping of str to array
        Every array of the format (`VOXEL_ARRAYS` and `PARTICLE_ARRAYS`), of at least one particle.
    process_names : sequence of str
        What the values of ``process`` index.
    scratch : Path
        A folder on the same file system in which to build the shard.
    """
    building = scratch / f"{target.parent.name}-{target.name}"
    shutil.rmtree(building, ignore_errors=True)
    building.mkdir(parents=True)
    label = np.asarray(columns["label"])
    write_group(
        building,
        {
            "split": target.parent.name,
            "num_particles": len(label),
            "num_voxels": len(columns["energy"]),
            "counts": {c.name: int(np.count_nonzero(label == c.label)) for c in CLASSES},
            "process_names": list(process_names),
        },
    )
    for name, spec in {**VOXEL_ARRAYS, **PARTICLE_ARRAYS}.items():
        values = np.asarray(columns[name]).astype(spec.dtype, copy=False)
        write_array(building / name, values, attributes=array_attributes(spec))
    target.parent.mkdir(parents=True, exist_ok=True)
    os.replace(building, target)


def array_attributes(spec: ArraySpec) -> dict[str, Any]:
    """Give the attributes of an array: what it means, and its unit if it has one."""
    return {"meaning": spec.meaning} | ({"unit": spec.unit} if spec.unit else {})


def shard_checksum(path: Path) -> str:
    """Give the CRC-32C of the metadata of a shard, in hexadecimal."""
    return _crc32c((path / "zarr.json").read_bytes())


def root_checksum(attributes: Mapping[str, Any]) -> str:
    """Give the CRC-32C of the root's attributes but for this one, as compact sorted JSON."""
    others = {name: value for name, value in attributes.items() if name != "checksum"}
    return _crc32c(json.dumps(others, sort_keys=True, separators=(",", ":")).encode())


def _crc32c(data: bytes) -> str:
    return f"{google_crc32c.value(data):08x}"


def write_root(path: Path, attributes: Mapping[str, Any], *, scratch: Path | None = None) -> None:
    """Write the root group and the groups of the splits; this makes the set readable.

    The root's metadata are replaced by a rename, after everything they speak of is in place.
    """
    for split in SPLITS:
        (path / split).mkdir(exist_ok=True)
        write_group(path / split, {})
    staging = (scratch or path) / ".root"
    staging.mkdir(parents=True, exist_ok=True)
    document = {
        "format": FORMAT_NAME,
        "version": FORMAT_VERSION,
        "classes": [
            {"label": c.label, "name": c.name, "pdg_codes": list(c.pdg_codes)} for c in CLASSES
        ],
        **attributes,
        "shard_checksums": [shard_checksum(path / name) for name in attributes["shards"]],
    }
    write_group(staging, {**document, "checksum": root_checksum(document)})
    os.replace(staging / "zarr.json", path / "zarr.json")
    staging.rmdir()
