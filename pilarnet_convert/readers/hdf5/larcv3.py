"""LArCV3 files, HDF5, read in blocks of events.

A product is a group ``Data/NAME_group`` of tables that point into each other: ``first`` and ``N``
of a row say which rows of the next table belong to it. For ``cluster3d`` the tables are ``extents``
(one row per event), ``projection_extents``, ``cluster_extents`` and ``voxels``; for ``particle``
they are ``extents`` and ``particles``. ``Events/event_id`` has run, subrun and event. The layout is
that of files written by larcv 3.5.1.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from pilarnet_convert.errors import FETCH_AGAIN, InputError
from pilarnet_convert.ragged import gather_rows, offsets_of
from pilarnet_convert.readers.events import Events, Reader, Source
from pilarnet_convert.readers.hdf5.file import damage_reported, even_borders, open_hdf5, read_rows
from pilarnet_convert.readers.larcv_numbers import (
    known_cubes,
    known_reals,
    known_tracks,
    refuse_nan,
)
from pilarnet_convert.readers.products import (
    Products,
    choose_products,
    common_length,
    no_products,
)
from pilarnet_convert.readers.units import Truth
from pilarnet_convert.storage.identity import file_record, unchanged
from pilarnet_convert.storage.remote import AnyPath

__all__ = ["Larcv3Reader", "Larcv3Source", "index_larcv3"]

_GROUP: Final = "_group"
_EVENT_ID: Final = "Events/event_id"
_ENERGIES: Final = ("energy_init", "energy_deposit")
_TRACKS: Final = {"track_id": "trackid", "parent_track_id": "parent_trackid"}
_POINTS: Final = {"start": ("first_step",), "end": ("last_step",)}


@dataclass(frozen=True, kw_only=True)
class Larcv3Source(Source):
    """A LArCV3 file.

    Attributes
    ----------
    products : Products
        The products that are read.
    """

    products: Products

    def open(self) -> Larcv3Reader:
        """Open its file."""
        return Larcv3Reader(self)


def index_larcv3(name: str, path: AnyPath, *, products: Products | None = None) -> Larcv3Source:
    """Index a LArCV3 file, of which `products` are read, see `choose_products`.

    Raises
    ------
    InputError
        If it is unreadable, a product is missing, or there are no events.
    """
    with open_hdf5(path) as file, damage_reported(path):
        if not {"Data", "Events"} <= set(file):
            raise InputError(
                "not a LArCV3 file",
                file=path,
                expected="the groups Data and Events",
                advice="leave --reader out",
            )
        keys = tuple(file["Data"])
        names = [key.removesuffix(_GROUP) for key in keys]
        pair = choose_products(names, wanted=products, file=path)
        if pair is None:
            present = dict.fromkeys(keys, "")
            raise no_products(path, present, names=names, suffix=_GROUP, wanted=products)
        lengths = {_EVENT_ID: len(file[_EVENT_ID])}
        lengths |= {product: len(file[f"Data/{product}_group/extents"]) for product in pair}
        num_entries = common_length(lengths, file=path)
        num_bytes = file[f"Data/{pair.clusters}_group/voxels"].id.get_storage_size()
    return Larcv3Source(
        name=name,
        files=(file_record(path),),
        num_entries=num_entries,
        path=str(path),
        reader="larcv3",
        schema=f"LArCV3, {' and '.join(pair)}",
        products=pair,
        borders=even_borders(num_entries, num_bytes),
    )


class Larcv3Reader(Reader):
    """Reads ranges of the events of a file.

    Parameters
    ----------
    source : Larcv3Source
        From `index_larcv3`.
    """

    def __init__(self, source: Larcv3Source) -> None:
        self.source = source
        self._open = ExitStack()
        self._file = self._open.enter_context(open_hdf5(source.path))

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def read(self, start: int, stop: int) -> Events:
        """Read the events ``start`` to ``stop``, end excluded.

        Raises
        ------
        InputError
            If the bytes are damaged, an event has several projections, or a remote file changed.
        """
        path = self.source.path
        with unchanged(path, self.source.files[0]), damage_reported(path, entry=start):
            return self._read(start, stop)

    def _read(self, start: int, stop: int) -> Events:
        run, subrun, event = self.numbers(start, stop).T
        product = self.source.products.clusters
        events = self._table(product, "extents", start, stop, entry=start)
        self._check_projections(events["N"], start)
        projections, _ = self._below(product, "projection_extents", events, start)
        meta = np.zeros(len(events), self._file[f"Data/{product}_group/image_meta"].dtype)
        meta[events["N"] > 0], _ = self._below(product, "image_meta", events, start)
        clusters, offset = self._below(product, "cluster_extents", projections, start)
        cluster_counts = np.zeros(len(events), np.int64)
        cluster_counts[events["N"] > 0] = np.diff(offset)
        cluster_offset = offsets_of(cluster_counts)
        voxels, voxel_offset = self._below(product, "voxels", clusters, start)
        num_voxels = np.diff(voxel_offset[cluster_offset])
        grid = meta["number_of_voxels"].astype(np.int64)
        grid, origin, voxel_size = known_cubes(
            grid,
            meta["origin"].astype(np.float64),
            meta["image_sizes"] / np.maximum(grid, 1),
            num_voxels=num_voxels,
        )
        particle_offset, truth = self._particles(start, stop)
        return Events(
            file=self.source.path,
            products=self.source.products,
            first_entry=start,
            run=run,
            subrun=subrun,
            event=event,
            grid=grid,
            origin=origin,
            voxel_size=voxel_size,
            cluster_offset=cluster_offset,
            voxel_offset=voxel_offset,
            voxel_id=_x_fastest(voxels["id"], grid, num_voxels),
            energy=voxels["value"].astype(np.float32),
            particle_offset=particle_offset,
            **truth,
        )

    def numbers(self, start: int, stop: int) -> NDArray[np.int64]:
        """Read run, subrun and number of the events ``start`` to ``stop``, int64 [E, 3]."""
        with damage_reported(self.source.path, entry=start):
            ids = read_rows(self._file, _EVENT_ID, start, stop, entry=start)
            return np.stack([ids[n].astype(np.int64) for n in ("run", "subrun", "event")], axis=1)

    def truth(self, start: int, stop: int) -> Truth:
        """Read what shows the units of the particles of events ``start`` to ``stop``."""
        with damage_reported(self.source.path, entry=start):
            _, truth = self._particles(start, stop)
        return Truth(truth["pdg"], truth["energy_init"], truth["momentum"])

    def _particles(self, start: int, stop: int) -> tuple[NDArray[np.int64], dict[str, Any]]:
        """Return the offsets of the particles of each event, and their arrays."""
        product = self.source.products.particles
        events = self._table(product, "extents", start, stop, entry=start)
        rows, offset = self._below(product, "particles", events, start)
        reals = {name: _field(rows, name) for name in _ENERGIES}
        for name, values in reals.items():
            if name in (rows.dtype.names or ()):
                place = f"{product}, {name}"
                refuse_nan(values, offset, file=self.source.path, first_entry=start, field=place)
        vectors = {
            name: np.stack([_field(rows, *path, axis) for axis in "xyz"], axis=1)
            for name, path in _POINTS.items()
        }
        vectors["momentum"] = np.stack([_field(rows, f"p{axis}") for axis in "xyz"], axis=1)
        names, process = np.unique(_field(rows, "process", absent=b""), return_inverse=True)
        return offset, {
            "pdg": rows["pdg"].astype(np.int32),
            **{name: known_tracks(_field(rows, f, absent=-1)) for name, f in _TRACKS.items()},
            **{name: known_reals(values) for name, values in (reals | vectors).items()},
            "process": process.astype(np.uint16),
            "process_names": tuple(name.decode() for name in names.tolist()),
        }

    def _table(
        self, product: str, table: str, start: int, stop: int, *, entry: int
    ) -> NDArray[Any]:
        return read_rows(self._file, f"Data/{product}_group/{table}", start, stop, entry=entry)

    def _below(
        self, product: str, table: str, above: NDArray[Any], entry: int
    ) -> tuple[NDArray[Any], NDArray[np.int64]]:
        """Return the rows that those above point to, and where those of each begin."""
        first, counts = above["first"].astype(np.int64), above["N"].astype(np.int64)
        held = counts > 0
        low = int(first[held].min(initial=np.iinfo(np.int64).max)) if held.any() else 0
        high = int((first + counts)[held].max(initial=0))
        length = len(self._file[f"Data/{product}_group/{table}"])
        if low < 0 or high > length:
            raise InputError(
                "the file is damaged here",
                file=self.source.path,
                entry=entry,
                field=f"{product}_group/{table}",
                expected=f"rows from 0 to below {length}",
                found=f"rows {low} to {high}",
                advice=FETCH_AGAIN,
            )
        rows = self._table(product, table, low, high, entry=entry)
        offset = offsets_of(counts)
        if offset[-1] == len(rows) and np.array_equal(first[held], offset[:-1][held] + low):
            return rows, offset  # one after the other, as larcv writes them
        return rows[gather_rows(first - low, counts)[0]], offset

    def _check_projections(self, counts: NDArray[Any], start: int) -> None:
        wrong = np.flatnonzero(counts > 1)
        if len(wrong):
            raise InputError(
                "an event has several projections",
                file=self.source.path,
                entry=start + int(wrong[0]),
                field=f"{self.source.products.clusters}_group/extents",
                expected="one",
                found=f"{counts[wrong[0]]}",
                advice="name files with clusters of particles in one 3D volume",
            )


def _field(rows: NDArray[Any], *path: str, absent: Any = np.nan) -> NDArray[Any]:
    """Return a (nested) field of compound rows, or `absent`: some releases of larcv lack some."""
    for name in path:
        if name not in (rows.dtype.names or ()):
            return np.full(len(rows), absent)
        rows = rows[name]
    return rows


def _x_fastest(
    voxel_id: NDArray[np.unsignedinteger], grid: NDArray[np.int64], counts: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Turn the ids of LArCV3, ``(x * ny + y) * nz + z``, into ours, ``(z * ny + y) * nx + x``.

    Parameters
    ----------
    voxel_id : uint64 array [V]
        The ids.
    grid : int64 array [E, 3]
        Voxels along x, y and z of each event.
    counts : int64 array [E]
        Voxels of each event.
    """
    ids = voxel_id.astype(np.int64)
    nx, ny, nz = (np.repeat(grid[:, axis], counts) for axis in range(3))
    row, z = np.divmod(ids, nz)
    x, y = np.divmod(row, ny)
    # An id beyond the cube stays beyond it, to be refused as in every file.
    turned: NDArray[np.int64] = np.where(x < nx, (z * ny + y) * nx + x, nx * ny * nz)
    return turned
