"""The ragged columns of a file of PILArNet-M: HDF5 through h5py, parquet through pyarrow."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from pilarnet_convert.errors import (
    FETCH_AGAIN,
    InputError,
    MissingDependencyError,
    PilarnetError,
    RemoteError,
    brief,
    how_to_install,
    while_reading,
)
from pilarnet_convert.ragged import Ragged, offsets_of, row_of
from pilarnet_convert.readers.hdf5.file import damage_reported, even_borders, open_hdf5, read_ragged
from pilarnet_convert.storage.byte_file import read_head
from pilarnet_convert.storage.remote import AnyPath, RemotePath, as_any_path
from pilarnet_convert.storage.stream import RemoteStream

__all__ = ["Table", "open_table"]

_PARQUET: Final = b"PAR1"


class Table(Protocol):
    """Columns with one row per event."""

    names: tuple[str, ...]
    lengths: dict[str, int]

    def read(self, name: str, start: int, stop: int) -> Ragged:
        """Read the events ``start`` to ``stop``, end excluded, of a column of arrays.

        Raises
        ------
        InputError
            If the file is damaged.
        """

    def numbers(self, name: str, start: int, stop: int) -> NDArray[Any]:
        """Read a column with one number per event."""

    def borders(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return where a task may begin or end: two int64 arrays, events and bytes before each."""

    def close(self) -> None:
        """Close the file."""


def open_table(path: str | AnyPath) -> Table:
    """Open a file; parquet is recognised by its first bytes."""
    where = as_any_path(path)
    head, _ = read_head(where, len(_PARQUET))
    return ParquetTable(where) if head == _PARQUET else Hdf5Table(where)


class Hdf5Table:
    """The datasets of an HDF5 file."""

    def __init__(self, path: AnyPath) -> None:
        with ExitStack() as stack:
            self._file = stack.enter_context(open_hdf5(path))
            with damage_reported(path):
                self.lengths = {n: len(d) for n, d in self._file.items() if getattr(d, "shape", ())}
                self.names = tuple(self.lengths)
            self._open = stack.pop_all()

    def read(self, name: str, start: int, stop: int) -> Ragged:
        """Read a column of arrays."""
        return read_ragged(self._file, name, start, stop)

    def numbers(self, name: str, start: int, stop: int) -> NDArray[Any]:
        """Read a column of numbers."""
        return read_ragged(self._file, name, start, stop).values

    def borders(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return borders as if all events had the same size."""
        return even_borders(self.lengths["point"], self._file.id.get_filesize())

    def close(self) -> None:
        """Close the file."""
        self._open.close()


class ParquetTable:
    """The list columns of a parquet file."""

    def __init__(self, path: AnyPath) -> None:
        try:
            import pyarrow as pa
            import pyarrow.compute as pc
            import pyarrow.parquet as pq
        except ImportError:
            raise MissingDependencyError(
                "pyarrow, which reads parquet, is not installed",
                file=path,
                advice=how_to_install("formats"),
            ) from None
        self._path = str(path)
        self._errors = (RemoteError, pa.ArrowException, OSError, ValueError)
        self._list_lengths = pc.list_value_length
        try:
            stream = RemoteStream(path) if isinstance(path, RemotePath) else path
            self._file = pq.ParquetFile(stream)
        except self._errors as error:
            raise self._damaged(error) from error
        self.names = tuple(self._file.schema_arrow.names)
        self.lengths = dict.fromkeys(self.names, self._file.metadata.num_rows)
        groups = (self._file.metadata.row_group(i) for i in range(self._file.num_row_groups))
        sizes = np.array([(group.num_rows, group.total_byte_size) for group in groups], np.int64)
        rows, num_bytes = sizes.reshape(-1, 2).T
        self._borders = offsets_of(rows), offsets_of(num_bytes)

    def read(self, name: str, start: int, stop: int) -> Ragged:
        """Read a column of arrays."""
        column = self._column(name, start, stop)
        try:
            values = column.flatten()
            if column.null_count or values.null_count:
                raise ValueError("a value is missing")
            counts = self._list_lengths(column).to_numpy().astype(np.int64)
            return Ragged(counts, values.to_numpy())
        except (AttributeError, *self._errors) as error:
            raise self._damaged(error, name=name, entry=start) from error

    def numbers(self, name: str, start: int, stop: int) -> NDArray[Any]:
        """Read a column of numbers."""
        values: NDArray[Any] = self._column(name, start, stop).to_numpy(zero_copy_only=False)
        return values

    def _column(self, name: str, start: int, stop: int) -> Any:
        """Read the row groups that hold the events, and return the events only."""
        first = row_of(self._borders[0], start)
        last = int(np.searchsorted(self._borders[0], stop))
        try:
            table = self._file.read_row_groups(list(range(first, last)), columns=[name])
            part = table.column(0).slice(start - int(self._borders[0][first]), stop - start)
            return part.combine_chunks()
        except self._errors as error:
            raise self._damaged(error, name=name, entry=start) from error

    def borders(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the borders of the row groups, which are read as a whole."""
        return self._borders

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _damaged(
        self, error: Exception, *, name: str | None = None, entry: int | None = None
    ) -> PilarnetError:
        if isinstance(error, RemoteError):
            return while_reading(error, entry=entry)
        return InputError(
            "the file is damaged here" if name else "cannot be read as a parquet file",
            file=self._path,
            entry=entry,
            field=name,
            found=brief(error),
            advice=FETCH_AGAIN,
        )
