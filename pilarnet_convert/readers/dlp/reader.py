"""LArCV2 files through dlp_opendata_api, ROOT and LArCV2, with the same events as from `larcv2`.

dlp_opendata_api (package ``osf``) is the reader that was published with PILArNet. It ends the
interpreter if ROOT is missing, and prints a warning if a product is missing; here both are errors.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from pilarnet_convert.errors import InputError
from pilarnet_convert.ragged import offsets_of
from pilarnet_convert.readers.dlp.files import Chain, baskets, list_products
from pilarnet_convert.readers.dlp.packages import Packages, load_packages, quiet
from pilarnet_convert.readers.events import Events, Reader, Source
from pilarnet_convert.readers.larcv_numbers import (
    known_cubes,
    known_reals,
    known_tracks,
    refuse_nan,
)
from pilarnet_convert.readers.products import Products, common_length, find_products
from pilarnet_convert.readers.units import Truth

__all__ = ["DlpReader", "DlpSource", "index_dlp"]

#: The products that are read: the voxels of every particle, and the particles.
_PRODUCTS: Final = Products("cluster3d_mcst", "particle_mcst")
_VOXEL_BRANCH: Final = "_voxel_vv._voxel_v"
_INT32_MAX: Final = 2**31 - 1

_ENERGIES: Final = ("energy_init", "energy_deposit")
_VECTORS: Final = ("momentum", "start", "end")
#: What is read of a particle, in the order of `_particle_row`.
_ROW: Final = np.dtype(
    [
        ("pdg", np.int32),
        ("track_id", np.int64),
        ("parent_track_id", np.int64),
        ("energy_init", np.float64),
        ("energy_deposit", np.float64),
        ("momentum", np.float64, 3),
        ("start", np.float64, 3),
        ("end", np.float64, 3),
    ]
)


@dataclass(frozen=True, kw_only=True)
class DlpSource(Source):
    """A source, with the paths of the files of its two products."""

    paths: tuple[str, ...]

    def open(self) -> DlpReader:
        """Open its files."""
        return DlpReader(self)


def index_dlp(name: str, files: Sequence[Path]) -> DlpSource:
    """Find the two products in a source's files, as `index_larcv2` does and with its errors."""
    packages = load_packages()

    def look(file: Path) -> tuple[str, dict[str, Path], dict[str, str]]:
        uuid, names = list_products(packages, file)
        return uuid, dict.fromkeys(names, file), {f"{name}_tree": "" for name in names}

    _, found, used = find_products(files, look, wanted=_PRODUCTS, suffix="_tree")
    trees = [f"{product}_tree" for product in _PRODUCTS]
    paths = tuple(str(found[product]) for product in _PRODUCTS)
    counts = [len(chain) for chain in _open_chains(packages, paths)]
    num_entries = common_length(dict(zip(trees, counts, strict=True)), file=files[0])
    return DlpSource(
        name=name,
        files=used,
        num_entries=num_entries,
        path=paths[0],
        reader="dlp",
        schema=f"LArCV2, {' and '.join(_PRODUCTS)}",
        paths=paths,
        borders=baskets(
            packages,
            found[_PRODUCTS.clusters],
            tree=trees[0],
            branch=_VOXEL_BRANCH,
            num_entries=num_entries,
        ),
    )


def _open_chains(packages: Packages, paths: Sequence[str]) -> list[Chain]:
    with quiet(packages.root):
        return [Chain(packages, *of) for of in zip(_PRODUCTS, paths, strict=True)]


class DlpReader(Reader):
    """Reads ranges of the events of a source, as `Larcv2Reader` does."""

    def __init__(self, source: DlpSource) -> None:
        self.source = source
        self._packages = load_packages()
        self._chains = _open_chains(self._packages, source.paths)

    def __exit__(self, *_: object) -> None:
        self._chains.clear()  # ROOT closes the files with the chains

    def read(self, start: int, stop: int) -> Events:
        """Read the events ``start`` to ``stop``, end excluded; `InputError` on damage."""
        ids, meta, rows, names = [], [], [], []
        voxels: tuple[list[Any], ...] = ([], [], [])
        with quiet(self._packages.root):
            for entry in range(start, stop):
                clusters, particles = self._event(entry)
                ids.append(_event_id(clusters))
                meta.append(_meta(clusters.meta()))
                found = _voxels(self._packages.larcv, clusters)
                for column, values in zip(voxels, found, strict=True):
                    column.append(values)
                vector = particles.as_vector()
                held = [vector[i] for i in range(vector.size())]
                rows.append([_particle_row(particle) for particle in held])
                names.append([str(particle.creation_process()) for particle in held])
        codes = {name: code for code, name in enumerate(dict.fromkeys(chain(*names)))}
        table = np.array(list(chain(*rows)), _ROW)
        particle_offset = offsets_of(np.array([len(event_rows) for event_rows in rows], int))
        for name in _ENERGIES:
            refuse_nan(
                table[name],
                particle_offset,
                file=self.source.paths[1],
                first_entry=start,
                field=f"{_PRODUCTS.particles}, {name}",
            )
        known: dict[str, Any] = {"pdg": table["pdg"].copy()}
        known |= {name: known_tracks(table[name]) for name in ("track_id", "parent_track_id")}
        known |= {name: known_reals(table[name]) for name in (*_ENERGIES, *_VECTORS)}
        run, subrun, event = np.array(ids, np.uint64).reshape(-1, 3).T.astype(np.int64)
        box = np.array(meta, np.float64).reshape(-1, 3, 3)
        num_voxels = np.array([counts.sum() for counts in voxels[0]], np.int64)
        grid, origin, voxel_size = known_cubes(
            box[:, 0].astype(np.int64), box[:, 1], box[:, 2], num_voxels=num_voxels
        )
        return Events(
            file=self.source.path,
            products=_PRODUCTS,
            first_entry=start,
            run=run,
            subrun=subrun,
            event=event,
            grid=grid,
            origin=origin,
            voxel_size=voxel_size,
            cluster_offset=offsets_of(np.array([len(counts) for counts in voxels[0]], np.int64)),
            voxel_offset=offsets_of(_join(voxels[0], np.int64)),
            voxel_id=_join(voxels[1], np.int64),
            energy=_join(voxels[2], np.float32),
            particle_offset=particle_offset,
            process=np.array([codes[name] for name in chain(*names)], int).astype(np.uint16),
            process_names=tuple(codes),
            **known,
        )

    def truth(self, start: int, stop: int) -> Truth:
        """Read what shows the units of the particles of events ``start`` to ``stop``."""
        with quiet(self._packages.root):
            vectors = (self._chains[1].read(entry).as_vector() for entry in range(start, stop))
            rows = [_particle_row(v[i]) for v in vectors for i in range(v.size())]
        table = np.array(rows, _ROW)
        return Truth(
            table["pdg"].copy(), known_reals(table["energy_init"]), known_reals(table["momentum"])
        )

    def _event(self, entry: int) -> tuple[Any, Any]:
        """Load one event of both products, which must have the same run, subrun and number."""
        clusters, particles = (chain.read(entry) for chain in self._chains)
        if _event_id(clusters) != _event_id(particles):
            raise InputError(
                "the products hold different events",
                file=self.source.paths[1],
                entry=entry,
                field=f"{_PRODUCTS[1]}_tree",
                expected=f"run, subrun, event {_event_id(clusters)} as in {_PRODUCTS[0]}_tree",
                found=f"{_event_id(particles)}",
                advice="take both products from the same production",
            )
        return clusters, particles


def _event_id(event: Any) -> tuple[int, int, int]:
    return int(event.run()), int(event.subrun()), int(event.event())


def _meta(meta: Any) -> list[list[float]]:
    """Return the voxels along each axis, the corner of the cube and the edges of a voxel."""
    return [
        [meta.num_voxel_x(), meta.num_voxel_y(), meta.num_voxel_z()],
        [meta.min_x(), meta.min_y(), meta.min_z()],
        [meta.size_voxel_x(), meta.size_voxel_y(), meta.size_voxel_z()],
    ]


def _voxels(larcv: Any, event: Any) -> tuple[NDArray[Any], ...]:
    """Return how many voxels each cluster of an event has, and the ids and energies of all."""
    clusters = event.as_vector()
    sets = [clusters[i] for i in range(clusters.size())]
    counts = np.array([int(voxels.size()) for voxels in sets], np.int64)
    ends = offsets_of(counts)
    ids = np.empty(ends[-1], np.int64)
    energies = np.empty(ends[-1], np.float32)
    meta = event.meta()
    narrow = np.empty(counts.max(initial=0), np.int32)  # LArCV2 writes ids as C integers
    for voxels, start, stop in zip(sets, ends[:-1], ends[1:], strict=True):
        if start == stop:
            continue
        part = narrow[: stop - start]
        larcv.as_flat_arrays(voxels, meta, part, energies[start:stop])
        ids[start:stop] = part
        values = voxels.as_vector()
        # Ids ascend; where they do not, or do not fit, the cast above cannot be trusted.
        if values[int(values.size()) - 1].id() > _INT32_MAX or np.any(part[1:] <= part[:-1]):
            exact = [values[i].id() for i in range(values.size())]
            ids[start:stop] = np.array(exact, np.uint64).astype(np.int64)
    return counts, ids, energies


def _particle_row(particle: Any) -> tuple[Any, ...]:
    first, last = particle.first_step(), particle.last_step()
    return (
        particle.pdg_code(),
        particle.track_id(),
        particle.parent_track_id(),
        particle.energy_init(),
        particle.energy_deposit(),
        (particle.px(), particle.py(), particle.pz()),
        (first.x(), first.y(), first.z()),
        (last.x(), last.y(), last.z()),
    )


def _join(parts: Sequence[NDArray[Any]], dtype: type[Any]) -> NDArray[Any]:
    return np.concatenate(parts) if parts else np.empty(0, dtype)
