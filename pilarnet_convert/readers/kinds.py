"""How files are read, and of what kind each is, by its first bytes and then by its keys."""

from __future__ import annotations

import gzip
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pilarnet_convert.errors import InputError, listed
from pilarnet_convert.readers.products import Products
from pilarnet_convert.storage.byte_file import head_in_words, read_head
from pilarnet_convert.storage.remote import AnyPath

__all__ = ["ENERGY_UNITS", "READERS", "Reading", "reader_of"]

#: What ``--reader`` may be.
READERS: Final = ("auto", "larcv2", "larcv3", "pilarnet-m", "dlp")
#: What ``--energy-unit`` may be.
ENERGY_UNITS: Final = ("auto", "MeV", "GeV")
_HDF5: Final = b"\x89HDF\r\n\x1a\n"
#: Where the signature of an HDF5 file is looked for: at its beginning, or behind a user block.
_HDF5_PLACES: Final = (0, *(512 << doubled for doubled in range(6)))
_PACKED: Final = {b"BZh": "bzip2", b"\xfd7zXZ": "xz", b"(\xb5/\xfd": "zstd", b"PK\x03\x04": "zip"}
_GZIP: Final = b"\x1f\x8b"
_NAME_FILES: Final = "name LArCV2, LArCV3 or PILArNet-M files"


@dataclass(frozen=True, kw_only=True)
class Reading:
    """How files are read: the options that all readers share.

    Attributes
    ----------
    reader : str
        One of `READERS`; for ``auto`` the content of each file decides.
    products : Products, optional
        The products to read from LArCV files, see `choose_products`.
    energy_unit : {"auto", "MeV", "GeV"}
        The unit of the energies in the files.
    """

    reader: str = "auto"
    products: Products | None = None
    energy_unit: str = "auto"


def reader_of(path: AnyPath) -> str:
    """Return the name of the reader for a file.

    Parameters
    ----------
    path : Path or RemotePath
        The file; its name does not matter.

    Returns
    -------
    str
        ``larcv2``, ``larcv3`` or ``pilarnet-m``.

    Raises
    ------
    InputError
        If it cannot be opened, or is of another kind.
    """
    head, size = _first_bytes(path)
    if head.startswith(b"root"):
        return "larcv2"
    if head.startswith(b"PAR1"):
        return "pilarnet-m"
    if any(head[place:].startswith(_HDF5) for place in _HDF5_PLACES):
        return _reader_of_hdf5(path)
    packed = _packed(path, head)
    raise InputError(
        packed or "not a kind of file that can be read",
        file=path,
        expected="ROOT, HDF5 or parquet",
        found=head_in_words(head, size=size),
        advice="unpack it first" if packed else _NAME_FILES,
    )


def _first_bytes(path: AnyPath) -> tuple[bytes, int]:
    if isinstance(path, Path) and path.is_symlink() and not path.exists():
        raise InputError(
            "a link that leads nowhere",
            file=path,
            found=str(path.readlink()),
            advice="fetch what it leads to, or remove it",
        )
    return read_head(path, _HDF5_PLACES[-1] + len(_HDF5))


def _packed(path: AnyPath, head: bytes) -> str | None:
    """Return how a file is packed, and what is inside if it is a local gzip file."""
    if head.startswith(_GZIP):
        if not isinstance(path, Path):
            return "packed with gzip"
        try:
            with gzip.open(path) as stream:
                inner = stream.read(len(_HDF5))
        except (OSError, EOFError):
            return "a damaged gzip file"
        kind = "a ROOT file" if inner.startswith(b"root") else "a file"
        return f"{'an HDF5 file' if inner == _HDF5 else kind} packed with gzip"
    return next(
        (f"packed with {n}" for magic, n in _PACKED.items() if head.startswith(magic)), None
    )


def _reader_of_hdf5(path: AnyPath) -> str:
    from pilarnet_convert.readers.hdf5.file import damage_reported, open_hdf5

    with open_hdf5(path) as file, damage_reported(path):
        keys = tuple(map(str, file))
    if {"Data", "Events"} <= set(keys):
        return "larcv3"
    if {"point", "cluster"} <= set(keys):
        return "pilarnet-m"
    raise InputError(
        "an HDF5 file of another kind",
        file=path,
        expected="the groups Data and Events of LArCV3, or the datasets of PILArNet-M",
        found=listed(keys) or "nothing in it",
        advice=_NAME_FILES,
    )
