"""From files to events.

============ =====================================================================
sources      which files make up a source: folders, globs, the archive's layout
local_files  the files of a folder
kinds        what kind of file a file is, by its content; how it is read
products     which products of a LArCV file are read
events       what every reader delivers
checks       checks of these events
larcv2       LArCV2 files, read natively; larcv2_trees, their trees and branches
root_header  whether a file is a ROOT file, closed and whole
root_file    ROOT metadata through uproot: where the baskets of a tree lie
baskets      fetching and decompressing baskets
decode       from the bytes of baskets to arrays
hdf5         LArCV3 files; HDF5 through h5py
pilarnet_m   PILArNet-M, HDF5 and parquet
dlp          LArCV2 files through dlp_opendata_api
units        MeV or GeV; larcv_numbers, the numbers that LArCV stores for unknown values
repeats      voxels that a file lists several times in one particle
============ =====================================================================
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Final

from pilarnet_convert.readers.events import Source
from pilarnet_convert.readers.kinds import Reading, reader_of
from pilarnet_convert.readers.local_files import require_local
from pilarnet_convert.readers.products import MissingProductError, Products
from pilarnet_convert.readers.sources import SourceFiles
from pilarnet_convert.readers.units import MEV, Units, has_massive, momentum_unit, units_of
from pilarnet_convert.storage.remote import AnyPath

__all__ = ["HEAD_EVENTS", "index_source"]

#: Events whose particles show the unit of the energies; all are read if these leave a doubt.
HEAD_EVENTS: Final = 100


def index_source(files: SourceFiles, *, reading: Reading) -> tuple[Source, ...]:
    """Index the files of a source, before its events are read.

    Returns
    -------
    tuple of Source
        One source; if several of the named files hold both products, one for each of these files.

    Raises
    ------
    InputError
        If a source cannot be read or has no events.
    """
    reader = reader_of(files.files[0]) if reading.reader == "auto" else reading.reader
    complete = []
    if files.num_named > 1:
        for path in files.files[: files.num_named]:
            with suppress(MissingProductError):
                complete.append(_index(reader, path.name, [path], reading.products))
    found = complete or [_index(reader, files.name, files.files, reading.products)]
    return tuple(replace(source, units=_units(source, reading.energy_unit)) for source in found)


def _index(reader: str, name: str, files: Sequence[AnyPath], products: Products | None) -> Source:
    """Let a reader index files; its libraries are imported only if it is used."""
    if reader == "larcv2":
        from pilarnet_convert.readers.larcv2 import index_larcv2

        return index_larcv2(name, files, products=products)
    if reader == "larcv3":
        from pilarnet_convert.readers.hdf5.larcv3 import index_larcv3

        return index_larcv3(name, files[0], products=products)
    if reader == "pilarnet-m":
        from pilarnet_convert.readers.pilarnet_m.source import index_pilarnet_m

        return index_pilarnet_m(name, files[0])
    from pilarnet_convert.readers.dlp.reader import index_dlp

    return index_dlp(name, [require_local(path, reader=reader) for path in files])


def _units(source: Source, energy_unit: str) -> Units:
    """Determine the units of a source, from its first particles if these leave no doubt."""
    if source.units_are_known or energy_unit == "MeV":
        return MEV
    head = source.truth(0, min(HEAD_EVENTS, source.num_entries))
    if energy_unit == "auto" and has_massive(head) and units_of(head) == MEV:
        return MEV
    every = source.truth(0, source.num_entries)
    if energy_unit == "GeV":
        return Units(energy="GeV", momentum=momentum_unit(every))
    return units_of(every) or MEV
