"""Sets of shards and single arrays written from arrays at hand."""

from __future__ import annotations

import json
import shutil
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pilarnet_convert.output.folder import OutputFolder
from pilarnet_convert.shards.array import array_metadata, data_file, encode_array
from pilarnet_convert.shards.format import ARRAYS, FileCheck
from pilarnet_convert.shards.reader import open_shards
from pilarnet_convert.shards.writer import root_attributes, write_shard

__all__ = ["check_of", "rewrite", "write_array", "write_set"]


def write_set(path: Path, shards: Mapping[str, Mapping[str, NDArray[Any]]]) -> Path:
    """Write a set of shards by name; arrays of particles that are not given are zero."""
    entries = []
    for name, arrays in shards.items():
        count = len(arrays["label"])
        zeros = {n: np.zeros((count, *s.row_shape), s.dtype) for n, s in ARRAYS.items()}
        (path / name).mkdir(parents=True)
        entries.append(
            write_shard(path / name, zeros | dict(arrays), name=name, process_names=["primary"])
        )
    _write_root(path, root_attributes({}, entries))
    return path


def rewrite(path: Path, change: Callable[[dict[str, NDArray[Any]]], None]) -> None:
    """Change arrays of the first shard to train on, and all checksums with them."""
    every = open_shards(path)
    shard = every.splits["train"][0]
    arrays, names = shard.read(), shard.process_names
    change(arrays)
    shutil.rmtree(shard.path)
    shard.path.mkdir()
    written = write_shard(shard.path, arrays, name=shard.name, process_names=names)
    entries = [written if s is shard else s.entry for of in every.splits.values() for s in of]
    kept = {k: v for k, v in every.attributes.items() if k not in ("shards", "checksum")}
    _write_root(path, root_attributes(kept, entries))


def _write_root(path: Path, attributes: Mapping[str, Any]) -> None:
    folder = OutputFolder(path)
    folder.begin({})
    folder.write_root(attributes)
    folder.remove_working()


def write_array(path: Path, values: NDArray[Any], *, attributes: dict[str, Any]) -> None:
    """Write one array and its metadata into a new folder."""
    path.mkdir(parents=True)
    dimensions = ["row", *(f"axis{i}" for i in range(1, values.ndim))]
    metadata = array_metadata(
        values.shape, values.dtype.name, dimension_names=dimensions, attributes=attributes
    )
    data_file(path, values.ndim).write_bytes(encode_array(values))
    (path / "zarr.json").write_text(json.dumps(metadata))


def check_of(path: Path) -> FileCheck:
    """Return size and CRC-32 of a file."""
    data = path.read_bytes()
    return FileCheck(len(data), zlib.crc32(data))
