"""The two ragged batches of the training path: stored particles, and voxels for the network.

Shapes: N particles, V voxels as stored, M voxels after quantisation.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["ParticleBatch", "VoxelBatch"]


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

    Particle i owns the rows offset[i] .. offset[i + 1], end excluded, of the voxel tensors.

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

    Raises
    ------
    ValueError
        When a dtype or a shape is not as above.
    """

    xyz: Tensor
    energy: Tensor
    offset: Tensor
    label: Tensor
    particle: Tensor

    def __post_init__(self) -> None:
        num_voxels = self.xyz.shape[0]
        num_particles = self.offset.shape[0] - 1
        _require(self.xyz, "xyz", dtype=torch.int32, shape=(None, 3))
        _require(self.energy, "energy", dtype=torch.float32, shape=(num_voxels,))
        _require(self.offset, "offset", dtype=torch.int64, shape=(num_particles + 1,))
        _require(self.label, "label", dtype=torch.int64, shape=(num_particles,))
        _require(self.particle, "particle", dtype=torch.int64, shape=(num_particles,))
        if num_particles < 0:
            raise ValueError("offset: expected at least one element, found none")
        # Values are looked at on the host alone: on a GPU it would wait for the device.
        if self.offset.device.type == "cpu":
            self._check_offset()

    def _check_offset(self) -> None:
        if int(self.offset[0]) != 0 or int(self.offset[-1]) != self.num_voxels:
            raise ValueError(
                f"offset: expected to run from 0 to {self.num_voxels}, "
                f"found {int(self.offset[0])} to {int(self.offset[-1])}"
            )
        if bool((self.offset.diff() < 0).any()):
            raise ValueError("offset: expected ascending values, found a descent")

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

    def to(self, device: torch.device | str, *, non_blocking: bool = False) -> ParticleBatch:
        """Return the batch on `device`."""
        return ParticleBatch(
            xyz=self.xyz.to(device, non_blocking=non_blocking),
            energy=self.energy.to(device, non_blocking=non_blocking),
            offset=self.offset.to(device, non_blocking=non_blocking),
            label=self.label.to(device, non_blocking=non_blocking),
            particle=self.particle.to(device, non_blocking=non_blocking),
        )

    def pin_memory(self) -> ParticleBatch:
        """Return the batch in page-locked memory, from which a copy to a GPU can overlap work."""
        return ParticleBatch(
            xyz=self.xyz.pin_memory(),
            energy=self.energy.pin_memory(),
            offset=self.offset.pin_memory(),
            label=self.label.pin_memory(),
            particle=self.particle.pin_memory(),
        )


@dataclass(frozen=True, kw_only=True)
class VoxelBatch:
    """A batch of quantised clouds: the input of a sparse network.

    A site (batch, x, y, z) occurs once. The views write rows sorted by (batch, x, y, z); the
    engines accept any order of rows and give the same pooled result for each.

    Parameters
    ----------
    xyz : Tensor, int32 [M, 3]
        Voxel coordinates, of any sign.
    batch : Tensor, int64 [M]
        Position of the voxel's particle in the batch, 0 .. N-1.
    features : Tensor, float32 [M, C]
        Features of each voxel; the views give one, the transformed energy.
    num_particles : int
        N. A particle may own no voxel.

    Raises
    ------
    ValueError
        When a dtype, a shape or `num_particles` is not as above.
    """

    xyz: Tensor
    batch: Tensor
    features: Tensor
    num_particles: int

    def __post_init__(self) -> None:
        num_voxels = self.xyz.shape[0]
        _require(self.xyz, "xyz", dtype=torch.int32, shape=(None, 3))
        _require(self.batch, "batch", dtype=torch.int64, shape=(num_voxels,))
        _require(self.features, "features", dtype=torch.float32, shape=(num_voxels, None))
        if self.num_particles < 0:
            raise ValueError(f"num_particles: expected 0 or more, found {self.num_particles}")
        if num_voxels and self.batch.device.type == "cpu":
            low, high = (int(v) for v in torch.aminmax(self.batch))
            if low < 0 or high >= self.num_particles:
                raise ValueError(
                    f"batch: expected 0 to {self.num_particles - 1}, found {low} to {high}"
                )

    @property
    def num_voxels(self) -> int:
        """Number of voxels of all particles, M."""
        return self.xyz.shape[0]

    @property
    def device(self) -> torch.device:
        """Device that holds the tensors."""
        return self.xyz.device

    def to(self, device: torch.device | str, *, non_blocking: bool = False) -> VoxelBatch:
        """Return the batch on `device`."""
        return VoxelBatch(
            xyz=self.xyz.to(device, non_blocking=non_blocking),
            batch=self.batch.to(device, non_blocking=non_blocking),
            features=self.features.to(device, non_blocking=non_blocking),
            num_particles=self.num_particles,
        )

    def pin_memory(self) -> VoxelBatch:
        """Return the batch in page-locked memory, from which a copy to a GPU can overlap work."""
        return VoxelBatch(
            xyz=self.xyz.pin_memory(),
            batch=self.batch.pin_memory(),
            features=self.features.pin_memory(),
            num_particles=self.num_particles,
        )
