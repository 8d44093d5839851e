"""Picking particles out of a ragged batch.

Shapes: N particles, V voxels.
"""

from __future__ import annotations

import torch
from torch import Tensor

from clr_train.batch import ParticleBatch, VoxelBatch

__all__ = ["as_particles", "take"]


def take(batch: ParticleBatch, rows: Tensor) -> ParticleBatch:
    """Pick particles, in the order that is asked for.

    Parameters
    ----------
    batch : ParticleBatch
    rows : Tensor, int64 [n]
        Positions in the batch, 0 .. N-1.
    """
    begin = batch.offset[rows]
    size = batch.offset[rows + 1] - begin
    offset = torch.cat([size.new_zeros(1), size.cumsum(0)])
    shift = torch.repeat_interleave(begin - offset[:-1], size)
    voxels = torch.arange(len(shift), device=batch.device) + shift
    return ParticleBatch(
        xyz=batch.xyz[voxels],
        energy=batch.energy[voxels],
        offset=offset,
        label=batch.label[rows],
        particle=batch.particle[rows],
    )


def as_particles(voxels: VoxelBatch, *, like: ParticleBatch) -> ParticleBatch:
    """Give quantised voxels the form of stored particles.

    Parameters
    ----------
    voxels : VoxelBatch
        Rows sorted by particle; the one feature is the energy, MeV.
    like : ParticleBatch
        The particles that they are made of.
    """
    size = torch.bincount(voxels.batch, minlength=voxels.num_particles)
    return ParticleBatch(
        xyz=voxels.xyz,
        energy=voxels.features[:, 0].contiguous(),
        offset=torch.cat([size.new_zeros(1), size.cumsum(0)]),
        label=like.label,
        particle=like.particle,
    )
