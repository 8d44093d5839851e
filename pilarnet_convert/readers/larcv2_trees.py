"""The two trees of a LArCV2 source that are read, their branches, and where their baskets lie.

In PILArNet these are ``cluster3d_mcst_tree``, with the voxels of every particle, and
``particle_mcst_tree``, with the particles. They may be in one file or in two.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Final

import numpy as np

from pilarnet_convert.errors import InputError
from pilarnet_convert.readers.products import (
    Products,
    choose_products,
    find_products,
)
from pilarnet_convert.readers.root_file import Layout, TreeIndex, index_trees
from pilarnet_convert.readers.root_header import HEAD_BYTES, check_header
from pilarnet_convert.storage.byte_file import read_head
from pilarnet_convert.storage.remote import AnyPath

__all__ = [
    "GRID",
    "IDS",
    "ORIGIN",
    "PDG",
    "PROCESS",
    "SCALARS",
    "SIZE",
    "TREE_SUFFIX",
    "VECTORS",
    "VOXELS",
    "index_products",
]

TREE_SUFFIX: Final = "_tree"
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


def index_products(
    files: Sequence[AnyPath], *, products: Products | None
) -> tuple[TreeIndex, TreeIndex, tuple[tuple[str, int, str], ...]]:
    """Find the trees of the clusters and of the particles.

    Parameters and errors are those of `pilarnet_convert.readers.larcv2.index_larcv2`, which also
    compares the lengths.

    Returns
    -------
    clusters, particles : TreeIndex
        The two trees.
    used : tuple of (name, size in bytes, UUID)
        The files that hold them, that of the clusters first.
    """
    pair, found, used = find_products(
        files, partial(_look, products=products), wanted=products, suffix=TREE_SUFFIX
    )
    clusters, particles = (found[product] for product in pair)
    _require_branches(clusters, tuple(_CLUSTER_BRANCHES))
    _require_branches(particles, _PARTICLE_REQUIRED)
    return clusters, particles, used


def _look(
    file: AnyPath, *, products: Products | None
) -> tuple[str, dict[str, TreeIndex], dict[str, str]]:
    head, size = read_head(file, HEAD_BYTES)
    choose = partial(_wanted_trees, products=products)
    record = check_header(head, size=size, file=file)
    uuid, indices, classes = index_trees(file, choose, head=record)
    return uuid, {tree.removesuffix(TREE_SUFFIX): index for tree, index in indices.items()}, classes


def _wanted_trees(
    keys: Iterable[str], *, products: Products | None
) -> dict[str, Mapping[str, Layout]]:
    """Choose the trees of a pair of products.

    If the file has no complete pair, these are all trees that may belong to one.
    """
    layouts = {"cluster3d": _CLUSTER_BRANCHES, "particle": _PARTICLE_BRANCHES}
    names = {
        key.removesuffix(TREE_SUFFIX): layouts[key.split("_")[0]]
        for key in keys
        if key.endswith(TREE_SUFFIX) and key.split("_")[0] in layouts
    }
    try:
        pair = choose_products(names, wanted=products, file="")
    except InputError:  # several pairs: reported once all files of the source are known
        pair = None
    return {f"{name}{TREE_SUFFIX}": names[name] for name in pair or names}


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
                advice="name files as LArCV2 writes them, or try --reader dlp",
            )
