"""HDF5 files through h5py: opening them, reading blocks of rows, and errors in one line."""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

import h5py
import numpy as np
from numpy.typing import NDArray

from pilarnet_convert.errors import (
    FETCH_AGAIN,
    InputError,
    MissingDependencyError,
    RemoteError,
    brief,
    how_to_install,
    while_reading,
)
from pilarnet_convert.ragged import Ragged
from pilarnet_convert.storage.remote import AnyPath, RemotePath, as_any_path
from pilarnet_convert.storage.stream import RemoteStream

__all__ = ["damage_reported", "even_borders", "open_hdf5", "read_ragged", "read_rows"]

#: Events between two places where a task may end.
_BLOCK_EVENTS: Final = 64
#: Filters with lower numbers are part of HDF5; blosc and others are registered from here on.
_FIRST_REGISTERED_FILTER: Final = 256
#: Held while garbage collection is switched on or off.
_switching: Final = threading.Lock()
#: For each open remote file, whether garbage collection was enabled before it was opened.
_was_enabled: Final[list[bool]] = []


@contextmanager
def open_hdf5(path: AnyPath | str) -> Iterator[h5py.File]:
    """Open a file for reading, and close it at the end.

    Raises
    ------
    InputError
        If it is missing, truncated, or not an HDF5 file.
    ConnectionFault
        If the connection to its store fails for good.
    """
    where = as_any_path(path)
    with ExitStack() as stack:
        try:
            stream: Path | RemoteStream
            if isinstance(where, RemotePath):
                stack.enter_context(_no_collection())
                stream = stack.enter_context(RemoteStream(where))
            else:
                stream = where
            file = stack.enter_context(h5py.File(stream, "r"))
        except RemoteError as error:
            raise while_reading(error) from error
        except OSError as error:
            truncated = "truncated" in str(error)
            written = isinstance(error, BlockingIOError) or "open for write" in str(error)
            raise InputError(
                "truncated" if truncated else "cannot be read as an HDF5 file",
                file=path,
                found=brief(error),
                advice="wait until it is written" if written else FETCH_AGAIN,
            ) from error
        yield file


@contextmanager
def _no_collection() -> Iterator[None]:
    """Switch off the collection of cyclic garbage, in all threads, until the end of the block.

    h5py holds its lock while it waits for the bytes of a stream. If the thread that fetches them
    happened to collect an object of h5py, it would wait for that lock forever.
    """
    with _switching:
        _was_enabled.append(gc.isenabled())
        gc.disable()
    try:
        yield
    finally:
        with _switching:
            if _was_enabled.pop():
                gc.enable()


@contextmanager
def damage_reported(
    path: AnyPath | str, dataset: str | None = None, *, entry: int | None = None
) -> Iterator[None]:
    """Turn what h5py and numpy raise on damaged files into an `InputError`."""
    try:
        yield
    except RemoteError as error:
        if error.details["entry"] is not None:
            raise
        raise while_reading(error, entry=entry) from error
    except (OSError, RuntimeError, LookupError, TypeError, ValueError, AttributeError) as error:
        raise InputError(
            "the file is damaged here",
            file=path,
            entry=entry,
            field=dataset,
            found=brief(error),
            advice=FETCH_AGAIN,
        ) from error


def read_rows(file: h5py.File, name: str, start: int, stop: int, *, entry: int) -> NDArray[Any]:
    """Read the rows ``start`` to ``stop``, end excluded, of a dataset.

    Parameters
    ----------
    entry : int
        The event that they belong to, for messages.

    Returns
    -------
    array [stop - start, ...]
        Of the dtype of the dataset.
    """
    with damage_reported(file.filename, name, entry=entry):
        dataset = file[name]
        _need_filters(dataset)
        rows: NDArray[Any] = dataset[start:stop]
        if len(rows) != stop - start:
            raise ValueError(f"{len(dataset)} rows, where row {stop - 1} is needed")
        return rows


def read_ragged(file: h5py.File, name: str, start: int, stop: int) -> Ragged:
    """Read the rows ``start`` to ``stop``, end excluded, of a dataset of arrays of any length."""
    rows = read_rows(file, name, start, stop, entry=start)
    dtype = np.dtype(h5py.check_vlen_dtype(file[name].dtype) or rows.dtype)
    if dtype.kind not in "iuf":
        raise InputError(
            "not rows of numbers",
            file=file.filename,
            field=name,
            found=f"rows of the type {dtype}",
            advice=FETCH_AGAIN,
        )
    if rows.dtype != object:  # all rows of one length, stored as a table
        return Ragged(np.full(len(rows), rows[0].size if len(rows) else 0), rows.reshape(-1))
    counts = np.fromiter((len(row) for row in rows), np.int64, len(rows))
    # h5py returns rows in the byte order of the file but with a native dtype.
    return Ragged(counts, np.concatenate([np.empty(0, dtype), *(row.view(dtype) for row in rows)]))


def even_borders(num_events: int, num_bytes: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the `borders` of a `Source` as if all events had the same size.

    Returns
    -------
    entries, num_bytes : int64 arrays [number of borders]
        Every 64th entry and the end, and the bytes before each.
    """
    events = np.append(np.arange(0, num_events, _BLOCK_EVENTS), num_events)
    return events, events * num_bytes // num_events


def _need_filters(dataset: h5py.Dataset) -> None:
    """Load ``hdf5plugin`` if the dataset is compressed by a filter that HDF5 itself lacks."""
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
