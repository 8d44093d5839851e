"""LArCV2 files, read without ROOT: indexing them, and from their baskets to events."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pilarnet_convert.errors import FETCH_AGAIN, InputError
from pilarnet_convert.ragged import offsets_of
from pilarnet_convert.readers.baskets import BasketReader
from pilarnet_convert.readers.events import Events, Reader, Source
from pilarnet_convert.readers.larcv2_trees import (
    GRID,
    IDS,
    ORIGIN,
    PDG,
    PROCESS,
    SCALARS,
    SIZE,
    TREE_SUFFIX,
    VECTORS,
    VOXELS,
    index_products,
)
from pilarnet_convert.readers.larcv_numbers import (
    known_cubes,
    known_reals,
    known_tracks,
    refuse_nan,
)
from pilarnet_convert.readers.products import Products, common_length
from pilarnet_convert.readers.root_file import TreeIndex
from pilarnet_convert.readers.units import Truth
from pilarnet_convert.storage.ahead import in_threads
from pilarnet_convert.storage.remote import AnyPath, is_url

__all__ = ["Larcv2Reader", "Larcv2Source", "index_larcv2"]


@dataclass(frozen=True, kw_only=True)
class Larcv2Source(Source):
    """The files of a source, and where the baskets of its two products lie.

    Attributes
    ----------
    clusters, particles : TreeIndex
        The trees of the two products.
    """

    clusters: TreeIndex
    particles: TreeIndex

    @property
    def products(self) -> Products:
        """The products that are read."""
        trees = (self.clusters.tree, self.particles.tree)
        return Products(*(tree.removesuffix(TREE_SUFFIX) for tree in trees))

    def open(self) -> Larcv2Reader:
        """Open its files."""
        return Larcv2Reader(self)


def index_larcv2(
    name: str, files: Sequence[AnyPath], *, products: Products | None = None
) -> Larcv2Source:
    """Locate in the files of a source what will be read of its two products.

    Parameters
    ----------
    name : str
        The name of the source.
    files : sequence of Path or RemotePath
        Its files, the one that the user named first; the first that has a product provides it.
    products : Products, optional
        Which products to read, see `choose_products`.

    Raises
    ------
    InputError
        If a file is unreadable, a product or one of its branches is missing, there are no
        events, or the products differ in length.
    """
    clusters, particles, used = index_products(files, products=products)
    voxels = clusters.branches[VOXELS]
    names = [index.tree.removesuffix(TREE_SUFFIX) for index in (clusters, particles)]
    return Larcv2Source(
        name=name,
        files=used,
        num_entries=common_length(
            {index.tree: index.num_entries for index in (clusters, particles)}, file=files[0]
        ),
        path=clusters.file,
        reader="larcv2",
        schema=f"LArCV2, {' and '.join(names)}",
        borders=(voxels.entries, offsets_of(np.abs(voxels.num_bytes))),
        clusters=clusters,
        particles=particles,
    )


class Larcv2Reader(Reader):
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
        if is_url(self.source.path):
            both = (self._clusters, self._particles)
            list(in_threads(lambda product: product.prefetch(start, stop), both, ahead=2))
        run, subrun, event = self.numbers(start, stop).T
        clusters, voxels, voxel_id, energy = self._clusters.voxel_sets(VOXELS, start, stop)
        particles, pdg = self._particles.jagged(PDG, start, stop)
        process, process_names = self._process(start, stop, len(pdg))
        cluster_offset, voxel_offset = offsets_of(clusters), offsets_of(voxels)
        grid, origin, voxel_size = (
            _stack([self._clusters.flat(branch, start, stop) for branch in branches])
            for branches in (GRID, ORIGIN, SIZE)
        )
        num_voxels = np.diff(voxel_offset[cluster_offset])
        grid, origin, voxel_size = known_cubes(
            grid.astype(np.int64), origin, voxel_size, num_voxels=num_voxels
        )
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
            voxel_id=voxel_id,
            energy=energy,
            particle_offset=offsets_of(particles),
            pdg=pdg.astype(np.int32),
            process=process,
            process_names=process_names,
            **{
                name: self._scalar(branch, dtype, start, particles)
                for name, (branch, dtype) in SCALARS.items()
            },
            **{
                name: _stack([self._scalar(b, np.float32, start, particles) for b in branches])
                for name, branches in VECTORS.items()
            },
        )

    def truth(self, start: int, stop: int) -> Truth:
        """Read what shows the units of the particles of events ``start`` to ``stop``."""
        self._particles.prefetch(
            start, stop, (PDG, SCALARS["energy_init"][0], *VECTORS["momentum"])
        )
        particles, pdg = self._particles.jagged(PDG, start, stop)
        energy, *momentum = (
            self._scalar(branch, np.float32, start, particles)
            for branch in (SCALARS["energy_init"][0], *VECTORS["momentum"])
        )
        return Truth(pdg.astype(np.int32), energy, _stack(momentum))

    def numbers(self, start: int, stop: int) -> NDArray[np.int64]:
        """Read run, subrun and number of the events ``start`` to ``stop``, int64 [E, 3].

        Raises
        ------
        InputError
            If the products hold different events.
        """
        ids, other = (
            [product.flat(name, start, stop) for name in IDS]
            for product in (self._clusters, self._particles)
        )
        differ = np.any([a != b for a, b in zip(ids, other, strict=True)], axis=0)
        if differ.any():
            at = int(np.argmax(differ))
            names = "run, subrun, event"
            raise InputError(
                "the products hold different events",
                file=self.source.particles.file,
                entry=start + at,
                field=self.source.particles.tree,
                expected=f"{names} {tuple(int(a[at]) for a in ids)} as in "
                f"{self.source.clusters.tree}",
                found=f"{tuple(int(b[at]) for b in other)}",
                advice="take both products from the same production",
            )
        return _stack(ids).astype(np.int64)

    def _scalar(
        self, branch: str, dtype: type[Any], start: int, particles: NDArray[np.int64]
    ) -> NDArray[Any]:
        """Read a field of the particles; some releases of LArCV2 lack some fields."""
        num_particles, real = int(particles.sum()), np.issubdtype(dtype, np.floating)
        if branch not in self.source.particles.branches:
            return np.full(num_particles, np.nan if real else -1, dtype)
        stop = start + len(particles)
        _, values = self._particles.jagged(branch, start, stop)
        self._check_length(branch, len(values), num_particles, start, stop)
        if branch in (SCALARS["energy_init"][0], SCALARS["energy_deposit"][0]):
            refuse_nan(
                values,
                offsets_of(particles),
                file=self.source.particles.file,
                first_entry=start,
                field=f"{self.source.products.particles}, {branch}",
            )
        return known_reals(values) if real else known_tracks(values)

    def _process(
        self, start: int, stop: int, num_particles: int
    ) -> tuple[NDArray[np.uint16], tuple[str, ...]]:
        if PROCESS not in self.source.particles.branches:
            return np.zeros(num_particles, np.uint16), ("",)
        codes, names = self._particles.strings(PROCESS, start, stop)
        self._check_length(PROCESS, len(codes), num_particles, start, stop)
        return codes.astype(np.uint16), names

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
                advice=FETCH_AGAIN,
            )


def _stack(parts: Sequence[NDArray[Any]]) -> NDArray[Any]:
    return np.stack(parts, axis=1)
