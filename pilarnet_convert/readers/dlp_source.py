"""A source seen through ROOT and dlp_opendata_api: which files hold its products, and how much."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from pilarnet_convert.errors import InputError
from pilarnet_convert.ragged import offsets_of
from pilarnet_convert.readers.dlp_packages import Packages, load_packages, quiet
from pilarnet_convert.readers.events import Reader, Source
from pilarnet_convert.readers.products import common_length, refuse_missing
from pilarnet_convert.readers.root_file import check_header

__all__ = ["PRODUCTS", "DlpSource", "index_dlp", "open_reader"]

#: The products that are read: the voxels of every particle, and the particles.
PRODUCTS: Final = ("cluster3d_mcst", "particle_mcst")
_VOXEL_BRANCH: Final = "_voxel_vv._voxel_v"
_FETCH_AGAIN: Final = "fetch or copy the file again"


@dataclass(frozen=True, kw_only=True)
class DlpSource(Source):
    """A source as ROOT and dlp_opendata_api know it.

    Attributes
    ----------
    clusters, particles : str
        Paths of the files of the two products.
    basket_entries, basket_bytes : tuple of int
        What `basket_borders` gives.
    """

    clusters: str
    particles: str
    basket_entries: tuple[int, ...]
    basket_bytes: tuple[int, ...]

    def open(self) -> Reader:
        """Open its files."""
        from pilarnet_convert.readers.dlp import DlpReader  # which imports this module

        return DlpReader(self)

    def basket_borders(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Where baskets of voxels begin and end, see `Source`."""
        return np.array(self.basket_entries, np.int64), np.array(self.basket_bytes, np.int64)


def index_dlp(name: str, files: Sequence[Path]) -> DlpSource:
    """Find the two products in a source's files.

    Parameters
    ----------
    name : str
        The name of the source.
    files : sequence of Path
        Its files, the one that the user named first; the first that has a product provides it.

    Raises
    ------
    MissingDependencyError
        If one of the packages is missing.
    InputError
        If a file is unreadable, a product is missing, there are no events, or the products
        differ in length.
    """
    packages = load_packages()
    found: dict[str, Path] = {}
    used: dict[str, tuple[str, int, str]] = {}
    present: list[str] = []
    for path in files:
        if len(found) < len(PRODUCTS):
            uuid, names = _contents(packages, path)
            present += [f"{held}_tree ({path.name})" for held in names]
            for product in set(PRODUCTS) & set(names) - set(found):
                found[product] = path
                used[product] = (path.name, path.stat().st_size, uuid)
    missing = [f"{product}_tree" for product in PRODUCTS if product not in found]
    refuse_missing(missing, file=files[0], present=present)
    lengths = {
        f"{product}_tree": _num_entries(packages, product, found[product]) for product in PRODUCTS
    }
    num_entries = common_length(lengths, file=files[0])
    clusters, particles = (found[product] for product in PRODUCTS)
    entries, num_bytes = _baskets(packages, clusters, num_entries)
    return DlpSource(
        name=name,
        files=tuple(dict.fromkeys(used[product] for product in PRODUCTS)),
        num_entries=num_entries,
        clusters=str(clusters),
        particles=str(particles),
        basket_entries=entries,
        basket_bytes=num_bytes,
    )


def _open_file(packages: Packages, path: Path) -> Any:
    try:
        file = packages.root.TFile.Open(str(path))
    except OSError:  # what recent releases of PyROOT raise; older ones return a null pointer
        file = None
    if not file or file.IsZombie():
        raise InputError("ROOT cannot read it", file=path, advice=_FETCH_AGAIN)
    return file


def _contents(packages: Packages, path: Path) -> tuple[str, list[str]]:
    """Give the UUID of a file and the names of its products, without ``_tree``."""
    check_header(path)
    with quiet(packages.root):
        file = _open_file(packages, path)
        uuid = str(file.GetUUID().AsString())
        file.Close()
        return uuid, list(packages.osf.list_data(str(path)))


def _num_entries(packages: Packages, product: str, path: Path) -> int:
    with quiet(packages.root):
        return int(open_reader(packages, product, str(path)).entry_count())


def _baskets(
    packages: Packages, path: Path, num_entries: int
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Give the first entry of each basket of voxels, and the bytes before it, with the ends."""
    with quiet(packages.root):
        file = _open_file(packages, path)
        branch = file.Get(f"{PRODUCTS[0]}_tree").GetBranch(_VOXEL_BRANCH)
        if not branch:  # written without splitting: one event is as good as the next
            file.Close()
            return tuple(range(num_entries + 1)), tuple(range(num_entries + 1))
        count = int(branch.GetWriteBasket())
        entries = [int(branch.GetBasketEntry()[i]) for i in range(count + 1)]
        num_bytes = [int(branch.GetBasketBytes()[i]) for i in range(count)]
        file.Close()
    if entries[-1] != num_entries:  # the last basket lies inside the metadata of the tree
        entries.append(num_entries)
        num_bytes.append(1)
    return tuple(entries), tuple(offsets_of(np.array(num_bytes)).tolist())


def open_reader(packages: Packages, product: str, path: str) -> Any:
    """Make a ``data_reader`` of one product of one file.

    A reader of several products counts the entries of the first alone, so each has its own.
    """
    base: Any = packages.osf.data_reader

    class CheckedReader(base):  # type: ignore[misc]  # its base is known at run time alone
        """A ``data_reader`` that does not keep a failure of ROOT to itself."""

        def read(self, entry: int) -> None:
            """Load an entry; ROOT would leave the event before in place of a damaged one."""
            found = None
            try:
                num_bytes = self._chains[0].GetEntry(entry)
            except Exception as error:  # an exception of C++, which has no Python class to name
                num_bytes, found = -1, type(error).__name__
            if num_bytes <= 0:
                raise InputError(
                    "the file is damaged here",
                    file=path,
                    entry=entry,
                    field=f"{product}_tree",
                    found=found,
                    advice=_FETCH_AGAIN,
                )
            self._ptrs[product] = getattr(self._chains[0], f"{product}_branch")

    reader = CheckedReader()
    reader.add_data(product)
    reader.add_file(path)
    return reader
