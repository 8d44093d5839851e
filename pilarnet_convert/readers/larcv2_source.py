"""LArCV2 files as sources: where the baskets of their two products lie.

In PILArNet these are ``cluster3d_mcst``, the voxels of every particle, and ``particle_mcst``, the
particles. They may stand in one file or in two.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from pilarnet_convert.errors import InputError
from pilarnet_convert.ragged import offsets_of
from pilarnet_convert.readers.events import Source
from pilarnet_convert.readers.products import (
    Products,
    choose_products,
    common_length,
    find_products,
)
from pilarnet_convert.readers.root_file import Layout, TreeIndex, index_trees
from pilarnet_convert.readers.root_header import HEAD_BYTES, check_header
from pilarnet_convert.storage.byte_file import read_head
from pilarnet_convert.storage.remote import AnyPath

if TYPE_CHECKING:
    from pilarnet_convert.readers.larcv2 import Larcv2Reader

__all__ = ["Larcv2Source", "index_larcv2"]

_TREE: Final = "_tree"
VOXELS: Final = "_voxel_vv._voxel_v"
IDS: Final = ("_run", "_subrun", "_event")
GRID: Final = ("_meta._xnum", "_meta._ynum", "_meta._znum")
ORIGIN: Final = ("_meta._p1.x", "_meta._p1.y", "_meta._p1.z")
SIZE: Final = ("_meta._xlen", "_meta._ylen", "_meta._zlen")
PDG: Final = "_part_v._pdg"
PROCESS: Final = "_part_v._process"
SCALARS: Final = {
    "track_id": ("_part_v._trackid", np.int64),
    "parent_track_id": ("_part_v._parent_trackid", np.int64),
    "energy_init": ("_part_v._energy_init", np.float32),
    "energy_deposit": ("_part_v._energy_deposit", np.float32),
}
VECTORS: Final = {
    "momentum": ("_part_v._px", "_part_v._py", "_part_v._pz"),
    "start": tuple(f"_part_v._first_step._{axis}" for axis in "xyz"),
    "end": tuple(f"_part_v._last_step._{axis}" for axis in "xyz"),
}
_CLUSTER_BRANCHES: Final[Mapping[str, Layout]] = {
    **dict.fromkeys((*IDS, *GRID, *ORIGIN, *SIZE), "flat"),
    VOXELS: "objects",
}
_PARTICLE_BRANCHES: Final[Mapping[str, Layout]] = {
    **dict.fromkeys(IDS, "flat"),
    PDG: "jagged",
    PROCESS: "objects",
    **dict.fromkeys((branch for branch, _ in SCALARS.values()), "jagged"),
    **dict.fromkeys((branch for branches in VECTORS.values() for branch in branches), "jagged"),
}
_PARTICLE_REQUIRED: Final = (*IDS, PDG)


@dataclass(frozen=True, kw_only=True)
class Larcv2Source(Source):
    """A source as the native reader knows it.

    Attributes
    ----------
    clusters, particles : TreeIndex
        Where the baskets of the two products lie.
    """

    clusters: TreeIndex
    particles: TreeIndex

    @property
    def products(self) -> Products:
        """The products that are read."""
        trees = (self.clusters.tree, self.particles.tree)
        return Products(*(tree.removesuffix(_TREE) for tree in trees))

    def open(self) -> Larcv2Reader:
        """Open its files."""
        from pilarnet_convert.readers.larcv2 import Larcv2Reader  # which imports this module

        return Larcv2Reader(self)

    def basket_borders(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Where baskets of voxels begin and end, see `Source`."""
        table = self.clusters.branches[VOXELS]
        return table.entries, offsets_of(np.abs(table.num_bytes))


def index_larcv2(
    name: str, files: Sequence[AnyPath], *, products: Products | None = None
) -> Larcv2Source:
    """Locate in a source's files what will be read of the two products.

    Parameters
    ----------
    name : str
        The name of the source.
    files : sequence of Path or RemotePath
        Its files, the one that the user named first; the first that has a product provides it.
    products : Products, optional
        What to read, see `choose_products`.

    Raises
    ------
    InputError
        If a file is unreadable, a product or one of its branches is missing, there are no
        events, or the products differ in length.
    """
    pair, found, used = find_products(
        files, partial(_look, products=products), wanted=products, suffix=_TREE
    )
    clusters, particles = (found[product] for product in pair)
    _require_branches(clusters, tuple(_CLUSTER_BRANCHES))
    _require_branches(particles, _PARTICLE_REQUIRED)
    return Larcv2Source(
        name=name,
        files=used,
        num_entries=common_length(
            {index.tree: index.num_entries for index in (clusters, particles)}, file=files[0]
        ),
        path=clusters.file,
        reader="larcv2",
        schema=f"LArCV2, {' and '.join(pair)}",
        clusters=clusters,
        particles=particles,
    )


def _look(
    file: AnyPath, *, products: Products | None
) -> tuple[str, dict[str, TreeIndex], dict[str, str]]:
    head, size = read_head(file, HEAD_BYTES)
    check_header(head, size=size, file=file)
    choose = partial(_wanted_trees, products=products)
    uuid, indices, classes = index_trees(file, choose, head=head)
    return uuid, {tree.removesuffix(_TREE): index for tree, index in indices.items()}, classes


def _wanted_trees(
    keys: Iterable[str], *, products: Products | None
) -> dict[str, Mapping[str, Layout]]:
    """Choose the trees of a pair of products, or where a file has none all that may be of one."""
    layouts = {"cluster3d": _CLUSTER_BRANCHES, "particle": _PARTICLE_BRANCHES}
    names = {
        key.removesuffix(_TREE): layouts[key.split("_")[0]]
        for key in keys
        if key.endswith(_TREE) and key.split("_")[0] in layouts
    }
    try:
        pair = choose_products(names, wanted=products, file="")
    except InputError:  # several pairs: told once all files of the source are known
        pair = None
    return {f"{name}{_TREE}": names[name] for name in pair or names}


def _require_branches(index: TreeIndex, required: Sequence[str]) -> None:
    for name in required:
        table = index.branches.get(name)
        if table is None or (table.entries[-1] != index.num_entries):
            raise InputError(
                "a branch is missing" if table is None else "a branch is incomplete",
                file=index.file,
                field=f"{index.tree}/{name}",
                expected=f"{index.num_entries} entries",
                found="none" if table is None else f"{table.entries[-1]}",
                advice="name LArCV2 files",
            )
