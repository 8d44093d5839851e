"""The two ragged batches: particles as stored, and sites for the network.

Shapes: N particles, V voxels as stored, M sites, C features.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from itertools import accumulate, pairwise
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from clr_train.ragged import RaggedIndex, list_rows, offsets_of
from clr_train.site_keys import MAX_PARTICLES, particle_of, unpack
from pilarnet_convert.errors import counted

__all__ = ["ParticleBatch", "SiteBatch"]


def _require(
    tensor: Tensor, name: str, *, dtype: torch.dtype, shape: tuple[int | None, ...]
) -> None:
    """Raise ValueError unless `tensor` has this dtype and shape (None: any length)."""
    fits = tensor.dim() == len(shape) and all(
        want is None or want == got for want, got in zip(shape, tensor.shape, strict=True)
    )
    if not fits or tensor.dtype != dtype:
        wanted = ", ".join("*" if n is None else str(n) for n in shape)
        raise ValueError(
            f"{name}: expected {dtype} [{wanted}], found {tensor.dtype} {list(tensor.shape)}"
        )


@dataclass(frozen=True, kw_only=True)
class ParticleBatch:
    """A ragged batch of particles as the shards hold them.

    Particle i owns the rows offset[i] .. offset[i + 1], end excluded, of the voxel tensors. A
    ValueError is raised for a wrong dtype, shape or offset.

    Parameters
    ----------
    xyz : Tensor, int32 [V, 3]
        Voxel indices inside the event's cube.
    energy : Tensor, float32 [V]
        Deposited energy of each voxel, MeV.
    offset : Tensor, int64 [N + 1]
        First row of each particle; begins at 0 and ends at V.
    label : Tensor, int64 [N]
        Class of each particle.
    particle : Tensor, int64 [N]
        Index of each particle in its split, in the order of the shards: its identity.
    """

    xyz: Tensor
    energy: Tensor
    offset: Tensor
    label: Tensor
    particle: Tensor

    def __post_init__(self) -> None:
        _require(self.xyz, "xyz", dtype=torch.int32, shape=(None, 3))
        _require(self.offset, "offset", dtype=torch.int64, shape=(None,))
        if len(self.offset) == 0:
            raise ValueError("offset: expected at least one element, found none")
        num_voxels, num_particles = len(self.xyz), len(self.offset) - 1
        _require(self.energy, "energy", dtype=torch.float32, shape=(num_voxels,))
        _require(self.label, "label", dtype=torch.int64, shape=(num_particles,))
        _require(self.particle, "particle", dtype=torch.int64, shape=(num_particles,))
        # Values are checked on the CPU only: this avoids a synchronisation with the GPU.
        if self.offset.device.type != "cpu":
            return
        first, last = int(self.offset[0]), int(self.offset[-1])
        if first != 0 or last != num_voxels:
            raise ValueError(
                f"offset: expected to run from 0 to {num_voxels}, found {first} to {last}"
            )
        if bool((self.offset.diff() < 0).any()):
            raise ValueError("offset: expected ascending values, found a descent")

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> ParticleBatch:
        """Make a batch of arrays, by the names of the parameters; it shares their memory."""
        return cls(**{name: torch.from_numpy(array) for name, array in arrays.items()})

    def __repr__(self) -> str:
        size = f"{counted(self.num_particles, 'particle')}, {counted(self.num_voxels, 'voxel')}"
        return f"<ParticleBatch: {size}; {self.device}>"

    @property
    def num_particles(self) -> int:
        """Number of particles, N."""
        return self.label.shape[0]

    @property
    def num_voxels(self) -> int:
        """Number of voxels of all particles, V."""
        return self.xyz.shape[0]

    @property
    def device(self) -> torch.device:
        """Device that holds the tensors."""
        return self.xyz.device

    @cached_property
    def index(self) -> RaggedIndex:
        """Which voxels belong to which particle."""
        return RaggedIndex(self.offset, num_rows=self.num_voxels)

    def to(self, device: torch.device | str, *, non_blocking: bool = False) -> ParticleBatch:
        """Return the batch on `device`, itself if it is there."""
        if self.device == torch.device(device):
            return self
        return self._map(lambda tensor: tensor.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> ParticleBatch:
        """Return the batch in page-locked memory, from which a copy to a GPU overlaps with work."""
        return self._map(Tensor.pin_memory)

    def _map(self, change: Callable[[Tensor], Tensor]) -> ParticleBatch:
        return ParticleBatch(**{f.name: change(getattr(self, f.name)) for f in fields(self)})

    @cached_property
    def _first_voxels(self) -> list[int]:
        """The offsets as integers, read once: each read is a synchronisation with the GPU."""
        first: list[int] = self.offset.tolist()
        return first

    def slice(self, start: int, stop: int) -> ParticleBatch:
        """Return the particles `start` to `stop`, end excluded, without copying the voxels.

        ``0 <= start <= stop <= N``.
        """
        first, last = self._first_voxels[start], self._first_voxels[stop]
        offset = self.offset[start : stop + 1] - first
        return ParticleBatch(
            xyz=self.xyz[first:last],
            energy=self.energy[first:last],
            offset=offset.pin_memory() if self.offset.is_pinned() else offset,
            label=self.label[start:stop],
            particle=self.particle[start:stop],
        )

    def split(self, size: int | Sequence[int]) -> Iterator[ParticleBatch]:
        """Cut the batch into pieces, in order, without copying the voxels.

        `size` is the number of particles in each piece, of which the last may have fewer; or the
        numbers of all pieces, which add up to N.
        """
        if isinstance(size, int):
            if size >= self.num_particles:
                yield self
                return
            stops = [*range(size, self.num_particles, size), self.num_particles]
        else:
            stops = list(accumulate(size))
        for start, stop in pairwise([0, *stops]):
            yield self.slice(start, stop)

    def take(self, rows: Tensor) -> ParticleBatch:
        """Return the particles at the positions `rows`, int64 [n] of 0 .. N-1, in that order."""
        first = self.offset[rows]
        count = self.offset[rows + 1] - first
        voxels, _ = list_rows(first, count)
        return ParticleBatch(
            xyz=self.xyz[voxels],
            energy=self.energy[voxels],
            offset=offsets_of(count),
            label=self.label[rows],
            particle=self.particle[rows],
        )

    @classmethod
    def concatenate(cls, batches: Sequence[ParticleBatch]) -> ParticleBatch:
        """Join one or more batches, in order."""
        firsts = accumulate((batch.num_voxels for batch in batches), initial=0)
        ends = [batch.offset[1:] + first for batch, first in zip(batches, firsts, strict=False)]
        return cls(
            xyz=torch.cat([batch.xyz for batch in batches]),
            energy=torch.cat([batch.energy for batch in batches]),
            offset=torch.cat([batches[0].offset[:1], *ends]),
            label=torch.cat([batch.label for batch in batches]),
            particle=torch.cat([batch.particle for batch in batches]),
        )


@dataclass(frozen=True, kw_only=True)
class SiteBatch:
    """The sites of the particles of a batch: the input of a sparse network.

    A ValueError is raised for a wrong dtype, shape or `num_particles`; the values of `keys` are
    not checked.

    Parameters
    ----------
    keys : Tensor, int64 [M]
        Sites packed by `clr_train.site_keys`, distinct and ascending, so that they are sorted by
        (particle, x, y, z).
    features : Tensor, float32 [M, C]
        Features of each site; the views give one, the transformed energy.
    num_particles : int
        N. A particle may own no site.
    """

    keys: Tensor
    features: Tensor
    num_particles: int

    def __post_init__(self) -> None:
        _require(self.keys, "keys", dtype=torch.int64, shape=(None,))
        _require(self.features, "features", dtype=torch.float32, shape=(self.num_sites, None))
        if not 0 <= self.num_particles <= MAX_PARTICLES:
            raise ValueError(
                f"num_particles: expected 0 to {MAX_PARTICLES}, found {self.num_particles}"
            )

    def __repr__(self) -> str:
        size = f"{counted(self.num_particles, 'particle')}, {counted(self.num_sites, 'site')}"
        return f"<SiteBatch: {size}; {self.device}>"

    @property
    def num_sites(self) -> int:
        """Number of sites of all particles, M."""
        return self.keys.shape[0]

    @property
    def device(self) -> torch.device:
        """Device that holds the tensors."""
        return self.keys.device

    @cached_property
    def particle(self) -> Tensor:
        """Position of each site's particle in the batch, int64 [M]."""
        return particle_of(self.keys)

    @cached_property
    def index(self) -> RaggedIndex:
        """Which sites belong to which particle."""
        return RaggedIndex.of_particles(
            self.particle, num_particles=self.num_particles, is_sorted=True
        )

    @cached_property
    def xyz(self) -> Tensor:
        """Coordinates of each site, int32 [M, 3]."""
        return torch.stack(unpack(self.keys)[1:], dim=1).int()

    def as_particles(self, *, like: ParticleBatch) -> ParticleBatch:
        """Return the sites as the voxels of the particles `like`.

        `features` must have one column, energy in MeV.
        """
        return ParticleBatch(
            xyz=self.xyz,
            energy=self.features[:, 0].contiguous(),
            offset=self.index.offset,
            label=like.label,
            particle=like.particle,
        )
