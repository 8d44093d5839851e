"""HDF5 files through h5py: opened, told what is wrong with them, read a block of rows at once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import h5py
import numpy as np
from numpy.typing import NDArray

from pilarnet_convert.errors import InputError, MissingDependencyError, how_to_install
from pilarnet_convert.ragged import Ragged

__all__ = ["open_hdf5", "read_ragged", "read_rows", "reading"]

_FETCH_AGAIN: Final = "fetch or copy the file again"
#: Numbers below are filters that every HDF5 has; blosc and its kin are registered above.
_FIRST_REGISTERED_FILTER: Final = 256


def open_hdf5(path: Path | str) -> h5py.File:
    """Open a file for reading.

    Raises
    ------
    InputError
        If it is missing, no HDF5 file, or cut short.
    """
    try:
        return h5py.File(path, "r")
    except OSError as error:
        text = " ".join(str(error).split())
        truncated = "truncated" in text
        raise InputError(
            "truncated" if truncated else "cannot be read as an HDF5 file",
            file=path,
            found=text[:160],
            advice=_FETCH_AGAIN,
        ) from error


@contextmanager
def reading(
    path: Path | str, dataset: str | None = None, *, entry: int | None = None
) -> Iterator[None]:
    """Turn what h5py raises on bytes that make no sense into an `InputError`."""
    try:
        yield
    except (OSError, RuntimeError, KeyError, TypeError, ValueError) as error:
        text = " ".join(str(error).split())
        raise InputError(
            "the file is damaged here",
            file=path,
            entry=entry,
            field=dataset,
            found=f"{type(error).__name__}: {text[:160]}",
            advice=_FETCH_AGAIN,
        ) from error


def read_rows(file: h5py.File, name: str, start: int, stop: int, *, entry: int) -> NDArray[Any]:
    """Read the rows ``start`` to ``stop`` of a dataset; `entry` is the event, for messages."""
    with reading(file.filename, name, entry=entry):
        dataset = file[name]
        _need_filters(dataset)
        rows: NDArray[Any] = dataset[start:stop]
        if len(rows) != stop - start:
            raise ValueError(f"{len(dataset)} rows, where row {stop - 1} is needed")
        return rows


def read_ragged(file: h5py.File, name: str, start: int, stop: int) -> Ragged:
    """Read the rows ``start`` to ``stop`` of a dataset whose rows are arrays of any length."""
    rows = read_rows(file, name, start, stop, entry=start)
    if rows.dtype != object:  # all rows of one length, stored as a table
        return Ragged(np.full(len(rows), rows[0].size if len(rows) else 0), rows.reshape(-1))
    counts = np.fromiter((len(row) for row in rows), np.int64, len(rows))
    base = h5py.check_vlen_dtype(file[name].dtype)
    return Ragged(counts, np.concatenate(rows) if len(rows) else np.empty(0, base))


def _need_filters(dataset: h5py.Dataset) -> None:
    """Load ``hdf5plugin`` where the dataset is compressed by a filter that HDF5 itself lacks."""
    plan = dataset.id.get_create_plist()
    filters = [plan.get_filter(number) for number in range(plan.get_nfilters())]
    for code, *_, label in filters:
        if code < _FIRST_REGISTERED_FILTER or h5py.h5z.filter_avail(code):
            continue
        try:
            import hdf5plugin  # noqa: F401 - importing it registers the filters
        except ImportError:
            raise MissingDependencyError(
                f"the file is compressed with {label.decode() or f'filter {code}'}",
                file=dataset.file.filename,
                field=dataset.name,
                advice=f"{how_to_install('formats')}, which brings hdf5plugin",
            ) from None
