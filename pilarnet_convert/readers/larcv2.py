"""LArCV2 files without ROOT: from baskets to events.

Two products are read: ``cluster3d_mcst``, the voxels of every particle, and ``particle_mcst``,
the particles. They may stand in one file or in two.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from pilarnet_convert.errors import InputError
from pilarnet_convert.ragged import offsets_of
from pilarnet_convert.readers.baskets import BasketReader
from pilarnet_convert.readers.events import Events, Source
from pilarnet_convert.readers.products import common_length, find_products
from pilarnet_convert.readers.root_file import Layout, TreeIndex, index_trees

__all__ = ["Larcv2Reader", "Larcv2Source", "index_larcv2"]

CLUSTER_TREE: Final = "cluster3d_mcst_tree"
PARTICLE_TREE: Final = "particle_mcst_tree"
_VOXELS: Final = "_voxel_vv._voxel_v"
_IDS: Final = ("_run", "_subrun", "_event")
_GRID: Final = ("_meta._xnum", "_meta._ynum", "_meta._znum")
_ORIGIN: Final = ("_meta._p1.x", "_meta._p1.y", "_meta._p1.z")
_SIZE: Final = ("_meta._xlen", "_meta._ylen", "_meta._zlen")
_PDG: Final = "_part_v._pdg"
_PROCESS: Final = "_part_v._process"
_SCALARS: Final = {
    "track_id": ("_part_v._trackid", np.int64),
    "parent_track_id": ("_part_v._parent_trackid", np.int64),
    "energy_init": ("_part_v._energy_init", np.float32),
    "energy_deposit": ("_part_v._energy_deposit", np.float32),
}
_VECTORS: Final = {
    "momentum": ("_part_v._px", "_part_v._py", "_part_v._pz"),
    "start": tuple(f"_part_v._first_step._{axis}" for axis in "xyz"),
    "end": tuple(f"_part_v._last_step._{axis}" for axis in "xyz"),
}
_CLUSTER_BRANCHES: Final[Mapping[str, Layout]] = {
    **dict.fromkeys((*_IDS, *_GRID, *_ORIGIN, *_SIZE), "flat"),
    _VOXELS: "objects",
}
_PARTICLE_BRANCHES: Final[Mapping[str, Layout]] = {
    **dict.fromkeys(_IDS, "flat"),
    _PDG: "jagged",
    _PROCESS: "objects",
    **dict.fromkeys((branch for branch, _ in _SCALARS.values()), "jagged"),
    **dict.fromkeys((branch for branches in _VECTORS.values() for branch in branches), "jagged"),
}
_PARTICLE_REQUIRED: Final = (*_IDS, _PDG)


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

    def open(self) -> Larcv2Reader:
        """Open its files."""
        return Larcv2Reader(self)

    def basket_borders(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Where baskets of voxels begin and end, see `Source`."""
        table = self.clusters.branches[_VOXELS]
        return table.entries, offsets_of(np.abs(table.num_bytes))


def index_larcv2(name: str, files: Sequence[Path]) -> Larcv2Source:
    """Locate in a source's files what will be read of the two products.

    Parameters
    ----------
    name : str
        The name of the source.
    files : sequence of Path
        Its files, the one that the user named first; the first that has a product provides it.

    Raises
    ------
    InputError
        If a file is unreadable, a product or one of its branches is missing, there are no
        events, or the products differ in length.
    """
    wanted = {CLUSTER_TREE: _CLUSTER_BRANCHES, PARTICLE_TREE: _PARTICLE_BRANCHES}
    found, used = find_products(
        files, wanted, lambda file, trees: index_trees(file, {tree: wanted[tree] for tree in trees})
    )
    _require_branches(found[CLUSTER_TREE], tuple(_CLUSTER_BRANCHES))
    _require_branches(found[PARTICLE_TREE], _PARTICLE_REQUIRED)
    return Larcv2Source(
        name=name,
        files=used,
        num_entries=common_length({t: found[t].num_entries for t in wanted}, file=files[0]),
        clusters=found[CLUSTER_TREE],
        particles=found[PARTICLE_TREE],
    )


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
                advice="name LArCV2 files of PILArNet",
            )


class Larcv2Reader:
    """Reads ranges of the events of a source.

    Parameters
    ----------
    source : Larcv2Source
        From `index_larcv2`.
    """

    def __init__(self, source: Larcv2Source) -> None:
        self.source = source
        self._clusters = BasketReader(source.clusters)
        self._particles = BasketReader(source.particles)

    def __enter__(self) -> Larcv2Reader:
        return self

    def __exit__(self, *_: object) -> None:
        self._clusters.close()
        self._particles.close()

    def read(self, start: int, stop: int) -> Events:
        """Read the events ``start`` to ``stop``, end excluded.

        Raises
        ------
        InputError
            If the bytes are damaged or the products hold different events.
        """
        ids = [self._clusters.flat(name, start, stop) for name in _IDS]
        self._match_events(ids, start, stop)
        clusters, voxels, voxel_id, energy = self._clusters.voxel_sets(_VOXELS, start, stop)
        particles, pdg = self._particles.jagged(_PDG, start, stop)
        process, process_names = self._process(start, stop, len(pdg))
        meta = {
            name: _stack([self._clusters.flat(branch, start, stop) for branch in branches])
            for name, branches in (("grid", _GRID), ("origin", _ORIGIN), ("voxel_size", _SIZE))
        }
        run, subrun, event = (values.astype(np.int64) for values in ids)
        return Events(
            file=self.source.clusters.file,
            first_entry=start,
            run=run,
            subrun=subrun,
            event=event,
            grid=meta["grid"].astype(np.int64),
            origin=meta["origin"],
            voxel_size=meta["voxel_size"],
            cluster_offset=offsets_of(clusters),
            voxel_offset=offsets_of(voxels),
            voxel_id=voxel_id,
            energy=energy,
            particle_offset=offsets_of(particles),
            pdg=pdg.astype(np.int32),
            process=process,
            process_names=process_names,
            **{
                name: self._scalar(branch, dtype, start, stop, len(pdg))
                for name, (branch, dtype) in _SCALARS.items()
            },
            **{
                name: _stack([self._scalar(b, np.float32, start, stop, len(pdg)) for b in branches])
                for name, branches in _VECTORS.items()
            },
        )

    def _match_events(self, ids: list[NDArray[Any]], start: int, stop: int) -> None:
        other = [self._particles.flat(name, start, stop) for name in _IDS]
        differ = np.any([a != b for a, b in zip(ids, other, strict=True)], axis=0)
        if differ.any():
            at = int(np.argmax(differ))
            names = "run, subrun, event"
            raise InputError(
                "the products hold different events",
                file=self.source.particles.file,
                entry=start + at,
                field=PARTICLE_TREE,
                expected=f"{names} {tuple(int(a[at]) for a in ids)} as in {CLUSTER_TREE}",
                found=f"{tuple(int(b[at]) for b in other)}",
                advice="take both products from the same production",
            )

    def _scalar(
        self, branch: str, dtype: type[Any], start: int, stop: int, num_particles: int
    ) -> NDArray[Any]:
        """Read a field of the particles; releases of LArCV2 differ in those that they have."""
        if branch not in self.source.particles.branches:
            absent = np.nan if np.issubdtype(dtype, np.floating) else -1
            return np.full(num_particles, absent, dtype)
        _, values = self._particles.jagged(branch, start, stop)
        self._check_length(branch, len(values), num_particles, start, stop)
        return values.astype(dtype)

    def _process(
        self, start: int, stop: int, num_particles: int
    ) -> tuple[NDArray[np.uint8], tuple[str, ...]]:
        if _PROCESS not in self.source.particles.branches:
            return np.zeros(num_particles, np.uint8), ("",)
        codes, names = self._particles.strings(_PROCESS, start, stop)
        self._check_length(_PROCESS, len(codes), num_particles, start, stop)
        return codes.astype(np.uint8), names

    def _check_length(
        self, branch: str, found: int, num_particles: int, start: int, stop: int
    ) -> None:
        if found != num_particles:
            raise InputError(
                "the fields of the particles differ in length",
                file=self.source.particles.file,
                entry=start,
                field=branch,
                expected=f"{num_particles} values up to entry {stop}",
                found=f"{found}",
                advice="fetch or copy the file again",
            )


def _stack(parts: Sequence[NDArray[Any]]) -> NDArray[Any]:
    return np.stack(parts, axis=1)
