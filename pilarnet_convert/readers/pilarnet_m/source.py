"""Files of PILArNet-M as sources: their revision, and reading ranges of their events."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar, Final

import numpy as np
from numpy.typing import NDArray

from pilarnet_convert.errors import InputError, listed
from pilarnet_convert.readers.events import Events, Reader, Source
from pilarnet_convert.readers.pilarnet_m.decode import Block, decode, join_events
from pilarnet_convert.readers.pilarnet_m.tables import Table, open_table
from pilarnet_convert.readers.products import common_length
from pilarnet_convert.storage.identity import file_record, unchanged
from pilarnet_convert.storage.remote import AnyPath

__all__ = ["PilarnetMReader", "PilarnetMSource", "index_pilarnet_m"]

_REQUIRED: Final = ("point", "cluster", "cluster_extra")
_MORE: Final = "cluster_extra_2"
#: Revisions by the columns of cluster_extra.
_REVISIONS: Final = {5: "v2", 6: "v3", 9: "v3, packed 9", 11: "v3, packed 11"}
#: Events whose columns show the revision; all are read if these are empty.
_LOOKED_AT: Final = 16


@dataclass(frozen=True, kw_only=True)
class PilarnetMSource(Source):
    """A file of PILArNet-M.

    Attributes
    ----------
    columns : tuple of str
        The columns that are read.
    extra_width : int
        The number of values of a cluster in ``cluster_extra``.
    """

    units_are_known: ClassVar[bool] = True

    columns: tuple[str, ...]
    extra_width: int

    def open(self) -> PilarnetMReader:
        """Open its file."""
        return PilarnetMReader(self)


def index_pilarnet_m(name: str, path: AnyPath) -> PilarnetMSource:
    """Index a file of PILArNet-M.

    Raises
    ------
    InputError
        If it cannot be read, is of revision v1 or another layout, or has no events.
    """
    table = open_table(path)
    try:
        missing = [column for column in _REQUIRED if column not in table.names]
        if missing:
            raise _not_pilarnet_m(path, table.names, missing[0])
        columns = (*_REQUIRED, *((_MORE,) if _MORE in table.names else ()))
        lengths = {column: table.lengths[column] for column in columns}
        num_entries = common_length(lengths, file=path)
        width = _extra_width(table, path, num_entries)
        entries, num_bytes = table.borders()
    finally:
        table.close()
    split = _MORE in columns and width == 6
    return PilarnetMSource(
        name=name,
        files=(file_record(path),),
        num_entries=num_entries,
        path=str(path),
        reader="pilarnet-m",
        schema=f"PILArNet-M {'v3_extra' if split else _REVISIONS[width]}",
        columns=columns if split else _REQUIRED,
        extra_width=width,
        # Of the 8 numbers of a voxel 4 are used, which take about half their space in a shard.
        borders=(entries, num_bytes // 4),
    )


def _not_pilarnet_m(path: AnyPath, names: Sequence[str], missing: str) -> InputError:
    """Describe what a file lacks; v1 has points and clusters only."""
    if missing == "cluster_extra":
        return InputError(
            "PILArNet-M of revision v1, which does not say what its particles are",
            file=path,
            advice="take revision v2 or v3",
        )
    return InputError(
        "not a file of PILArNet-M",
        file=path,
        expected=", ".join(_REQUIRED),
        found=listed(names),
        advice="name files of PILArNet-M, or leave --reader out",
    )


def _extra_width(table: Table, path: AnyPath, num_events: int) -> int:
    """Return the number of values of a cluster in ``cluster_extra``, from the first clusters."""
    for stop in (min(num_events, _LOOKED_AT), num_events):
        num_clusters = int(table.read("cluster", 0, stop).counts.sum()) // 6
        num_values = int(table.read("cluster_extra", 0, stop).counts.sum())
        if num_clusters:
            break
    width, rest = divmod(num_values, max(num_clusters, 1))
    if rest or (width not in _REVISIONS and num_values):
        raise InputError(
            "an unknown revision of PILArNet-M",
            file=path,
            field="cluster_extra",
            expected=f"{', '.join(map(str, _REVISIONS))} numbers per cluster",
            found=f"{num_values} for {num_clusters} clusters",
        )
    return width or min(_REVISIONS)


class PilarnetMReader(Reader):
    """Reads ranges of the events of a file.

    Parameters
    ----------
    source : PilarnetMSource
        From `index_pilarnet_m`.
    """

    def __init__(self, source: PilarnetMSource) -> None:
        self.source = source
        self._table = open_table(source.path)

    def __exit__(self, *_: object) -> None:
        self._table.close()

    def read(self, start: int, stop: int) -> Events:
        """Read the events ``start`` to ``stop``, end excluded.

        They are read block by block, because reused memory is twice as fast as new memory.

        Raises
        ------
        InputError
            If the bytes are damaged or do not make sense together, or a remote file changed.
        """
        inner = [border for border in self.source.borders[0].tolist() if start < border < stop]
        with unchanged(self.source.path, self.source.files[0]):
            return join_events([self._block(*of) for of in pairwise([start, *inner, stop])])

    def _block(self, start: int, stop: int) -> Events:
        return decode(
            Block(
                file=self.source.path,
                first_entry=start,
                columns={n: self._table.read(n, start, stop) for n in self.source.columns},
                extra_width=self.source.extra_width,
                event=self._event_numbers(start, stop),
            )
        )

    def numbers(self, start: int, stop: int) -> NDArray[np.int64]:
        """Read the numbers of events, see `Reader`; there are no runs."""
        event = self._event_numbers(start, stop)
        return np.stack([np.full_like(event, -1), np.full_like(event, -1), event], axis=1)

    def _event_numbers(self, start: int, stop: int) -> NDArray[np.int64]:
        """Return the numbers of the events: ``event_id`` if the file has it, else their entries."""
        if "event_id" not in self._table.names:
            return np.arange(start, stop)
        found = self._table.numbers("event_id", start, stop)
        is_number = found.shape == (stop - start,) and found.dtype.kind in "iuf"
        if not (is_number and np.isfinite(found).all()):
            raise InputError(
                "the events are not numbered",
                file=self.source.path,
                entry=start,
                field="event_id",
                expected="a number for each event",
                found=listed(map(str, found[:3]))[:80],
            )
        return found.astype(np.int64)
