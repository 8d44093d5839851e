"""Events as every reader delivers them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import ClassVar, Final

import numpy as np
from numpy.typing import NDArray

from pilarnet_convert.errors import InputError
from pilarnet_convert.readers.units import MEV, Truth, Units

__all__ = ["Events", "Reader", "Source", "repeated_entries", "repeated_rows"]

_MEV_PER_GEV: Final = np.float32(1000)


@dataclass(frozen=True, kw_only=True)
class Events:
    """Consecutive events of one source: E events, C clusters, P particles, V voxels.

    Attributes
    ----------
    file : str
        The file of the clusters, for messages.
    products : tuple of (str, str)
        What holds the clusters and what the particles, for messages.
    first_entry : int
        The entry of the first event.
    run, subrun, event : int64 arrays [E]
        What identifies each event.
    grid : int64 array [E, 3]
        Voxels along x, y and z of each event's cube. An event without voxels may have no cube in
        the file; then it has that of an event nearby.
    origin : float64 array [E, 3]
        The corner of the cube at voxel 0, cm.
    voxel_size : float64 array [E, 3]
        The edges of a voxel, cm.
    cluster_offset : int64 array [E + 1]
        Event i owns clusters ``cluster_offset[i]`` to ``cluster_offset[i + 1]``, end excluded.
    voxel_offset : int64 array [C + 1]
        Likewise the voxels of each cluster.
    voxel_id : int64 array [V]
        ``(z * ny + y) * nx + x``, in the order of the file.
    energy : float32 array [V]
        MeV.
    particle_offset : int64 array [E + 1]
        Likewise the particles of each event.
    pdg : int32 array [P]
        PDG codes.
    track_id, parent_track_id : int64 arrays [P]
        Geant4 tracks; -1 if the file does not give them.
    energy_init, energy_deposit : float32 arrays [P]
        MeV; NaN if the file does not give them. `energy_init` includes the mass.
    momentum, start, end : float32 arrays [P, 3]
        MeV/c, cm, cm; NaN if the file does not give them.
    process : uint16 array [P]
        An index into `process_names`.
    process_names : tuple of str
        Geant4 creation processes; an empty name if the file does not give it.
    primary : bool array [P], optional
        Whether each is a primary particle; if None, the primaries are the particles that name
        themselves as their parent track, as dlp_opendata_api defines them.
    """

    file: str
    products: tuple[str, str]
    first_entry: int
    run: NDArray[np.int64]
    subrun: NDArray[np.int64]
    event: NDArray[np.int64]
    grid: NDArray[np.int64]
    origin: NDArray[np.float64]
    voxel_size: NDArray[np.float64]
    cluster_offset: NDArray[np.int64]
    voxel_offset: NDArray[np.int64]
    voxel_id: NDArray[np.int64]
    energy: NDArray[np.float32]
    particle_offset: NDArray[np.int64]
    pdg: NDArray[np.int32]
    track_id: NDArray[np.int64]
    parent_track_id: NDArray[np.int64]
    energy_init: NDArray[np.float32]
    energy_deposit: NDArray[np.float32]
    momentum: NDArray[np.float32]
    start: NDArray[np.float32]
    end: NDArray[np.float32]
    process: NDArray[np.uint16]
    process_names: tuple[str, ...]
    primary: NDArray[np.bool_] | None = None

    @property
    def num_events(self) -> int:
        """The number of events E."""
        return len(self.run)

    @property
    def num_clusters(self) -> int:
        """The number of clusters C."""
        return len(self.voxel_offset) - 1

    def in_mev(self, units: Units) -> Events:
        """Return the events with energies in MeV and momenta in MeV/c, converted from `units`."""
        in_gev = ["energy_init", "energy_deposit"] if units.energy == "GeV" else []
        in_gev += ["momentum"] if units.momentum == "GeV" else []
        return replace(self, **{name: getattr(self, name) * _MEV_PER_GEV for name in in_gev})


@dataclass(frozen=True, kw_only=True)
class Source(ABC):
    """What is known of a source before its events are read; it can be pickled.

    Attributes
    ----------
    name : str
        The name of the source, the same whichever of its files was named.
    files : tuple of (name, size in bytes, UUID)
        The files that hold its two products, that of the clusters first. A file without a UUID is
        identified by its size and a hash of its first bytes.
    num_entries : int
        The number of its events.
    path : str
        The file of the clusters.
    reader : str
        The name of its reader, as ``--reader`` takes it.
    schema : str
        What is read: the products and the revision of the schema.
    units : Units
        The units of its energies and momenta.
    units_are_known : bool
        True if the schema itself defines them.
    borders : tuple of (int64 array, int64 array), each [num_baskets + 1]
        Where baskets of voxels begin and end: the entries, from 0 to `num_entries`, and the
        compressed bytes that precede each.
    """

    units_are_known: ClassVar[bool] = False

    name: str
    files: tuple[tuple[str, int, str], ...]
    num_entries: int
    path: str
    reader: str
    schema: str
    borders: tuple[NDArray[np.int64], NDArray[np.int64]]
    units: Units = MEV

    @property
    def identity(self) -> str:
        """The UUID of the file that holds its clusters."""
        return self.files[0][2]

    @abstractmethod
    def open(self) -> Reader:
        """Open its files."""

    def truth(self, start: int, stop: int) -> Truth:
        """Read what shows the units of the particles of events ``start`` to ``stop``."""
        with self.open() as reader:
            return reader.truth(start, stop)

    def numbers(self) -> NDArray[np.int64]:
        """Read run, subrun and number of all events, int64 [num_entries, 3].

        Raises
        ------
        InputError
            If the products hold different events.
        """
        with self.open() as reader:
            return reader.numbers(0, self.num_entries)


class Reader(AbstractContextManager["Reader"]):
    """Reads ranges of the events of a source; leaving its context closes the files."""

    @abstractmethod
    def read(self, start: int, stop: int) -> Events:
        """Read the events ``start`` to ``stop``, end excluded; `InputError` on damage."""

    def truth(self, start: int, stop: int) -> Truth:
        """Read what shows the units of the particles of events ``start`` to ``stop``."""
        events = self.read(start, stop)
        return Truth(events.pdg, events.energy_init, events.momentum)

    def numbers(self, start: int, stop: int) -> NDArray[np.int64]:
        """Read run, subrun and number of the events ``start`` to ``stop``, int64 [E, 3]."""
        events = self.read(start, stop)
        return np.stack([events.run, events.subrun, events.event], axis=1)


def repeated_entries(source: Source) -> NDArray[np.int64]:
    """List the entries of a source whose run, subrun and number another of its events has.

    Returns
    -------
    int64 array [number of such entries]
        Ascending. It is empty if the numbers cannot be read; reading the events then raises the
        error.
    """
    try:
        return np.flatnonzero(repeated_rows(source.numbers()))
    except InputError:
        return np.zeros(0, np.int64)


def repeated_rows(numbers: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return which rows of an array [N, columns] occur several times, bool [N]."""
    order = np.lexsort(numbers.T)
    ordered = numbers[order]
    as_next = (ordered[1:] == ordered[:-1]).all(axis=1)
    repeated = np.zeros(len(numbers), bool)
    repeated[order] = np.append(as_next, False) | np.append(False, as_next)[: len(numbers)]
    return repeated
