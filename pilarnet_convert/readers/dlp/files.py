"""LArCV2 files as ROOT and dlp_opendata_api open them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pilarnet_convert.errors import FETCH_AGAIN, InputError
from pilarnet_convert.ragged import offsets_of
from pilarnet_convert.readers.dlp.packages import Packages, quiet
from pilarnet_convert.readers.root_header import HEAD_BYTES, check_header
from pilarnet_convert.storage.byte_file import read_head

__all__ = ["Chain", "baskets", "list_products"]


@contextmanager
def _opened(packages: Packages, path: Path) -> Iterator[Any]:
    with quiet(packages.root):
        try:
            file = packages.root.TFile.Open(str(path))
        except OSError:  # what recent releases of PyROOT raise; older ones return a null pointer
            file = None
        if not file or file.IsZombie():
            raise InputError("ROOT cannot read it", file=path, advice=FETCH_AGAIN)
        try:
            yield file
        finally:
            file.Close()


def list_products(packages: Packages, path: Path) -> tuple[str, Sequence[str]]:
    """Return the UUID and the products of a file; `InputError` if it is no ROOT file."""
    head, size = read_head(path, HEAD_BYTES)
    check_header(head, size=size, file=path)
    with _opened(packages, path) as file:
        return str(file.GetUUID().AsString()), list(packages.osf.list_data(str(path)))


def baskets(
    packages: Packages, path: Path, *, tree: str, branch: str, num_entries: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return where the baskets of a branch begin and end.

    Returns
    -------
    entries, num_bytes : int64 arrays [number of baskets + 1]
        The entries, from 0 to `num_entries`, and the compressed bytes before each. If there is no
        such branch, every entry counts as a basket of one byte.
    """
    with _opened(packages, path) as file:
        found = file.Get(tree).GetBranch(branch)
        if not found:  # an unsplit branch: a task may end at any event
            return np.arange(num_entries + 1), np.arange(num_entries + 1)
        count = int(found.GetWriteBasket())
        entries = [int(found.GetBasketEntry()[i]) for i in range(count + 1)]
        num_bytes = [int(found.GetBasketBytes()[i]) for i in range(count)]
    if entries[-1] != num_entries:  # the last basket lies inside the metadata of the tree
        entries.append(num_entries)
        num_bytes.append(1)
    return np.array(entries, np.int64), offsets_of(np.array(num_bytes))


class Chain:
    """One product of one file, read through a ``data_reader`` of its own.

    A ``data_reader`` of several products counts the entries of the first only. It also ignores
    failures of ROOT, so entries are read here from the ROOT chain that it holds.
    """

    def __init__(self, packages: Packages, product: str, path: str) -> None:
        self._product, self._path = product, path
        self._reader = packages.osf.data_reader()
        self._reader.add_data(product)
        self._reader.add_file(path)

    def __len__(self) -> int:
        return int(self._reader.entry_count())

    def read(self, entry: int) -> Any:
        """Load an entry; `InputError` where ROOT would silently keep the previous event."""
        (chain,) = self._reader._chains
        found = None
        try:
            num_bytes = chain.GetEntry(entry)
        except Exception as error:  # an exception of C++, which has no Python class to name
            num_bytes, found = -1, type(error).__name__
        if num_bytes <= 0:
            raise InputError(
                "the file is damaged here",
                file=self._path,
                entry=entry,
                field=f"{self._product}_tree",
                found=found,
                advice=FETCH_AGAIN,
            )
        return getattr(chain, f"{self._product}_branch")
