"""Embeddings as a file: Zarr, Parquet, HDF5 or NumPy, told apart by the ending.

Features come in blocks of fixed size, so that a split larger than memory can be written, and so
that a file has the same layout whatever batches the features were computed in.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from pilarnet_convert.errors import MissingDependencyError, PilarnetError

__all__ = ["ENDINGS", "Table", "check_target", "write_table"]

#: Particles of a block of features: a Zarr chunk, a Parquet row group.
ROWS: Final = 4096

Block = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class Table:
    """What is written: a row a particle.

    Parameters
    ----------
    columns : mapping of str to array [N]
        Labels and provenance.
    width : int
        Length D of a particle's vector.
    blocks : iterable of float32 array [n, D]
        The vectors, in order; together N.
    attributes : mapping
        What the table is, as JSON values.
    """

    columns: Mapping[str, NDArray[Any]]
    width: int
    blocks: Iterable[Block]
    attributes: Mapping[str, Any]

    @property
    def num_rows(self) -> int:
        """Number of particles, N."""
        return len(self.columns["label"])

    def even_blocks(self) -> Iterator[tuple[slice, Block]]:
        """Cut the vectors anew into blocks of `ROWS`, each with the rows that it fills."""
        start, held = 0, np.empty((0, self.width), np.float32)
        for block in self.blocks:
            held = np.concatenate([held, block])
            while len(held) >= ROWS:
                yield slice(start, start + ROWS), held[:ROWS]
                start, held = start + ROWS, held[ROWS:]
        if len(held):
            yield slice(start, start + len(held)), held


def check_target(path: str | Path, *, overwrite: bool) -> Path:
    """Make sure that a table can be written, before anything is computed for it.

    Raises
    ------
    PilarnetError
        An ending that is not known, or something is there already.
    MissingDependencyError
        The package that writes it is not installed.
    """
    path = Path(path)
    if path.suffix not in ENDINGS:
        raise PilarnetError(
            "unknown kind of file",
            file=path,
            field="--out",
            expected="a name that ends in " + ", ".join(ENDINGS),
            found=path.suffix or "no ending",
        )
    if path.suffix == ".parquet":
        _pyarrow()
    if path.exists() and not overwrite:
        raise PilarnetError(
            "exists already", file=path, field="--out", advice="replace it with --overwrite"
        )
    return path


def write_table(path: Path, table: Table) -> None:
    """Write a table; it appears at `path` whole, by a rename, or not at all."""
    temporary = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        ENDINGS[path.suffix](temporary, table)
        if path.is_dir():  # a rename replaces a file, but no folder that holds something
            shutil.rmtree(path)
        os.replace(temporary, path)
    finally:
        if temporary.is_dir():
            shutil.rmtree(temporary)
        temporary.unlink(missing_ok=True)


def _write_zarr(path: Path, table: Table) -> None:
    import zarr

    group = zarr.create_group(path, zarr_format=3, attributes=dict(table.attributes))
    for name, values in table.columns.items():
        group.create_array(name, data=values, chunks=(min(len(values), 16 * ROWS),))
    features = group.create_array(
        "features",
        shape=(table.num_rows, table.width),
        dtype="float32",
        chunks=(min(table.num_rows, ROWS), table.width),
    )
    for rows, block in table.even_blocks():
        features[rows] = block


def _write_hdf5(path: Path, table: Table) -> None:
    import h5py

    with h5py.File(path, "w") as file:
        file.attrs["attributes"] = json.dumps(table.attributes)
        for name, values in table.columns.items():
            file[name] = values
        features = file.create_dataset(
            "features",
            shape=(table.num_rows, table.width),
            dtype="float32",
            chunks=(min(table.num_rows, ROWS), table.width),
        )
        for rows, block in table.even_blocks():
            features[rows] = block


def _write_npz(path: Path, table: Table) -> None:
    features = np.empty((table.num_rows, table.width), np.float32)
    for rows, block in table.even_blocks():
        features[rows] = block
    attributes = np.array(json.dumps(table.attributes))
    np.savez(path, features=features, attributes=attributes, **table.columns)  # type: ignore[arg-type]


def _write_parquet(path: Path, table: Table) -> None:
    arrow, parquet = _pyarrow()
    schema = arrow.schema(
        [
            *((name, arrow.from_numpy_dtype(v.dtype)) for name, v in table.columns.items()),
            ("features", arrow.list_(arrow.float32(), table.width)),
        ],
        metadata={"attributes": json.dumps(table.attributes)},
    )
    with parquet.ParquetWriter(path, schema) as writer:
        for rows, block in table.even_blocks():
            arrays = [arrow.array(values[rows]) for values in table.columns.values()]
            arrays.append(arrow.FixedSizeListArray.from_arrays(block.ravel(), table.width))
            writer.write_table(arrow.Table.from_arrays(arrays, schema=schema))


def _pyarrow() -> tuple[Any, Any]:
    try:
        # Not a statement: the package ships no types.
        return import_module("pyarrow"), import_module("pyarrow.parquet")
    except ImportError as error:
        raise MissingDependencyError(
            "Parquet files need pyarrow",
            field="--out",
            advice="pip install 'pilarnet-clr[eval]', or write .zarr, .h5 or .npz",
        ) from error


#: What writes a table, by the ending of its name.
ENDINGS: Final[Mapping[str, Callable[[Path, Table], None]]] = MappingProxyType(
    {".zarr": _write_zarr, ".parquet": _write_parquet, ".npz": _write_npz, ".h5": _write_hdf5}
)
