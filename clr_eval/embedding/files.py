"""Embeddings as a Zarr, Parquet, HDF5 or NumPy file.

Features are written in blocks of fixed size: the layout of a file does not depend on the batches
in which they were computed, and as ``.zarr`` or ``.parquet`` a split may be larger than memory.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, BinaryIO, Final

import numpy as np
from numpy.typing import NDArray

from pilarnet_convert.errors import MissingDependencyError, PilarnetError, how_to_install
from pilarnet_convert.files import (
    folder_written_beside,
    read_json_object,
    replaceable_folder,
    written_beside,
)
from pilarnet_convert.options import OptionError, check_parent
from pilarnet_convert.storage.remote import as_path

__all__ = ["EmbeddingTable", "check_target", "write_table"]

#: Particles of a block of features: a Zarr chunk, a Parquet row group.
ROWS: Final = 4096
#: The package that writes a file, by its ending.
_PACKAGES: Final = {".zarr": "zarr", ".parquet": "pyarrow", ".npz": "numpy", ".h5": "h5py"}
#: Attributes that every table has, and no other Zarr group.
_MARKS: Final = {"checkpoint_sha256", "layer"}

Block = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class EmbeddingTable:
    """The contents of a file: a row for each particle.

    Parameters
    ----------
    columns : mapping of str to array [N]
        Labels and provenance.
    width : int
        Number of features, D.
    blocks : iterable of float32 array [n, D]
        The features, in order; together N rows.
    attributes : mapping
        A description of the table, as JSON values.
    """

    columns: Mapping[str, NDArray[Any]]
    width: int
    blocks: Iterable[Block]
    attributes: Mapping[str, Any]

    @property
    def num_rows(self) -> int:
        """Number of particles, N."""
        return len(self.columns["label"])

    @property
    def layout(self) -> dict[str, Any]:
        """Shape, dtype and chunks of the array of features."""
        return {
            "shape": (self.num_rows, self.width),
            "dtype": "float32",
            "chunks": (min(self.num_rows, ROWS), self.width),
        }

    def even_blocks(self) -> Iterator[tuple[slice, Block]]:
        """Cut the features into blocks of `ROWS` rows; yield the rows and the values of each."""
        start, held = 0, np.empty((0, self.width), np.float32)
        for block in self.blocks:
            held = np.concatenate([held, block])
            while len(held) >= ROWS:
                yield slice(start, start + ROWS), held[:ROWS]
                start, held = start + ROWS, held[ROWS:]
        if len(held):
            yield slice(start, start + len(held)), held


def check_target(path: str | Path, *, overwrite: bool) -> Path:
    """Check that a table can be written, before anything is computed for it; make its folder.

    A `PilarnetError` says that the ending is unknown, the folder cannot be made, the file exists or
    is a folder of something else, or a package is missing.
    """
    path = as_path(path)
    if path.suffix not in _PACKAGES:
        raise OptionError(
            "unknown kind of file",
            file=path,
            field="--out",
            expected="a name that ends in " + ", ".join(_PACKAGES),
            found=path.suffix or "no ending",
        )
    package = _PACKAGES[path.suffix]
    if find_spec(package) is None:
        raise MissingDependencyError(
            f"{path.suffix} files are written by {package}, which is not installed",
            field="--out",
            advice=f"{how_to_install('eval')}; or write .zarr or .npz",
        )
    if path.suffix == ".zarr":
        replaceable_folder(path, is_ours=_is_table, overwrite=overwrite)
    elif path.is_dir():
        raise PilarnetError(
            "a folder, not a file", file=path, field="--out", advice="choose another --out"
        )
    elif path.exists() and not overwrite:
        raise PilarnetError(
            "exists already", file=path, field="--out", advice="replace it with --overwrite"
        )
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
    check_parent(path, option="--out")
    return path


def write_table(path: Path, table: EmbeddingTable) -> None:
    """Write a table; it appears at `path` complete, by a rename, or not at all."""
    if path.suffix == ".zarr":
        with folder_written_beside(path, is_ours=_is_table, overwrite=True) as folder:
            _write_zarr(folder, table)
    else:
        with written_beside(path) as stream:
            _WRITERS[path.suffix](stream, table)


def _is_table(folder: Path) -> bool:
    """Return whether a folder is a table of embeddings, not another Zarr group."""
    attributes = read_json_object(folder / "zarr.json").get("attributes")
    return isinstance(attributes, dict) and attributes.keys() >= _MARKS


def _write_zarr(folder: Path, table: EmbeddingTable) -> None:
    import zarr

    # Through memory: after an error, zarr's threads would go on writing to the folder.
    files: dict[str, Any] = {}
    store = zarr.storage.MemoryStore(files)
    group = zarr.create_group(store, zarr_format=3, attributes=dict(table.attributes))
    for name, values in table.columns.items():
        group.create_array(name, data=values, chunks=(min(len(values), 16 * ROWS),))
    features = group.create_array("features", **table.layout)
    _move(files, folder)
    for rows, block in table.even_blocks():
        features[rows] = block
        _move(files, folder)


def _move(files: dict[str, Any], folder: Path) -> None:
    """Write the files of a zarr store in memory to a folder, and drop them."""
    for name in list(files):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(files.pop(name).to_bytes())


def _write_hdf5(stream: BinaryIO, table: EmbeddingTable) -> None:
    import h5py

    with h5py.File.in_memory() as file:  # HDF5 crashes on a full disk
        file.attrs["attributes"] = json.dumps(table.attributes)
        for name, values in table.columns.items():
            file[name] = values
        _fill(file.create_dataset("features", **table.layout), table)
        file.flush()
        stream.write(file.id.get_file_image())


def _write_npz(stream: BinaryIO, table: EmbeddingTable) -> None:
    features = np.empty((table.num_rows, table.width), np.float32)
    _fill(features, table)
    attributes = np.array(json.dumps(table.attributes))
    np.savez(stream, features=features, attributes=attributes, **table.columns)  # type: ignore[arg-type]


def _fill(features: Any, table: EmbeddingTable) -> None:
    for rows, block in table.even_blocks():
        features[rows] = block


def _write_parquet(stream: BinaryIO, table: EmbeddingTable) -> None:
    import pyarrow
    from pyarrow import parquet

    schema = pyarrow.schema(
        [
            *((name, pyarrow.from_numpy_dtype(v.dtype)) for name, v in table.columns.items()),
            ("features", pyarrow.list_(pyarrow.float32(), table.width)),
        ],
        metadata={"attributes": json.dumps(table.attributes)},
    )
    with parquet.ParquetWriter(stream, schema) as writer:
        for rows, block in table.even_blocks():
            arrays = [pyarrow.array(values[rows]) for values in table.columns.values()]
            arrays.append(pyarrow.FixedSizeListArray.from_arrays(block.ravel(), table.width))
            writer.write_table(pyarrow.Table.from_arrays(arrays, schema=schema))


_WRITERS: Final[Mapping[str, Callable[[BinaryIO, EmbeddingTable], None]]] = {
    ".parquet": _write_parquet,
    ".npz": _write_npz,
    ".h5": _write_hdf5,
}
